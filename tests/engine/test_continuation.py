"""An answer whose producer died goes on: in every view it is one answer. What cannot go on fails clearly."""

import json
from collections.abc import Sequence
from typing import Any

import anyio
import pytest

from headrace.bodies import LongBody
from headrace.dialects import DIALECTS, OPENAI_RESPONSES
from headrace.dialects.anthropic_messages import MessagesDecoder
from headrace.dialects.base import Decoder
from headrace.dialects.openai_chat import ChatDecoder, write_long_request
from headrace.dialects.openai_chat import write_request as write_chat
from headrace.engine.clock import FakeClock
from headrace.engine.continuation import MOST
from headrace.engine.engine import Load
from headrace.errors import BadRequest, UpstreamRejected, UpstreamUnavailable
from headrace.events import (
    ChoiceEnd,
    Chunk,
    Event,
    Failed,
    Finished,
    ItemEnd,
    ItemStart,
    Record,
    Status,
    StreamStart,
    TextDelta,
    Usage,
)
from headrace.messages import Request
from headrace.stores.base import StreamInfo
from headrace.transforms.accumulator import Accumulator
from tests.dialects.rendering import VIEWS, frames
from tests.engine.rig import OWNER, Rig, ScriptedProvider, memory_store, node, read_all, settle
from tests.engine.test_takeover import BEGUN, BODY, LEASE, STEP, Refusing, leave_behind, passes, terminals

pytestmark = [pytest.mark.anyio, pytest.mark.promise("P3")]

CONTINUE: dict[str, Any] = {"on_producer_loss": "continue"}


def chat(*texts: str, first: bool = True) -> list[bytes]:
    """The frames of an OpenAI-compatible server, one of them with a field that nobody knows."""
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}] if first else []
    deltas += [{"content": text} for text in texts]
    made: list[dict[str, Any]] = [
        {"id": "up", "object": "chat.completion.chunk", "model": "m", "choices": [{"index": 0, "delta": delta}]}
        for delta in deltas
    ]
    made[-1]["vendor"] = 1
    return [json.dumps(frame).encode() for frame in made]


def chat_end() -> list[bytes]:
    usage = {"prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13}
    ending = [
        {"id": "up", "choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"id": "up", "choices": [], "usage": usage},
    ]
    return [*(json.dumps(frame).encode() for frame in ending), b"[DONE]"]


def messages(*texts: str) -> list[bytes]:
    """The events of Anthropic's."""
    usage = {"input_tokens": 9, "output_tokens": 1}
    made: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "model": "m", "usage": usage}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    ]
    made += [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": text}} for text in texts
    ]
    return [json.dumps(event).encode() for event in made]


def messages_end() -> list[bytes]:
    made: list[dict[str, Any]] = [
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 4}},
        {"type": "message_stop"},
    ]
    return [json.dumps(event).encode() for event in made]


SERVERS: dict[str, Any] = {
    "openai.chat": (ChatDecoder, chat, chat_end),
    "anthropic.messages": (MessagesDecoder, messages, messages_end),
}


def begun(server: str, *texts: str) -> list[Chunk]:
    """The beginning of an answer, as the decoder of that server's shape has it."""
    make, begin, _ = SERVERS[server]
    return _decoded(make("scripted", "m"), begin(*texts))


def whole(server: str, *texts: str) -> list[Chunk]:
    make, begin, end = SERVERS[server]
    return _decoded(make("scripted", "m"), [*begin(*texts), *end()])


def _decoded(decoder: Decoder, data: Sequence[bytes]) -> list[Chunk]:
    return [chunk for each in data if (chunk := decoder.feed(each)) is not None]


async def leave_chunks(rig: Rig, chunks: Sequence[Chunk], body: bytes = BODY, dialect: str = "openai.chat") -> None:
    """A stream whose producer wrote these."""
    start = StreamStart("s", OWNER, 1_000_000_000, "demo", dialect, params="u" * (dialect == "openai.chat"))
    lease = await rig.store.acquire("s", OWNER, body, LEASE)
    log = [Chunk((start,)), *chunks]
    await rig.store.append(lease, 0, [Record(seq, 0, chunk.events, chunk.raw) for seq, chunk in enumerate(log)])


