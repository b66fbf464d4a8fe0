from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from headrace.errors import ConfigError
from headrace.mock import MockServer, Settings, answer_text
from headrace.mock.pacing import Gap
from headrace.mock.recording import Recording, parse_recording, read_recording
from tests.mock.client import ask, asking, question

FIXTURES = Path(__file__).parents[1] / "fixtures"
FAST = Settings(gap=Gap("uniform", 0.0, 0.0))


@pytest.mark.anyio
@pytest.mark.parametrize("name", ["text.sse", "tools.sse", "vendor.sse"])
async def test_recorded_bytes_come_as_they_are(name):
    recording = read_recording(FIXTURES / name)
    async with MockServer(FAST, recordings=[recording]) as server:
        reply = await ask(server, question())
    assert reply.body == (FIXTURES / name).read_bytes()
    assert reply.headers["x-mock-sha256"] == hashlib.sha256(reply.text.encode()).hexdigest()


@pytest.mark.anyio
async def test_records_become_chunks_with_their_pace():
    recording = read_recording(FIXTURES / "water.ndjson")
    assert sum(take.after for take in recording.takes) > 0
    async with MockServer(FAST, recordings=[recording]) as server:
        reply = await ask(server, question())
        whole = await ask(server, question(stream=False))
    assert reply.text.startswith("Water")
    assert reply.frames[-1] == b"[DONE]"
    assert b'"finish_reason":"stop"' in reply.body
    assert b'"prompt_tokens"' in reply.body
    assert whole.json()["choices"][0]["message"]["content"] == reply.text


@pytest.mark.anyio
async def test_records_of_reasoning_and_tool_calls_become_deltas(tmp_path):
    events: list[list[dict[str, Any]]] = [
        [{"type": "step.start", "provider": "p", "model": "m"}],
        [{"type": "item.start", "item": 0, "kind": "reasoning"}, {"type": "text.delta", "item": 0, "text": "why"}],
        [{"type": "item.start", "item": 1, "kind": "tool_call", "name": "look", "call_id": "c1"}],
        [{"type": "args.delta", "item": 1, "json": '{"a":1}'}],
        [{"type": "choice.end", "choice": 0, "reason": "tool_calls"}, {"type": "finished", "reason": "tool_calls"}],
    ]
    lines = [json.dumps({"seq": seq, "at_ms": 5, "events": each}) for seq, each in enumerate(events)]
    (tmp_path / "tools.ndjson").write_text("\n".join(lines))
    async with MockServer(recordings=[read_recording(tmp_path / "tools.ndjson")]) as server:
        reply = await ask(server, question())
    deltas = [json.loads(frame)["choices"][0]["delta"] for frame in reply.frames[:-1]]
    assert deltas[1] == {"reasoning_content": "why"}
    (opening,), (piece,) = deltas[2]["tool_calls"], deltas[3]["tool_calls"]
    assert opening == {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": ""}}
    assert piece == {"index": 0, "function": {"arguments": '{"a":1}'}}
    assert b'"finish_reason":"tool_calls"' in reply.frames[-2]


@pytest.mark.anyio
async def test_recordings_take_turns_and_meet_faults():
    recordings = [read_recording(FIXTURES / "water.ndjson"), read_recording(FIXTURES / "text.sse")]
    async with MockServer(FAST, recordings=recordings) as server:
        texts = [(await ask(server, question())).text for _ in range(3)]
        cut = await ask(server, question(mock={"fault": "cut-frames:2"}))
    assert texts == [recordings[0].text, recordings[1].text, recordings[0].text]
    assert not cut.whole
    assert recordings[1].text.startswith(cut.text)


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [("a.ndjson", "{}\n", "record 1"), ("a.txt", "", "must end in"), ("a.sse", None, "cannot be read")],
)
def test_what_is_no_recording_is_refused(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(ConfigError, match=words):
        read_recording(tmp_path / name)


@pytest.mark.anyio
async def test_arguments_of_a_call_that_never_began_are_left_out(tmp_path):
    events = [{"type": "args.delta", "item": 1, "json": "{}"}, {"type": "finished", "reason": "stop"}]
    (tmp_path / "lost.ndjson").write_text(json.dumps({"seq": 0, "at_ms": 5, "events": events}))
    async with MockServer(recordings=[read_recording(tmp_path / "lost.ndjson")]) as server:
        assert (await ask(server, question())).frames == [b"[DONE]"]


SHAPES = ["openai.chat", "openai.responses", "anthropic.messages"]


async def said_in(shape: str) -> bytes:
    """A stream of the mock, as a recording."""
    async with MockServer(Settings(tokens=5, reasoning=2, tool_calls=1)) as server:
        return (await ask(server, **asking(shape))).body


async def recorded(shape: str) -> Recording:
    return parse_recording(await said_in(shape), Path("answer.sse"))


@pytest.mark.anyio
@pytest.mark.parametrize("shape", SHAPES)
async def test_recorded_bytes_answer_requests_of_their_own_shape_only(shape):
    body = await said_in(shape)
    recording = parse_recording(body, Path("answer.sse"))
    assert (recording.shape.name, recording.text, recording.finish) == (shape, answer_text(0, "hi", 5), "tool_calls")
    async with MockServer(FAST, recordings=[recording]) as server:
        assert (await ask(server, **asking(shape))).body == body
        whole = await ask(server, **asking(shape, stream=False))
        assert json.dumps(recording.text) in json.dumps(whole.json())
        for other in set(SHAPES) - {shape}:
            refused = await ask(server, **asking(other))
            assert refused.status == 400
            assert f"has none of {other}" in refused.json()["error"]["message"]
        assert server.stats.requests == 2


@pytest.mark.anyio
@pytest.mark.parametrize("shape", SHAPES)
async def test_recorded_bytes_meet_faults_in_their_shape(shape):
    body = await said_in(shape)
    async with MockServer(FAST, recordings=[parse_recording(body, Path("answer.sse"))]) as server:
        cut = await ask(server, **asking(shape, mock={"fault": "no-done"}))
        failed = await ask(server, **asking(shape, mock={"fault": "error-frame:4"}))
    assert cut.body == body[: len(cut.body)] and body[len(cut.body) :].count(b"data: ") == 1
    assert b"told to fail" in failed.frames[-1]
    if shape == "openai.responses":
        assert failed.events[-1]["response"]["id"] == failed.events[0]["response"]["id"]
        assert failed.events[-1]["sequence_number"] == len(failed.events) - 1


@pytest.mark.anyio
async def test_recordings_of_several_shapes_take_turns_by_shape():
    recordings = [await recorded(shape) for shape in SHAPES]
    async with MockServer(FAST, recordings=recordings) as server:
        texts = [(await ask(server, **asking(shape))).text for shape in SHAPES]
    assert texts == [answer_text(0, "hi", 5)] * 3


@pytest.mark.parametrize(
    ("first", "shape"),
    [
        (b'event: ping\ndata: {"type": "ping"}\n\n', "anthropic.messages"),
        (b': hello\n\nevent: response.created\ndata: {"type": "response.created"}\n\n', "openai.responses"),
        (b"data: [DONE]\n\n", "openai.chat"),
        (b"", "openai.chat"),
    ],
)
def test_the_first_data_says_the_shape(first, shape):
    assert parse_recording(first, Path("answer.sse")).shape.name == shape
