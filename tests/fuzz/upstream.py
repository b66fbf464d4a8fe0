"""Targets: what model servers send."""

from __future__ import annotations

import json
import math
import re

from headrace.codecs import LineTooLong, ndjson
from headrace.codecs import sse as sse_codec
from headrace.codecs.ndjson import NDJSONDecoder
from headrace.codecs.sse import SSEDecoder, SSEEvent
from headrace.config import Model, Secret
from headrace.dialects import OPENAI_CHAT, openai_responses
from headrace.dialects.openai_chat import ChatDecoder, chunks_of
from headrace.errors import HeadraceError, UpstreamIncomplete
from headrace.events import Chunk, StepEnd
from headrace.providers.local.answer import Answer as LocalAnswer
from headrace.providers.local.answer import Call, Text
from headrace.providers.model_server import ModelServer, Wire
from headrace.providers.openai import CHAT, RESPONSES
from headrace.providers.redaction import Redactor
from headrace.providers.refusals import Refusal, error_of, not_a_stream
from headrace.transports.http import error_response
from tests.dialects.rendering import frames as rendered
from tests.fuzz.inputs import cut, head_and_body, parted, single
from tests.fuzz.logs import check_log, check_second_hand, log_of, terminal_of

_LIMITS = (8, 40, 300, 1 << 20)
_NOW = 1_700_000_000.0


def sse(data: bytes) -> None:
    """Any bytes, in any reads, give the same events, which hold no more than the bytes did."""
    (limit, seed), stream = parted(data, 2)
    whole = _events([stream], _LIMITS[limit % 4])
    assert _events(single(stream), _LIMITS[limit % 4]) == whole
    assert _events(cut(stream, seed), _LIMITS[limit % 4]) == whole
    events = whole[0]
    assert sum(len(event.data) for event in events) <= len(stream)
    for event in events:
        try:
            written = sse_codec.encode(event.data, event=event.event, id=event.id or None)
        except ValueError:
            continue
        assert SSEDecoder().feed(written) == [event]


def _events(reads: list[bytes], limit: int) -> tuple[list[SSEEvent], object]:
    """The events, and what else a reader can see, which after an error is nothing."""
    decoder = SSEDecoder(max_line_bytes=limit, max_event_bytes=limit)
    events: list[SSEEvent] = []
    try:
        for read in reads:
            events += decoder.feed(read)
        decoder.finish()
    except LineTooLong:
        return events, "too long"
    assert decoder.retry_ms is None or 0 <= decoder.retry_ms < 10**15
    return events, (decoder.retry_ms, decoder.last_event_id, decoder.pending)


def lines(data: bytes) -> None:
    """Any bytes, in any reads, give the same lines, and a line that was read can be written."""
    (limit, seed), stream = parted(data, 2)
    whole = _lines([stream], _LIMITS[limit % 4])
    assert _lines(single(stream), _LIMITS[limit % 4]) == whole
    assert _lines(cut(stream, seed), _LIMITS[limit % 4]) == whole
    assert sum(map(len, whole[0])) <= len(stream)
    for line in whole[0]:
        if b"\r" not in line:
            assert NDJSONDecoder().feed(ndjson.encode(line)) == [line]


def _lines(reads: list[bytes], limit: int) -> tuple[list[bytes], object]:
    decoder = NDJSONDecoder(max_line_bytes=limit)
    found: list[bytes] = []
    try:
        for read in reads:
            found += decoder.feed(read)
        decoder.finish()
    except LineTooLong:
        return found, "too long"
    return found, decoder.pending


_KEY = "sk-the-operators-own-key"
_REDACTOR = Redactor([f"Bearer {_KEY}"])
_MODEL = Model(name="m", upstream_model="up", base_url="http://127.0.0.1/v1", api_key=Secret(_KEY))


def chat_stream(data: bytes) -> None:
    """A streamed body becomes the same log at every split, and every reader can have it."""
    (limit, seed), body = parted(data, 2)
    line = 200 if limit == 255 else 1 << 20
    chunks, error = _streamed([body], line)
    again, same = _streamed(cut(body, seed), line)
    assert again == chunks
    assert _told(same) == _told(error)
    records = log_of(chunks, terminal_of(error))
    check_second_hand(records, check_log(records, seed))
    sent = rendered(records)
    assert sum(map(len, sent)) <= 8 * len(body) + 4000 * len(sent), "readers get more than the model server sent"