async def continued(rig: Rig, answer: Sequence[Chunk]) -> list[Record]:
    """The log after the lease, when the model has said the rest."""
    rig.call.say(*([chunk] for chunk in answer))
    rig.call.stop()
    await passes(rig, LEASE + 1)
    records = list(await rig.records("s"))
    assert len(terminals(records)) == 1
    return records


def statuses(records: Sequence[Record]) -> list[str]:
    return [event.code for record in records for event in record.events if isinstance(event, Status)]


def text_of(records: Sequence[Record]) -> str:
    whole = Accumulator()
    whole.feed(records)
    return whole.answer().text


@pytest.mark.parametrize("second", SERVERS)
@pytest.mark.parametrize("first", SERVERS)
async def test_both_parts_are_one_answer_in_every_view(first: str, second: str) -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_chunks(rig, begun(first, "Once", " upon "))
            records = await continued(rig, whole(second, " a", " time."))
        text = "Once upon a time."
        assert text_of(records) == text
        assert statuses(records) == ["continued"]
        assert [start.item for start in _events(records, ItemStart)] == [0]
        _check_chat(frames(records, "openai.chat", "u"), text)
        _check_messages(frames(records, "anthropic.messages", ""), text)
        _check_responses(frames(records, "openai.responses", ""), text)
        assert b"".join(frames(records, "text", "")).decode() == text
        assert len(frames(records, "native", "")) == len(records)
        for name, says in ANSWERS.items():
            answer = Accumulator()
            answer.feed(records)
            assert says(json.loads(DIALECTS[name].answer(answer.answer()))) == text


ANSWERS: dict[str, Any] = {
    "openai.chat": lambda body: body["choices"][0]["message"]["content"],
    "anthropic.messages": lambda body: "".join(block["text"] for block in body["content"]),
    "openai.responses": lambda body: "".join(part["text"] for part in body["output"][0]["content"]),
    "native": lambda body: body["text"],
}


def _events(records: Sequence[Record], kind: type[Any]) -> list[Any]:
    return [event for record in records for event in record.events if isinstance(event, kind)]


