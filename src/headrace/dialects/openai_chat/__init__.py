"""OpenAI chat completions, both directions.

Lost here, because the shape has no word for it: signatures, tool results that the server produced, sources, files,
`status`, and the difference between an item's end and the next item's start.
"""

from __future__ import annotations

from headrace.bodies import LongBody
from headrace.codecs.sse import HEARTBEAT
from headrace.dialects.base import Place
from headrace.dialects.long import Steps
from headrace.dialects.openai_chat import answer as _answer
from headrace.dialects.openai_chat import request as _request
from headrace.dialects.openai_chat.decoder import NAME, ChatDecoder
from headrace.dialects.openai_chat.view import INCLUDE_USAGE, PREFIX, ChatView
from headrace.dialects.openai_chat.wire import is_kept_frame
from headrace.dialects.openai_errors import error_body
from headrace.errors import HeadraceError
from headrace.events import Answer, Finished, Terminal
from headrace.messages import Request


class OpenAIChat:
    """The `Dialect` of `/v1/chat/completions`."""

    name = NAME
    code = "c"
    prefix = PREFIX
    params = INCLUDE_USAGE
    heartbeat = HEARTBEAT
    place = Place(limits=("max_tokens", "max_completion_tokens"))

    def parse(self, body: bytes) -> Request:
        """Read a request body: see `Dialect.parse`."""
        return _request.parse(body)

    def parse_long(self, body: LongBody) -> Steps[Request]:
        """Read a long one in steps: see `Dialect.parse_long`."""
        return _request.parse_long(body)

    def unsaid(self, request: Request) -> list[str]:
        """Fields of the body that no other shape can be told of: see `Dialect.unsaid`."""
        return _request.unsaid(request)

    def view(self, params: str) -> ChatView:
        """A new fold; `u` adds the usage chunk."""
        return ChatView(params)

    def clean_end(self, terminal: Terminal) -> bool:
        """Only `[DONE]` ends cleanly: clients take any other clean end for success."""
        return isinstance(terminal, Finished)

    def answer(self, answer: Answer) -> bytes:
        """One `chat.completion`."""
        return _answer.completion(answer)

    def error(self, error: HeadraceError, partial: str | None = None) -> bytes:
        """`{"error": {...}}`."""
        return error_body(error, partial)


write_request = _request.write
write_long_request = _request.write_long
chunks_of = _answer.chunks_of

__all__ = ["NAME", "ChatDecoder", "OpenAIChat", "chunks_of", "is_kept_frame", "write_long_request", "write_request"]
