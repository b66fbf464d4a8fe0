"""OpenAI Responses, both directions.

Lost here, because the shape has no word for it: every alternative but the first, tool results that the server produced,
sources, files, `status`, and vendors' own names.
"""

from __future__ import annotations

import msgspec

from headrace.bodies import LongBody
from headrace.codecs.sse import HEARTBEAT
from headrace.dialects.base import Place
from headrace.dialects.long import Steps
from headrace.dialects.openai_errors import error_body
from headrace.dialects.openai_responses import request as _request
from headrace.dialects.openai_responses import writing as _writing
from headrace.dialects.openai_responses.answer import chunks_of, output_items, response_object
from headrace.dialects.openai_responses.decoder import ResponsesDecoder
from headrace.dialects.openai_responses.errors import NAMES
from headrace.dialects.openai_responses.view import ResponsesView
from headrace.dialects.openai_responses.wire import NAME, PREFIX, is_kept_frame
from headrace.errors import HeadraceError
from headrace.events import Answer, Terminal
from headrace.messages import Request


class OpenAIResponses:
    """The `Dialect` of `/v1/responses`."""

    name = NAME
    code = "r"
    prefix = PREFIX
    params = ""
    heartbeat = HEARTBEAT
    place = Place("input", limits=("max_output_tokens",))

    def parse(self, body: bytes) -> Request:
        """Read a request body: see `Dialect.parse`."""
        return _request.parse(body)

    def parse_long(self, body: LongBody) -> Steps[Request]:
        """Read a long one in steps: see `Dialect.parse_long`."""
        return _request.parse_long(body)

    def unsaid(self, request: Request) -> list[str]:
        """What no other shape can be told of: see `Dialect.unsaid`."""
        return _request.unsaid(request)

    def view(self, params: str) -> ResponsesView:
        """A new fold; there are no parameters."""
        return ResponsesView()

    def clean_end(self, terminal: Terminal) -> bool:
        """Every end has a frame of its own, so every end is clean."""
        return True

    def answer(self, answer: Answer) -> bytes:
        """The response object, in whatever state."""
        return msgspec.json.encode(response_object(answer))

    def error(self, error: HeadraceError, partial: str | None = None) -> bytes:
        """`{"error": {...}}`."""
        return error_body(error, partial, NAMES)


write_request = _writing.write
write_long_request = _writing.write_long

__all__ = [
    "NAME",
    "OpenAIResponses",
    "ResponsesDecoder",
    "chunks_of",
    "is_kept_frame",
    "output_items",
    "response_object",
    "write_long_request",
    "write_request",
]
