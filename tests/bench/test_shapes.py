"""How each shape is asked, and what its stream says, at every split."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.bench.prompts import Prompt
from headrace.bench.shapes import SHAPES
from headrace.bench.shapes.base import Ask
from headrace.bench.shapes.sse import AnySSE, Description, parse_path
from tests.bench.wire import HEAD, chat, chunked, delta, event, outcome

PROMPT = Prompt([{"role": "system", "content": "Be brief."}, {"role": "user", "content": 'Say "hi" 水.'}])


def named(type_: str, **fields: Any) -> bytes:
    return event({"type": type_, **fields}, type_)


def called(arguments: str) -> bytes:
    call = {"index": 0, "id": "c", "function": {"name": "f", "arguments": arguments}}
    return event({"choices": [{"delta": {"tool_calls": [call]}}]})


MESSAGES = [
    named("message_start", message={"id": "m", "usage": {"input_tokens": 7, "output_tokens": 1}}),
    named("content_block_start", index=0, content_block={"type": "text", "text": ""}),
    named("ping"),
    named("content_block_delta", index=0, delta={"type": "thinking_delta", "thinking": "hm"}),
    named("content_block_delta", index=0, delta={"type": "signature_delta", "signature": "x"}),
    named("content_block_delta", index=1, delta={"type": "text_delta", "text": "hello"}),
    named("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": '{"a"'}),
    named("content_block_delta", index=2, delta={"type": "input_json_delta", "partial_json": ""}),
    named("content_block_stop", index=2),
    named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 3}),
    named("message_stop"),
]
RESPONSES = [
    named("response.created", response={"id": "r", "status": "in_progress", "usage": None, "error": None}),
    named("response.output_item.added", item={"type": "message", "content": []}),
    named("response.output_text.delta", delta="hello"),
    named("response.output_text.delta", delta=""),
    named("response.reasoning_summary_text.delta", delta="hm"),
    named("response.function_call_arguments.delta", delta="{"),
    named("response.output_text.done", text="hello"),
    named("response.completed", response={"usage": {"input_tokens": 7, "output_tokens": 3}, "error": None}),
]
NATIVE = [
    event({"seq": 0, "events": [{"type": "stream.start", "id": "s", "model": "m"}]}),
    event({"seq": 1, "events": [{"type": "step.start"}, {"type": "item.start", "item": 0, "kind": "text"}]}),
    event(
        {"seq": 2, "events": [{"type": "text.delta", "item": 0, "text": "hel"}, {"type": "text.delta", "text": "lo"}]}
    ),
    event({"seq": 3, "events": [{"type": "args.delta", "item": 1, "json": "{"}]}),
    event({"seq": 4, "events": [{"type": "tool.result", "call_id": "c", "output": {"a": 1}}]}),
    event({"seq": 5, "events": [{"type": "text.delta", "item": 0, "text": "!"}]}),
    event({"seq": 6, "events": [{"type": "usage", "input": 7, "output": 3}, {"type": "finished", "reason": "stop"}]}),
]
CALLS = [delta(""), called(""), called('{"a"'), called(": 1}"), delta("ok"), *chat(("",))[2:]]
CALLS[-2] = event({"choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}})
STREAMS = {"openai.chat": CALLS, "openai.responses": RESPONSES, "anthropic.messages": MESSAGES, "native": NATIVE}


@pytest.mark.parametrize("name", SHAPES)
def test_every_split_of_a_stream_says_the_same(name):
    wire = HEAD + chunked(STREAMS[name])
    splits = [[wire[:at], wire[at:]] for at in range(1, len(wire), 3)]
    splits.append([wire[at : at + 1] for at in range(len(wire))])
    for pieces in splits:
        found = outcome(pieces, SHAPES[name].start())
        assert (found.failure, found.chunks) == ("", 3)
        assert (found.input_tokens, found.output_tokens) == (7, 3)


@pytest.mark.parametrize("name", SHAPES)
def test_a_stream_without_its_last_event_is_incomplete(name):
    assert outcome([HEAD + chunked(STREAMS[name][:-1])], SHAPES[name].start()).failure == "incomplete"


@pytest.mark.parametrize(
    ("name", "frame", "message"),
    [
        (
            "anthropic.messages",
            named("error", error={"type": "overloaded_error", "message": "Busy"}),
            "overloaded_error: Busy",
        ),
        ("anthropic.messages", named("error"), "error"),
        ("openai.responses", named("response.failed", response={"error": {"code": "x", "message": "y"}}), "x: y"),
        ("openai.responses", event({"type": "error", "error": {"message": "y"}}), "y"),
        ("openai.responses", named("error", code="x", message="y"), "x: y"),
        ("native", event({"events": [{"type": "failed", "code": "log_full", "message": "Full."}]}), "log_full: Full."),
        ("native", event({"events": [{"type": "cancelled", "by": "client"}]}), "cancelled by client"),
    ],
)
def test_an_error_in_the_stream_is_told(name, frame, message):
    frames = [*STREAMS[name][:-1], frame]
    found = outcome([HEAD + chunked(frames)], SHAPES[name].start())
    assert (found.failure, found.message) == ("error_event", message)


def test_a_response_that_reached_its_limit_is_whole():
    frames = [*RESPONSES[:-1], named("response.incomplete", response={"usage": {"output_tokens": 9}})]
    found = outcome([HEAD + chunked(frames)], SHAPES["openai.responses"].start())
    assert (found.failure, found.output_tokens) == ("", 9)


def asked(name: str, **ask: Any) -> Any:
    return json.loads(SHAPES[name].body(PROMPT, Ask("m", **ask)))


def test_a_chat_asks_for_its_usage():
    assert asked("openai.chat", output_len=9, temperature=0.5, ignore_eos=True) == {
        "model": "m",
        "messages": PROMPT.messages,
        "stream": True,
        "stream_options": {"include_usage": True},
        "max_tokens": 9,
        "temperature": 0.5,
        "ignore_eos": True,
    }


def test_the_other_shapes_ask_in_their_own_words():
    assert asked("openai.responses", output_len=9) == {
        "model": "m",
        "input": PROMPT.messages,
        "stream": True,
        "max_output_tokens": 9,
    }
    assert asked("anthropic.messages", output_len=9) == {
        "model": "m",
        "system": "Be brief.",
        "messages": PROMPT.messages[1:],
        "stream": True,
        "max_tokens": 9,
    }
    assert asked("native", output_len=9, temperature=0) == {
        "model": "m",
        "messages": PROMPT.messages,
        "stream": True,
        "settings": {"max_tokens": 9, "temperature": 0},
    }


@pytest.mark.parametrize("name", SHAPES)
def test_without_a_limit_none_is_sent(name):
    assert "max" not in json.dumps(asked(name, output_len=None))


def test_a_prompt_may_have_a_limit_of_its_own():
    body = SHAPES["openai.chat"].body(Prompt(PROMPT.messages, 3), Ask("m", output_len=9))
    assert json.loads(body)["max_tokens"] == 3


def test_extra_fields_come_in_place_of_others_and_null_takes_one_away():
    body = asked("openai.chat", extra={"stream_options": None, "max_tokens": 1, "top_k": 5})
    assert (body["max_tokens"], body["top_k"], "stream_options" in body) == (1, 5, False)


def test_keys_are_shown_as_each_shape_wants_it():
    assert SHAPES["openai.chat"].headers("k") == {"Authorization": "Bearer k"}
    assert SHAPES["openai.chat"].headers("") == {}
    assert SHAPES["anthropic.messages"].headers("k")["x-api-key"] == "k"
    assert "x-api-key" not in SHAPES["anthropic.messages"].headers("")


def described(**description: Any) -> AnySSE:
    return AnySSE(Description(**description))


@pytest.mark.parametrize(
    ("path", "frame", "count"),
    [
        ("", b"data: hi\n\n", 1),
        ("", b"event: ping\ndata:\n\n", 0),
        ("text", event({"text": "hi"}), 1),
        ("text", event({"text": ""}), 0),
        ("text", event({"other": "hi"}), 0),
        ("choices.0.delta.content", delta("hi"), 1),
        ("choices.1.delta.content", delta("hi"), 0),
        ("a.0", event({"a": {"0": "hi"}}), 1),
        ("a.b", event({"a": "hi"}), 0),
        ("1", event(["a", "b"]), 1),
    ],
)
def test_the_text_of_any_event_is_found_by_its_path(path, frame, count):
    shape = described(text_path=parse_path(path), end=b"done")
    frames = [event({"text": "x", "choices": [{"delta": {"content": "x"}}], "a": "x"}), frame, b"data: done\n\n"]
    found = outcome([HEAD + chunked(frames)], shape.start())
    others = outcome([HEAD + chunked([frames[0], frames[2]])], shape.start())
    assert found.chunks - others.chunks == count


def test_the_end_of_any_stream_is_its_data_or_its_name():
    for frame in (b"data: [END]\n\n", b"event: [END]\ndata: {}\n\n"):
        shape = described(end=b"[END]")
        assert outcome([HEAD + chunked([b"data: a\n\n", frame])], shape.start()).chunks == 1
    assert outcome([HEAD + chunked([b"data: a\n\n"])], described(end=b"[END]").start()).failure == "incomplete"


def test_an_event_called_error_is_one():
    found = outcome([HEAD + chunked([b"data: a\n\n", b"event: error\ndata: no\n\n"])], described().start())
    assert (found.failure, found.message) == ("error_event", "no")


def test_a_body_has_prompt_and_model_in_their_places():
    shape = described(body='{"q": "{{prompt}}", "m": "{{model}}", "n": {{max_tokens}}}')
    assert json.loads(shape.body(PROMPT, Ask("m", output_len=4))) == {"q": PROMPT.text, "m": "m", "n": 4}
    tricky = Prompt([{"role": "user", "content": "{{model}}"}])
    assert json.loads(shape.body(tricky, Ask("m")))["q"] == "{{model}}"


def test_an_address_has_the_prompt_in_its_place():
    assert described().path("/ask?q={{prompt}}&x=1", Prompt([{"role": "user", "content": "a b/水"}])) == (
        "/ask?q=a%20b%2F%E6%B0%B4&x=1"
    )
    assert described().path("/ask", PROMPT) == "/ask"


def test_the_method_follows_from_the_body():
    assert described().method == "GET"
    assert described(body="{}").method == "POST"
    assert described(method="PUT").method == "PUT"
