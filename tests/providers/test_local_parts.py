"""What the `local` provider does around llama.cpp, seen with a stand-in for it."""

import asyncio
import json
import re
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from itertools import pairwise
from typing import Any

import anyio
import pytest

from headrace.dialects import ANTHROPIC_MESSAGES, OPENAI_CHAT, OPENAI_RESPONSES
from headrace.dialects.base import Dialect
from headrace.errors import (
    BadRequest,
    ConfigError,
    HeadraceError,
    RateLimited,
    UpstreamError,
    UpstreamIncomplete,
    UpstreamProtocol,
    UpstreamRejected,
    UpstreamUnavailable,
)
from headrace.events import ChoiceEnd, Event, ItemStart
from headrace.messages import Message, Part, Request, Settings, Tool, ToolCall
from headrace.providers.local import LocalProvider
from headrace.providers.local.answer import Answer, Call
from headrace.providers.local.engine import Engine
from headrace.providers.local.question import ask
from headrace.providers.local.slots import Slots
from tests.providers.asking import GUARD, MODEL, answer, arguments_of, only, request, text_of


class FakeServer:
    """Stands in for llama.cpp: says `frames`, then raises `error`; gated, it first waits for its gate to open."""

    def __init__(self, *frames: str, error: Exception | None = None, gated: bool = False) -> None:
        self.frames = frames
        self.error = error
        self.gate = threading.Event()
        if not gated:
            self.gate.set()
        self.asked: list[str] = []

    def handle_chat_completions(self, prompt: bytes, callback: Callable[[bytes], bool]) -> None:
        self.asked.append(json.loads(prompt)["messages"][0]["content"])
        callback(START)
        assert self.gate.wait(GUARD)
        for frame in self.frames:
            if callback(frame.encode()):
                return
        if self.error is not None:
            raise self.error

    def handle_metrics(self) -> str:
        return ""


START = b'{"id":"chatcmpl-1","choices":[],"prompt_progress":{"total":7,"cache":3}}'
STOP = '{"choices":[{"delta":{},"finish_reason":"stop"}]}'
USAGE = '{"choices":[],"usage":{"prompt_tokens":7,"completion_tokens":2}}'


def piece(text: str) -> str:
    return json.dumps({"choices": [{"delta": {"content": text}}]})


@pytest.fixture
def faked(monkeypatch: pytest.MonkeyPatch) -> Callable[..., Awaitable[LocalProvider]]:
    """Starts a provider with a stand-in for llama.cpp."""

    async def start(server: FakeServer, **settings: Any) -> LocalProvider:
        monkeypatch.setattr(Engine, "load", lambda _: Engine(server, str))
        provider = LocalProvider(**settings)
        await provider.start()
        return provider

    return start


@pytest.mark.parametrize("settings", [{"slots": 0}, {"queue": -1}, {"context": 0}, {"threads": 0}])
def test_impossible_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        LocalProvider(**settings)


@pytest.mark.promise("P17")
@pytest.mark.parametrize(
    ("dialect", "body", "field"),
    [
        (OPENAI_CHAT, {"messages": [{"role": "user", "content": "hi"}], "logit_bias": {"1": 1}}, "logit_bias"),
        (OPENAI_RESPONSES, {"input": "hi", "prompt": {"id": "pmpt_1"}}, "prompt"),
        (
            ANTHROPIC_MESSAGES,
            {"messages": [{"role": "user", "content": "hi"}], "max_tokens": 9, "container": "c"},
            "container",
        ),
    ],
)
def test_what_the_embedded_model_cannot_be_told_is_refused_not_dropped(dialect: Dialect, body: Any, field: str) -> None:
    asked = dialect.parse(json.dumps({"model": "demo", **body}).encode())
    with pytest.raises(BadRequest) as refused:
        LocalProvider().check(asked)
    assert (refused.value.param, refused.value.error_code) == (field, "unsupported_parameter")