def _check_chat(data: list[bytes], text: str) -> None:
    assert data[-1] == b"[DONE]"
    chunks = [json.loads(each) for each in data[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [choice["delta"].get("role") for choice in choices].count("assistant") == 1
    assert "".join(choice["delta"].get("content") or "" for choice in choices) == text
    assert [choice.get("finish_reason") for choice in choices if choice.get("finish_reason")] == ["stop"]
    assert {chunk["id"] for chunk in chunks} == {"chatcmpl-s"}
    assert chunks[-1]["usage"]["source"] == "estimated"


def _check_messages(data: list[bytes], text: str) -> None:
    events = [json.loads(each) for each in data]
    kinds = [event["type"] for event in events if event["type"] != "content_block_delta"]
    assert kinds == ["message_start", "content_block_start", "content_block_stop", "message_delta", "message_stop"]
    assert "".join(event["delta"]["text"] for event in events if event["type"] == "content_block_delta") == text
    assert {event["index"] for event in events if "index" in event} == {0}


def _check_responses(data: list[bytes], text: str) -> None:
    events = [json.loads(each) for each in data]
    kinds = [event["type"] for event in events if event["type"] != "response.output_text.delta"]
    assert kinds == [
        *("response.created", "response.in_progress", "response.output_item.added", "response.content_part.added"),
        *("response.output_text.done", "response.content_part.done", "response.output_item.done"),
        "response.completed",
    ]
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"]["output"][0]["content"][0]["text"] == text


@pytest.mark.promise("P4")
@pytest.mark.parametrize(("dialect", "params"), VIEWS)
async def test_who_read_the_first_part_resumes_over_the_seam(dialect: str, params: str) -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_chunks(rig, begun("openai.chat", "Once", " upon"))
            before = list(await rig.records("s"))
            records = await continued(rig, whole("anthropic.messages", " a", " time."))
    seen, everything = frames(before, dialect, params), frames(records, dialect, params)
    assert records[: len(before)] == before
    assert everything[: len(seen)] == seen
    view = DIALECTS[dialect].view(params)
    again = [frame for record in records for frame in view.fold(record)]
    assert [view.encode(frame) for frame in again[len(seen) :]] == everything[len(seen) :]


async def test_the_model_sees_the_request_with_the_text_so_far_and_what_is_left_of_its_limit() -> None:
    body = json.loads(BODY) | {"max_tokens": 100, "vendor": {"kept": [1]}, "top_k": 3}
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_chunks(rig, begun("openai.chat", "Once", " upon "), json.dumps(body).encode())
            await continued(rig, whole("openai.chat", "a time"))
            (asked,) = rig.provider.requests
    sent = json.loads(write_chat(asked, "upstream-model", stream=True))
    assert sent["messages"] == [*body["messages"], {"role": "assistant", "content": "Once upon"}]
    assert 90 < sent["max_tokens"] < 100
    assert (sent["vendor"], sent["top_k"], sent["model"]) == ({"kept": [1]}, 3, "upstream-model")
    assert (sent["continue_final_message"], sent["add_generation_prompt"]) == (True, False)


BODIES: dict[str, Any] = {
    "native": {"model": "demo", "messages": [{"role": "user", "content": "Hi"}], "settings": {"max_tokens": 50}},
    "anthropic.messages": {"model": "demo", "max_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]},
    "openai.responses": {"model": "demo", "max_output_tokens": 50, "input": "Hi"},
    "openai.chat": {"model": "demo", "max_completion_tokens": 50, "messages": [{"role": "user", "content": "Hi"}]},
}


@pytest.mark.parametrize("long", [False, True], ids=["short", "long"])
@pytest.mark.parametrize("dialect", BODIES)
async def test_requests_of_every_shape_and_length_can_go_on(dialect: str, long: bool) -> None:
    body = dict(BODIES[dialect])
    if long:
        field = "input" if "input" in body else "messages"
        body[field] = [{"role": "user", "content": "x" * 200_000}] * 7 + [{"role": "user", "content": "Hi"}]
    with anyio.fail_after(10):
        async with node(**CONTINUE) as rig:
            await leave_chunks(rig, begun("openai.chat", "Once", " upon"), json.dumps(body).encode(), dialect)
            records = await continued(rig, whole("openai.chat", " a time"))
            (asked,) = rig.provider.requests
    assert text_of(records) == "Once upon a time"
    sent = _written(asked)
    assert sent["messages"][-2:] == [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Once upon"}]
    assert len(sent["messages"]) == (9 if long else 2)
    limit = sent.get("max_tokens") or sent["max_completion_tokens"]
    assert 40 < limit < 50


def _written(asked: Request) -> dict[str, Any]:
    if isinstance(asked.body, LongBody):
        return json.loads(b"".join(write_long_request(asked, asked.body, "m", stream=True)))
    return json.loads(write_chat(asked, "m", stream=True))


@pytest.mark.parametrize("log", [(), ((STEP,),), ((STEP, ItemStart(0, "text")),)], ids=["nothing", "role", "item"])
async def test_a_request_of_whose_answer_nothing_was_said_is_asked_again(log: tuple[tuple[Event, ...], ...]) -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_behind(rig.store, *log)
            records = await continued(rig, whole("openai.chat", "Hello"))
            (asked,) = rig.provider.requests
            assert asked.body == BODY and not asked.continues
            assert text_of(records) == "Hello"
            _check_roles(frames(records, "openai.chat", ""))
            assert records[-1].terminal == Finished("stop")


def _check_roles(data: list[bytes]) -> None:
    deltas = [choice["delta"] for each in data[:-1] for choice in json.loads(each)["choices"]]
    assert sum("role" in delta for delta in deltas) == 1


JSON_FORMAT = json.dumps(json.loads(BODY) | {"response_format": {"type": "json_object"}}).encode()
TWO = json.dumps(json.loads(BODY) | {"n": 2}).encode()
EARLIER = json.dumps({"model": "demo", "input": "Hi", "previous_response_id": "resp_1"}).encode()


@pytest.mark.parametrize(
    ("log", "body"),
    [
        ((*BEGUN, (ItemEnd(0), ItemStart(1, "tool_call", name="f", call_id="c"))), BODY),
        (((STEP, ItemStart(0, "reasoning"), TextDelta(0, "Hm")),), BODY),
        ((*BEGUN, (ItemEnd(0), ItemStart(1, "reasoning"))), BODY),
        (((STEP, ItemStart(0, "refusal"), TextDelta(0, "No")),), BODY),
        (((STEP, ItemStart(0, "text", choice=1), TextDelta(0, "b")),), BODY),
        (
            (
                (
                    STEP,
                    ItemStart(0, "file"),
                ),
            ),
            BODY,
        ),
        ((*BEGUN, (ItemEnd(0), ChoiceEnd(0, "stop"))), BODY),
        (BEGUN, TWO),
        (BEGUN, JSON_FORMAT),
        (BEGUN, b""),
        (BEGUN, b"{"),
        ((*BEGUN, *(((Status("continued", ""),),) * MOST)), BODY),
    ],
    ids=[
        *("call", "thought", "thought after text", "refusal", "second choice", "file", "over", "n", "format"),
        *("not stored", "not readable", "often"),
    ],
)
async def test_what_cannot_go_on_fails_as_lost(log: tuple[tuple[Event, ...], ...], body: bytes) -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_behind(rig.store, *log, body=body)
            await passes(rig, LEASE + 1)
            assert _code(await rig.records("s")) == "producer_lost"
            assert rig.provider.asked == 0
            assert len(rig.witness.ends) == 1


def _code(records: Sequence[Record]) -> str:
    terminal = records[-1].terminal
    assert isinstance(terminal, Failed)
    return terminal.code


async def test_an_answer_that_continues_an_earlier_one_fails_as_lost() -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_chunks(rig, begun("openai.chat", "Once"), EARLIER, OPENAI_RESPONSES.name)
            await passes(rig, LEASE + 1)
            assert _code(await rig.records("s")) == "producer_lost"


class Anew(ScriptedProvider):
    """It begins every answer anew."""

    def check(self, request: Request) -> None:
        if request.continues:
            raise BadRequest("It cannot.")


async def test_a_provider_that_cannot_go_on_is_not_asked() -> None:
    with anyio.fail_after(5):
        async with node(provider=Anew(), **CONTINUE) as rig:
            await leave_behind(rig.store, *BEGUN)
            await passes(rig, LEASE + 1)
            assert _code(await rig.records("s")) == "producer_lost"
            assert rig.provider.asked == 0


async def test_a_model_server_that_refuses_to_go_on_loses_the_answer_and_does_not_blame_the_caller() -> None:
    with anyio.fail_after(5):
        async with node(**{**CONTINUE, "retries": 2}) as rig:
            await leave_behind(rig.store, *BEGUN)
            rig.call.fail(UpstreamRejected("This model does not support assistant message prefill."))
            await passes(rig, LEASE + 1)
            records = await rig.records("s")
            assert statuses(records) == ["continued", "not_continued"]
            terminal = records[-1].terminal
            assert isinstance(terminal, Failed)
            assert (terminal.code, terminal.status, terminal.retryable) == ("producer_lost", 503, True)
            assert rig.provider.asked == 1


async def test_a_model_server_that_is_busy_is_asked_again_while_it_has_said_nothing() -> None:
    with anyio.fail_after(5):
        async with node(**{**CONTINUE, "retries": 2}) as rig:
            await leave_behind(rig.store, *BEGUN)
            rig.call.fail(UpstreamUnavailable("Busy."))
            rig.provider.call(1).say(whole("openai.chat", " a time"))
            rig.provider.call(1).stop()
            await passes(rig, LEASE + 3)
            records = await rig.records("s")
            assert statuses(records) == ["continued", "retrying"]
            assert text_of(records) == "Once upon a time"


async def test_a_continuation_that_fails_keeps_both_texts_and_its_own_reason() -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_behind(rig.store, *BEGUN)
            rig.call.say(begun("openai.chat", " a"))
            rig.call.fail(UpstreamUnavailable("Gone."))
            await passes(rig, LEASE + 1)
            records = await rig.records("s")
            assert _code(records) == "upstream_unavailable"
            assert text_of(records) == "Once upon a"
            assert _events(records, Usage)[-1].source == "partial"


async def test_both_parts_are_counted_and_the_end_is_told_once_without_a_time_to_first_token() -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_behind(rig.store, *BEGUN)
            rig.call.say(begun("openai.chat", " a"))
            await passes(rig, LEASE + 1)
            assert rig.engine.load == Load(1, 1, 0, 1)
            rig.call.say(whole("openai.chat", " time")[1:])
            rig.call.stop()
            await settle()
            (told,) = rig.witness.ends
            assert (told.ttft, rig.witness.ttfts) == (None, [])
            assert told.records == len(await rig.records("s"))
            assert told.usage.source == "estimated"
            assert told.usage.input == 2 + 9 and told.usage.output > 4


async def test_a_continued_stream_can_be_stopped_and_read_while_it_goes_on() -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_behind(rig.store, *BEGUN)
            reader = await rig.engine.subscribe("s", OWNER)
            await passes(rig, LEASE + 1)
            rig.call.say(begun("openai.chat", " a"))
            await settle()
            await rig.engine.cancel("s", OWNER)
            assert rig.history == ["asked", "closed"]
            assert text_of(await read_all(reader)) == "Once upon a"


async def test_a_node_that_dies_while_it_continues_is_followed_by_another() -> None:
    with anyio.fail_after(10):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock, **CONTINUE) as second:
            await leave_behind(store, *BEGUN)
            await passes(second, LEASE + 1)
            second.call.say(begun("openai.chat", " a"))
            await settle()
            second.engine._leases._store = Unreachable()  # pyright: ignore
            second.engine._takeover._store = Unreachable()  # pyright: ignore
            async with node(store, clock, **CONTINUE) as third:
                third.call.say(whole("anthropic.messages", " time."))
                third.call.stop()
                await passes(third, LEASE + 1)
                second.call.say(begun("openai.chat", " minute")[1:])  # it only stood still
                await settle()
                records = list(await third.records("s"))
                assert len(third.witness.ends) == 1 and second.witness.ends == []
    assert statuses(records) == ["continued", "continued"]
    _check_chat(frames(records, "openai.chat", "u"), "Once upon a time.")
    _check_messages(frames(records, "anthropic.messages", ""), "Once upon a time.")
    assert third.provider.requests[0].messages[-1].text == "Once upon a"  # pyright: ignore[reportIndexIssue]


class Unreachable(Refusing):
    """A store that is gone for this node: it neither renews nor finds anything."""

    async def abandoned(self, limit: int) -> Sequence[StreamInfo]:
        return ()


async def test_what_was_cancelled_is_not_continued() -> None:
    with anyio.fail_after(5):
        async with node(**CONTINUE) as rig:
            await leave_behind(rig.store, *BEGUN)
            await rig.store.request_cancel("s", "client")
            await passes(rig, LEASE + 1)
            assert rig.provider.asked == 0
            assert (await rig.store.status("s")).state == "cancelled"


async def test_a_node_that_drains_leaves_what_is_to_be_continued_to_others() -> None:
    with anyio.fail_after(5):
        clock = FakeClock()
        store = memory_store(clock)
        async with node(store, clock, **CONTINUE) as old:
            await leave_behind(store, *BEGUN)
            await old.engine.drain(0)
            await passes(old, LEASE + 1)
            assert (await store.status("s")).state == "running"
            async with node(store, clock, **CONTINUE) as new:
                records = await continued(new, whole("openai.chat", " a time"))
                assert text_of(records) == "Once upon a time"
                assert len(new.witness.ends) == 1 and old.witness.ends == []


async def test_who_has_no_room_for_another_stream_ends_it() -> None:
    with anyio.fail_after(5):
        async with node(max_running_per_key=1, **CONTINUE) as rig:
            started = await rig.start()
            await leave_behind(rig.store, *BEGUN)
            await passes(rig, LEASE + 1)
            assert _code(await rig.records("s")) == "producer_lost"
            rig.call.finish()
            await read_all(started.subscription)
