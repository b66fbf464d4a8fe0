"""Model servers that speak Anthropic's Messages."""

from __future__ import annotations

import msgspec

from headrace.codecs import NOT_JSON
from headrace.dialects.anthropic_messages import (
    NAME,
    MessagesDecoder,
    chunks_of,
    write_count,
    write_long_count,
    write_long_request,
    write_request,
)
from headrace.errors import UpstreamProtocol
from headrace.messages import Request
from headrace.providers.model_server import ModelServer, Wire


def api_key(key: str) -> tuple[str, str]:
    """The header with a key."""
    return "x-api-key", key


MESSAGES = Wire(
    dialect=NAME,
    path="/v1/messages",
    write=write_request,
    write_long=write_long_request,
    decoder=MessagesDecoder,
    chunks_of=chunks_of,
    marker="message_stop",
    credential=api_key,
    headers=(("anthropic-version", "2023-06-01"),),
)
_COUNTING = msgspec.structs.replace(
    MESSAGES, path="/v1/messages/count_tokens", write=write_count, write_long=write_long_count
)


class _Count(msgspec.Struct):
    input_tokens: int


_count_of = msgspec.json.Decoder(_Count).decode


class AnthropicServer(ModelServer):
    """One configured model at one server of this protocol, which also counts tokens."""

    async def count_tokens(self, request: Request, model: str) -> int:
        """How many tokens the request has for `model` (its name at the upstream): see `Counting`."""
        answer = await self.ask(_COUNTING, request, model)
        try:
            return _count_of(answer).input_tokens
        except NOT_JSON as problem:
            raise UpstreamProtocol("The model server's answer is not a count of tokens.") from problem