@pytest.mark.parametrize(
    ("frames", "error", "expected"),
    [
        ((piece("a"),), None, UpstreamIncomplete),
        ((piece("a"), STOP), None, UpstreamIncomplete),
        ((piece("a"), "{"), None, UpstreamProtocol),
        ((piece("a"), '{"x":' + "[" * 5000), None, UpstreamProtocol),
        ((piece("a"), '{"error":{"code":503,"message":"busy"}}'), None, UpstreamError),
        ((piece("a"), '{"error":{"code":422,"message":"no"}}'), None, UpstreamRejected),
        ((piece("a"),), RuntimeError("lost"), UpstreamError),
    ],
)
@pytest.mark.anyio
@pytest.mark.promise("P6")
async def test_an_answer_without_its_end_is_a_failure_after_what_came(
    faked: Any, frames: tuple[str, ...], error: Exception | None, expected: type[HeadraceError]
) -> None:
    provider = await faked(FakeServer(*frames, error=error))
    got: list[Event] = []
    with pytest.raises(expected):
        async for batch in provider.stream(request(), MODEL):
            got += [event for chunk in batch for event in chunk.events]
    assert text_of(got) == "a"
    await provider.close()


# Turns


@pytest.mark.promise("P24")
@pytest.mark.anyio
async def test_who_finds_the_queue_full_is_told_at_once_and_the_others_go_in_order(faked: Any) -> None:
    server = FakeServer(piece("a"), STOP, USAGE, gated=True)
    provider = await faked(server, slots=1, queue=3)

    async with anyio.create_task_group() as group:
        leaver = anyio.CancelScope()

        async def leave() -> None:
            with leaver:
                await answer(provider, request("left"))

        for asking in (
            partial(answer, provider, request("first")),
            partial(answer, provider, request("second")),
            leave,
            partial(answer, provider, request("third")),
        ):
            group.start_soon(asking)
            await anyio.wait_all_tasks_blocked()
        with pytest.raises(RateLimited) as raised:
            await answer(provider, request("refused"))
        assert (raised.value.retry_after or 0) > 0
        leaver.cancel()
        await anyio.wait_all_tasks_blocked()
        group.start_soon(answer, provider, request("fourth"))  # the place in the queue is free again
        await anyio.wait_all_tasks_blocked()
        server.gate.set()
    assert server.asked == ["first", "second", "third", "fourth"]
    await provider.close()


@pytest.mark.anyio
@pytest.mark.promise("P24")
@pytest.mark.parametrize("order", ["turn, then cancel", "cancel, then turn"])
async def test_a_turn_is_not_lost_on_somebody_who_leaves_in_the_same_moment(order: str) -> None:
    slots = Slots(1, 2)
    await slots.take()
    # Native tasks: a cancel scope would not act between the turn and the moment its owner notices.
    leaving, staying = (asyncio.get_running_loop().create_task(slots.take()) for _ in range(2))
    await anyio.wait_all_tasks_blocked()
    for act in (slots.give_back, leaving.cancel) if order.startswith("turn") else (leaving.cancel, slots.give_back):
        act()
    with pytest.raises(asyncio.CancelledError):
        await leaving
    with anyio.fail_after(GUARD):
        await staying
    slots.give_back()
    await slots.take()


@pytest.mark.anyio
async def test_closing_sends_everybody_away_also_who_is_leaving() -> None:
    slots = Slots(1, 2)
    await slots.take()
    leaving, staying = (asyncio.get_running_loop().create_task(slots.take()) for _ in range(2))
    await anyio.wait_all_tasks_blocked()
    leaving.cancel()
    slots.close()
    with pytest.raises(UpstreamUnavailable):
        await staying
    with pytest.raises(asyncio.CancelledError):
        await leaving


