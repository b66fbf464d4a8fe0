"""Targets: Anthropic's Messages, as model servers and callers send them."""

from __future__ import annotations

import msgspec

from headrace.codecs.sse import SSEDecoder
from headrace.dialects import ANTHROPIC_MESSAGES
from headrace.dialects.anthropic_messages import MessagesDecoder, chunks_of, write_count, write_request
from headrace.dialects.openai_chat import write_request as write_chat
from headrace.errors import BadRequest, HeadraceError, UpstreamIncomplete
from headrace.events import Chunk, StepEnd
from tests.fuzz.inputs import cut, parted
from tests.fuzz.logs import check_log, log_of, terminal_of


def messages_stream(data: bytes) -> None:
    """A streamed body becomes the same log at every split, and every reader can have it."""
    (seed,), body = parted(data, 1)
    chunks, error = _streamed([body])
    again, same = _streamed(cut(body, seed))
    assert again == chunks
    assert (same and same.message) == (error and error.message)
    check_log(log_of(chunks, terminal_of(error)), seed)


def _streamed(reads: list[bytes]) -> tuple[list[Chunk], HeadraceError | None]:
    """The chunks, and the error after them."""
    frames, decoder = SSEDecoder(), MessagesDecoder("anthropic", "up")
    chunks: list[Chunk] = []
    try:
        for read in reads:
            for frame in frames.feed(read):
                chunk = decoder.feed(frame.data)
                chunks += [chunk] if chunk is not None else []
    except HeadraceError as error:
        return chunks, error
    return chunks, None if decoder.closed else UpstreamIncomplete("It stopped.")


def messages_answer(data: bytes) -> None:
    """An answer that is not streamed becomes a log like a streamed one."""
    (seed,), body = parted(data, 1)
    try:
        chunks = chunks_of(body, MessagesDecoder("anthropic", "up"))
    except HeadraceError as error:
        assert 400 <= error.status < 600
        return
    assert isinstance(chunks[-1].events[-1], StepEnd)
    check_log(log_of(chunks, terminal_of(None)), seed)


def messages_request(data: bytes) -> None:
    """A body is a request that can be sent on with all that it says, or a 400 that names the field."""
    try:
        request = ANTHROPIC_MESSAGES.parse(data)
    except BadRequest as error:
        assert error.status == 400
        assert msgspec.json.decode(ANTHROPIC_MESSAGES.error(error))["type"] == "error"
        return
    assert request.model
    given = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    kept = msgspec.json.decode(write_request(request, "up", stream=False), type=dict[str, msgspec.Raw])
    rewritten = ("model", "stream")
    assert {name: bytes(given[name]) for name in given if name not in rewritten} == {
        name: bytes(kept[name]) for name in kept if name not in rewritten
    }
    ANTHROPIC_MESSAGES.unsaid(request)
    assert msgspec.json.decode(write_count(request, "up"))["model"] == "up"
    translated = msgspec.structs.replace(request, dialect="native")
    for write in (write_request, write_chat):
        try:
            assert msgspec.json.decode(write(translated, "up", stream=True))["model"] == "up"
        except BadRequest as error:
            assert error.error_code == "unsupported_parameter"
