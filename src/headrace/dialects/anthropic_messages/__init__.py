"""Anthropic Messages, both directions.

Lost here, because the shape has no word for it: all choices but the first, logprobs, tool results that another shape's
server produced, sources, files, `status`, and what came between the deltas of one block.
"""

from __future__ import annotations

import msgspec

from headrace.bodies import LongBody
from headrace.dialects.anthropic_messages import answer as _answer
from headrace.dialects.anthropic_messages import request as _request
from headrace.dialects.anthropic_messages import writer as _writer
from headrace.dialects.anthropic_messages.decoder import MessagesDecoder
from headrace.dialects.anthropic_messages.errors import error_body
from headrace.dialects.anthropic_messages.view import MessagesView
from headrace.dialects.anthropic_messages.wire import NAME, PREFIX, is_kept_frame
from headrace.dialects.base import Place
from headrace.dialects.long import Steps
from headrace.errors import HeadraceError
from headrace.events import Answer, Finished, Terminal
from headrace.messages import Request


class AnthropicMessages:
    """The `Dialect` of `/v1/messages`."""

    name = NAME
    code = "a"
    prefix = PREFIX
    params = ""
    heartbeat = b'event: ping\ndata: {"type": "ping"}\n\n'
    place = Place(limits=("max_tokens",))

    def parse(self, body: bytes) -> Request:
        """Read a request body: see `Dialect.parse`."""
        return _request.parse(body)

    def parse_long(self, body: LongBody) -> Steps[Request]:
        """Read a long one in steps: see `Dialect.parse_long`."""
        return _request.parse_long(body)

    def parse_count(self, body: bytes) -> Request:
        """Read a body of `/v1/messages/count_tokens`, which has no `max_tokens`."""
        return _request.parse(body, counting=True)

    def parse_long_count(self, body: LongBody) -> Steps[Request]:
        """Read a long one in steps."""
        return _request.parse_long(body, counting=True)

    def unsaid(self, request: Request) -> list[str]:
        """Fields of the body that no other shape can be told of: see `Dialect.unsaid`."""
        return _request.unsaid(request)

    def view(self, params: str) -> MessagesView:
        """A new fold; there are no parameters."""
        return MessagesView()

    def clean_end(self, terminal: Terminal) -> bool:
        """Only `message_stop` ends cleanly: clients take any other clean end for success."""
        return isinstance(terminal, Finished)

    def answer(self, answer: Answer) -> bytes:
        """One `message`."""
        return _answer.message(answer)

    def error(self, error: HeadraceError, partial: str | None = None) -> bytes:
        """`{"type": "error", "error": {...}}`."""
        return msgspec.json.encode(error_body(error, partial))


write_request = _writer.write
write_long_request = _writer.write_long
write_count = _writer.write_count
write_long_count = _writer.write_long_count
chunks_of = _answer.chunks_of

__all__ = [
    "NAME",
    "AnthropicMessages",
    "MessagesDecoder",
    "chunks_of",
    "is_kept_frame",
    "write_count",
    "write_long_count",
    "write_long_request",
    "write_request",
]