@pytest.mark.anyio
async def test_frames_that_pile_up_are_read_at_one_go(faked: Any) -> None:
    many = [piece("a") for _ in range(500)]
    server = FakeServer(*many, STOP, USAGE, gated=True)
    provider = await faked(server)
    asked = provider.stream(request(), MODEL)
    await anext(asked)
    server.gate.set()
    for thread in threading.enumerate():
        if thread.name == "headrace-local":
            thread.join(GUARD)  # the loop stands, as a busy one does
    rest = [batch async for batch in asked]
    assert [len(batch) for batch in rest] == [502]
    await provider.close()


# The parts without a model

CALL = '{ "name" : "a\\"b" ,\n"arguments":{"x":"}\\"{","y":[{"z":1}]} }\n'


@pytest.mark.promise("P18")
def test_a_call_is_taken_apart_at_every_split() -> None:
    for first, second in [*((i, j) for i in range(len(CALL)) for j in (i + 1, i + 7)), *pairwise(range(len(CALL)))]:
        pieces = (CALL[:first], CALL[first:second], CALL[second:])
        frames = [START, *(piece(text).encode() for text in pieces), STOP.encode(), USAGE.encode()]
        taken = Answer("local", MODEL, Call())
        events = [event for chunk in taken.feed(frames) for event in chunk.events]
        assert taken.error is None
        assert taken.closed
        assert only(events, ItemStart).name == 'a"b'
        assert "".join(arguments_of(events)) == '{"x":"}\\"{","y":[{"z":1}]}'
        assert only(events, ChoiceEnd).reason == "tool_calls"


@pytest.mark.parametrize("text", ['{"na', '{"name": "f\n", "arguments": {}}', '{"name": "\\ud83d", "arguments": {}}'])
def test_a_call_that_never_begins_is_an_error(text: str) -> None:
    taken = Answer("local", MODEL, Call())
    taken.feed([piece(text).encode(), STOP.encode()])
    assert isinstance(taken.error, UpstreamRejected)


def test_earlier_reasoning_is_left_out_and_a_refusal_is_what_was_said() -> None:
    parts = (Part("reasoning", "Hm", signature="s"), Part("redacted", signature="t"), Part("refusal", "No."))
    failed = Message("tool", (Part("text", "no such file"),), is_error=True)
    asked = Request("", MODEL, (Message("assistant", parts), failed))
    said = json.loads(ask(asked, lambda schema: "").body)["messages"]
    assert [message["content"] for message in said] == ["No.", "Error of the function: no such file"]


def test_a_conversation_with_calls_is_put_into_roles_that_the_model_knows() -> None:
    messages = (
        Message("developer", (Part("text", "Be brief."),)),
        Message("user", (Part("text", "Weather "), Part("text", "in Oslo?"))),
        Message("assistant", tool_calls=(ToolCall("call_1", "get_weather", '{"city":"Oslo"}'),)),
        Message("tool", (Part("text", "-3"),), call_id="call_1"),
    )
    settings = Settings(tool_choice="required", response_format={"type": "text"})
    question = ask(Request("", MODEL, messages, tools=(Tool("get_weather"),), settings=settings), str)
    system, *rest = json.loads(question.body)["messages"]
    assert system["role"] == "system"
    assert system["content"].startswith("Be brief.\n\nCall one of these functions.")
    assert rest == [
        {"role": "user", "content": "Weather in Oslo?"},
        {"role": "assistant", "content": '{"name": "get_weather", "arguments": {"city":"Oslo"}}'},
        {"role": "user", "content": "Result of the function: -3"},
    ]


@pytest.mark.promise("P25")
@pytest.mark.parametrize("key", ["$defs", "definitions"])
@pytest.mark.parametrize("value", [5, [1], "text", None])
def test_definitions_that_are_no_object_are_the_callers_mistake(key: str, value: Any) -> None:
    tools = (Tool("f", parameters={key: value}),)
    with pytest.raises(BadRequest, match=re.escape(f"{key} of a function's parameters")) as refused:
        ask(Request("", MODEL, (Message("user"),), tools=tools, settings=Settings(tool_choice="required")), str)
    assert refused.value.param == "tools"
