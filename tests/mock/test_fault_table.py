"""Every fault in every shape, as the bytes that a client gets."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from headrace.mock import MockServer, Settings, answer_text, parse_faults
from headrace.mock.faults import KINDS
from tests.mock.client import Client, Reply, ask, asking, comes_true, raw_request

pytestmark = pytest.mark.anyio

SHAPES = ["openai.chat", "openai.responses", "anthropic.messages"]
TERMINALS = {
    "openai.chat": b"[DONE]",
    "openai.responses": b'"type":"response.completed"',
    "anthropic.messages": b'"type":"message_stop"',
}
SETTINGS = Settings(tokens=12)
FULL = answer_text(0, "hi", 12)
Holds = Callable[[Reply, bytes], bool]


def said(words: int) -> str:
    return answer_text(0, "hi", words)


def ends(reply: Reply, terminal: bytes) -> bool:
    """Whether the terminal marker was the last frame of a body that ended well."""
    return reply.whole and terminal in reply.frames[-1]


def is_cut(reply: Reply, words: int) -> bool:
    return not reply.whole and reply.closed and reply.text == said(words)


def garbled(reply: Reply) -> list[bytes]:
    """The frames that are no JSON."""
    return [frame for frame in reply.frames if frame == b"{this is not JSON"]


def has_only_crlf(reply: Reply) -> bool:
    return reply.body.count(b"\r\n") == reply.body.count(b"\n") == reply.body.count(b"\r")


def longest(reply: Reply) -> int:
    return max(map(len, reply.body.split(b"\n")))


def torn(reply: Reply) -> bool:
    """Whether the last byte is the first of a character of several."""
    return reply.body[-1] >= 0xC0


def untold(reply: Reply, terminal: bytes) -> bool:
    return reply.whole and terminal not in reply.body and reply.text == said(2)


# The fault, what it leaves, and when what is still open has shown enough.
TABLE: dict[str, tuple[Holds, Callable[[Reply], bool] | None]] = {
    "refuse": (lambda reply, _: reply.reset and reply.wire == b"", None),
    "status:529": (lambda reply, _: reply.status == 529 and "told to fail" in reply.json()["error"]["message"], None),
    "wrong-content-type:text/plain": (
        lambda reply, terminal: reply.headers["content-type"] == "text/plain" and ends(reply, terminal),
        None,
    ),
    "hang-before-headers": (lambda reply, _: False, None),
    "hang-before-first-token": (
        lambda reply, _: reply.status == 200 and reply.body == b"",
        lambda reply: reply.wire.endswith(b"\r\n\r\n"),
    ),
    "duplicate-frames": (
        lambda reply, _: reply.whole and reply.frames[0::2] == reply.frames[1::2] and len(reply.frames) > 24,
        None,
    ),
    "garbage:2": (lambda reply, terminal: ends(reply, terminal) and len(garbled(reply)) == 1, None),
    "long-line:2MB,after=2": (
        lambda reply, terminal: ends(reply, terminal) and longest(reply) == 2_000_000 and reply.text == FULL,
        None,
    ),
    "hang-between-tokens:2": (lambda reply, _: not reply.closed, lambda reply: reply.text == said(2)),
    "error-frame:2": (
        lambda reply, terminal: untold(reply, terminal) and b"told to fail" in reply.frames[-1],
        None,
    ),
    "no-terminal:2": (untold, None),
    "no-done": (lambda reply, terminal: reply.whole and reply.text == FULL and terminal not in reply.body, None),
    "keep-open": (
        lambda reply, terminal: not reply.whole and not reply.closed and reply.text == FULL,
        lambda reply: any(terminal in reply.body for terminal in TERMINALS.values()),
    ),
    "cut-frames:2": (lambda reply, _: is_cut(reply, 2) and reply.body.endswith(b"\n\n"), None),
    "cut-in-frame:2": (lambda reply, _: is_cut(reply, 2) and not reply.body.endswith(b"\n"), None),
    "cut-in-character:4": (lambda reply, _: not reply.whole and torn(reply) and reply.text == said(9), None),
    "comments": (
        lambda reply, terminal: ends(reply, terminal) and reply.body.count(b": a comment\n") == len(reply.frames),
        None,
    ),
    "crlf": (lambda reply, _: reply.whole and reply.body.endswith(b"\r\n\r\n") and has_only_crlf(reply), None),
    "cr": (lambda reply, _: reply.whole and b"\n" not in reply.body and reply.body.endswith(b"\r\r"), None),
    "bom": (lambda reply, terminal: ends(reply, terminal) and reply.body.startswith(b"\xef\xbb\xbf"), None),
    "gzip": (lambda reply, terminal: terminal in gzip.decompress(reply.body), None),
    "cut-bytes:99": (lambda reply, _: len(reply.body) == 99 and reply.closed and not reply.whole, None),
    "slow-drip:50,0s": (lambda reply, terminal: ends(reply, terminal) and b"\r\n32\r\n" in reply.wire, None),
    "none": (lambda reply, terminal: ends(reply, terminal) and reply.text == FULL, None),
}


def test_the_table_has_every_fault():
    assert [fault.partition(":")[0] for fault in TABLE] == list(KINDS)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", [fault for fault in TABLE if fault != "hang-before-headers"])
async def test_every_fault_is_met_in_every_shape(fault, shape):
    holds, until = TABLE[fault]
    async with MockServer(SETTINGS) as server:
        reply = await ask(server, **asking(shape, mock={"fault": fault}), until=until)
        assert holds(reply, TERMINALS[shape]), reply.wire[-2000:]
        await comes_true(lambda: server.stats.streams_now == 0)
        names = {fault.partition(":")[0]} - {"none"}
        assert set(server.stats.faults) == names


@pytest.mark.parametrize("shape", SHAPES)
async def test_a_hang_before_the_headers_is_met_in_every_shape(shape):
    async with MockServer(SETTINGS, parse_faults("hang-before-headers")) as server, Client(server) as client:
        client.send(raw_request(**asking(shape)))
        await comes_true(lambda: server.stats.faults.total() == 1)
        assert await client.waiting() == b""


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("fault", ["crlf", "cr", "comments", "bom", "gzip", "slow-drip:50,0s"])
async def test_what_is_only_another_form_says_the_same(fault, shape):
    async with MockServer(SETTINGS) as server:
        reply = await ask(server, **asking(shape, mock={"fault": fault}))
        asked = await ask(server, **asking(shape))
    body = gzip.decompress(reply.body) if fault == "gzip" else reply.body
    body = body.removeprefix(b"\xef\xbb\xbf").replace(b": a comment\n", b"").replace(b"\r\n", b"\n")
    # The number of the request is in the id.
    assert body.replace(b"\r", b"\n").count(b"\n") == asked.body.count(b"\n")
    assert len(body) == len(asked.body)


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_same_words_come_in_every_shape_streamed_or_not(shape):
    async with MockServer(Settings(tokens=20, seed=3, chunk_words=3)) as server:
        reply = await ask(server, **asking(shape, "what"))
        whole = await ask(server, **asking(shape, "what", stream=False))
    text = answer_text(3, "what", 20)
    assert reply.text == text
    assert json.dumps(text) in json.dumps(whole.json())
    assert reply.headers["x-mock-sha256"] == whole.headers["x-mock-sha256"]
    assert reply.headers["x-mock-sha256"][:16].encode() in reply.frames[0]


@pytest.mark.parametrize("shape", SHAPES)
async def test_stamps_come_in_every_shape(shape):
    async with MockServer(Settings(tokens=5, stamp=True)) as server:
        reply = await ask(server, **asking(shape))
        assert server.stats.tokens == 5
    *tokens, digest = reply.text.split(" ")
    assert [token.partition(":")[0] for token in tokens] == list("01234")
    assert digest.startswith("sha256:")
    if shape == "openai.responses":
        assert reply.events[-1]["response"]["output"][0]["content"][0]["text"] == reply.text


LOOK = {"name": "look", "arguments": "{}"}
CALLS = [{"id": "c1", "type": "function", "function": LOOK}, {"id": "c2", "type": "function", "function": LOOK}]
CONVERSATION: dict[str, dict[str, Any]] = {
    "openai.chat": {
        "messages": [
            {"role": "system", "content": "sys"},
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {"role": "assistant", "content": None, "tool_calls": CALLS},
            {"role": "tool", "tool_call_id": "c1", "content": "one"},
            {"role": "tool", "tool_call_id": "c2", "content": "two"},
            {"role": "assistant", "content": "well"},
            {"role": "user", "content": "go on"},
        ]
    },
    "openai.responses": {
        "instructions": "sys",
        "input": [
            {"role": "user", "content": [{"type": "input_text", "text": "a"}, {"type": "input_text", "text": "b"}]},
            {"type": "reasoning", "id": "rs_1", "summary": []},
            {"type": "function_call", "call_id": "c1", **LOOK},
            {"type": "function_call", "call_id": "c2", **LOOK},
            {"type": "function_call_output", "call_id": "c1", "output": "one"},
            {"type": "function_call_output", "call_id": "c2", "output": [{"type": "input_text", "text": "two"}]},
            {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "well"}]},
            {"role": "user", "content": "go on"},
        ],
    },
    "anthropic.messages": {
        "system": [{"type": "text", "text": "sys"}],
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "tool_use", "id": "c1", "name": "look", "input": {}},
                    {"type": "tool_use", "id": "c2", "name": "look", "input": {}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "c1", "content": "one"},
                    {"type": "tool_result", "tool_use_id": "c2", "content": [{"type": "text", "text": "two"}]},
                ],
            },
            {"role": "assistant", "content": "well"},
            {"role": "user", "content": "go on"},
        ],
    },
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_the_same_conversation_is_the_same_prompt(shape):
    async with MockServer(Settings(tokens=9)) as server:
        reply = await ask(server, **asking(shape, **CONVERSATION[shape]))
    assert reply.text == answer_text(0, "sys\nab\n\none\ntwo\nwell\ngo on", 9)