def responses_stream(data: bytes) -> None:
    """The same of the Responses API."""
    (seed,), body = parted(data, 1)
    chunks, error = _streamed([body], 1 << 20, RESPONSES)
    again, same = _streamed(cut(body, seed), 1 << 20, RESPONSES)
    assert again == chunks
    assert _told(same) == _told(error)
    check_log(log_of(chunks, terminal_of(error)), seed)


def responses_answer(data: bytes) -> None:
    """One of the Responses API that is not streamed becomes a log like a streamed one."""
    (seed,), body = parted(data, 1)
    try:
        chunks = openai_responses.chunks_of(body, openai_responses.ResponsesDecoder("openai", "up"))
    except HeadraceError as error:
        _check_error(_REDACTOR.error(error))
        return
    assert isinstance(chunks[-1].events[-1], StepEnd)
    check_log(log_of(chunks, terminal_of(None)), seed)


def _streamed(reads: list[bytes], line: int, wire: Wire = CHAT) -> tuple[list[Chunk], HeadraceError | None]:
    """The chunks, and the error after them."""
    provider, decoder = ModelServer(wire, _MODEL, line), wire.decoder("openai", "up")
    frames = SSEDecoder(max_line_bytes=line, max_event_bytes=line)
    chunks: list[Chunk] = []
    for read in reads:
        some, error = provider._decode(read, frames, decoder)
        chunks += some
        if error is not None:
            _check_error(error)
            return chunks, error
        if decoder.closed:
            return chunks, None
    return chunks, UpstreamIncomplete("It stopped.")


def _told(error: HeadraceError | None) -> object:
    return error and (error.message, error.error_code, error.status, error.may_retry)


def _check_error(error: HeadraceError) -> None:
    """It can be shown to the caller: a status of a failure, bounded words, no key, and headers that are ASCII."""
    assert 400 <= error.status < 600
    assert len(error.message) <= 2200
    assert _KEY not in error.message
    assert error.retry_after is None or (error.retry_after >= 0 and math.isfinite(error.retry_after))
    answer = error_response(OPENAI_CHAT, error)
    assert json.loads(bytes(answer.body))["error"]["code"]
    assert all(value.isascii() for _, value in answer.raw_headers)


def chat_answer(data: bytes) -> None:
    """An answer that is not streamed becomes a log like a streamed one."""
    (seed,), body = parted(data, 1)
    try:
        chunks = chunks_of(body, ChatDecoder("openai", "up"))
    except HeadraceError as error:
        _check_error(_REDACTOR.error(error))
        return
    assert isinstance(chunks[-1].events[-1], StepEnd)
    records = log_of(chunks, terminal_of(None))
    check_second_hand(records, check_log(records, seed))


def refusal(data: bytes) -> None:
    """Any answer other than a stream is an error that can be shown."""
    first, headers, body = head_and_body(data)
    status = int(first) if re.fullmatch("[1-9][0-9]{2}", first) else 400 + len(first)
    found = Refusal(status, dict(headers), body)
    # aiohttp decodes headers so; latin-1 never gives it half a character.
    strange = Refusal(
        status,
        {name: value.encode("latin-1").decode("utf-8", "surrogateescape") for name, value in headers},
        body,
    )
    for each in (found, strange):
        _check_error(_REDACTOR.error(error_of(each, _NOW)))
        _check_error(_REDACTOR.error(not_a_stream(each, "text/event-stream", _NOW)))


def local_answer(data: bytes) -> None:
    """What llama.cpp writes, in an answer in words and in a call."""
    for item in (Text(), Call()):
        answer = LocalAnswer("local", "smollm2-135m", item)
        chunks: list[Chunk] = []
        for frame in data.split(b"\n"):
            chunks += answer.feed([frame])
            if answer.closed or answer.error is not None:
                break
        if answer.error is not None:
            assert 400 <= answer.error.status < 600
        check_log(log_of(chunks, terminal_of(answer.error)), len(data))
