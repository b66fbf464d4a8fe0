"""The work grows as the input does: inputs that would hurt if anything were searched or joined again and again.

Two measures. Twice the input may be a little more than twice the byte code: exact, but blind for what one operation
costs. And a very long input must end at all: where the cost is in C, as in a regular expression, the square of a
million is hours.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from tests.fuzz.seeds import ERRORS
from tests.fuzz.targets import TARGETS
from tests.fuzz.work import work

SMALL = 150
Grow = Callable[[int], bytes]


def sse(*frames: Any) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(frame).encode() for frame in frames) + b"data: [DONE]\n\n"


def chunk(*choices: Any, **fields: Any) -> Any:
    return {"choices": list(choices), **fields}


def choice(index: int = 0, **delta: Any) -> Any:
    return {"index": index, "delta": delta}


def call(number: int, **fields: Any) -> Any:
    return {"index": 0, "id": f"call_{number}", "function": {"name": "f", "arguments": "{}"}, **fields}


def record(seq: int, *events: Any, **fields: Any) -> bytes:
    return json.dumps({"seq": seq, "at_ms": 1000, "events": list(events), **fields}).encode() + b"\n"


def begins(item: int, kind: str = "text", choice: int = 0) -> Any:
    return {"type": "item.start", "item": item, "kind": kind, "choice": choice}


def says(item: int, text: str = "a") -> Any:
    return {"type": "text.delta", "item": item, "text": text}


def question(**fields: Any) -> bytes:
    return json.dumps({"model": "demo", "messages": [{"role": "user", "content": "Hi"}], **fields}).encode()


GROWING: dict[str, tuple[str, Grow]] = {
    "tokens": ("chat_stream", lambda n: b"\0\0" + sse(*[chunk(choice(content="a"))] * n)),
    "texts of one choice in a frame": ("chat_stream", lambda n: b"\0\0" + sse(chunk(*[choice(content="a")] * n))),
    "choices, a frame each": (
        "chat_stream",
        lambda n: b"\0\0" + sse(*[chunk(choice(i, content="a")) for i in range(n)]),
    ),
    "choices in a frame": ("chat_stream", lambda n: b"\0\0" + sse(chunk(*[choice(i, content="a") for i in range(n)]))),
    "raw frames with choices": (
        "chat_stream",
        lambda n: b"\0\0" + sse(*[chunk(choice(i, content="a", x=1)) for i in range(n)]),
    ),
    "calls in a frame": (
        "chat_stream",
        lambda n: b"\0\0" + sse(chunk(choice(tool_calls=[call(i) for i in range(n)]))),
    ),
    "calls, a frame each": (
        "chat_stream",
        lambda n: b"\0\0" + sse(*[chunk(choice(tool_calls=[call(i)])) for i in range(n)]),
    ),
    "fragments by id": (
        "chat_stream",
        lambda n: (
            b"\0\0"
            + sse(
                *[chunk(choice(tool_calls=[call(i)])) for i in range(n)],
                *[chunk(choice(tool_calls=[call(i, index=i, function={"arguments": "1"})])) for i in range(n)],
            )
        ),
    ),
    "fragments of one call in a frame": (
        "chat_stream",
        lambda n: (
            b"\0\0"
            + sse(
                chunk(choice(tool_calls=[call(0)])),
                chunk(choice(tool_calls=[{"index": 0, "function": {"arguments": "1"}}] * n)),
            )
        ),
    ),
    "a changing constant beside many calls": (
        "chat_stream",
        lambda n: (
            b"\0\0"
            + sse(
                chunk(choice(tool_calls=[call(i, index=i) for i in range(n)])),
                *[chunk(choice(content="a"), system_fingerprint=f"fp_{i % 2}") for i in range(n)],
            )
        ),
    ),
    "usage in every frame": (
        "chat_stream",
        lambda n: b"\0\0" + sse(*[chunk(choice(content="a"), usage={"prompt_tokens": 1, "x": i}) for i in range(n)]),
    ),
    "lines of one event": ("sse", lambda n: b"\3\0" + b"data: a\n" * n + b"\n"),
    "fields of one event": ("sse", lambda n: b"\3\0" + b"id: a\nevent: b\n:c\nretry: 1\n" * n + b"\n"),
    "lines": ("lines", lambda n: b"\3\0" + b"{}\r\n\n" * n),
    "calls of an answer": (
        "chat_answer",
        lambda n: b"\0" + json.dumps(chunk({"message": {"tool_calls": [call(i) for i in range(n)]}})).encode(),
    ),
    "choices of an answer": (
        "chat_answer",
        lambda n: b"\0" + json.dumps(chunk(*[{"index": i, "message": {"content": "a"}} for i in range(n)])).encode(),
    ),
    "words of a refusal": ("refusal", lambda n: b"500\ncontent-type: text/plain\n\n" + b"Bearer  sk-a1b2c3d4 " * n),
    "refusals in a list": ("refusal", lambda n: b"500\n\n[" + b",".join([ERRORS[0]] * n) + b"]"),
    "recorded items": (
        "recording",
        lambda n: (
            b"\0\0"
            + record(0, {"type": "step.start", "provider": "p", "model": "m", "dialect": "openai.chat"})
            + b"".join(
                record(i + 1, begins(i, "tool_call", i), {"type": "args.delta", "item": i, "json": "1"})
                for i in range(n)
            )
        ),
    ),
    "recorded pieces of many items": (
        "mock_recording",
        lambda n: (
            b"\0"
            + record(0, *[begins(i, "tool_call") for i in range(n)])
            + b"".join(record(i + 1, {"type": "args.delta", "item": i, "json": "1"}) for i in range(n))
        ),
    ),
    "tailed records": (
        "tailed",
        lambda n: (
            b"\2\0"
            + b"".join(
                b"data: %b\n" % each
                for each in [
                    record(
                        0,
                        {
                            "type": "stream.start",
                            "id": "a",
                            "owner": "o",
                            "created": 1,
                            "model": "m",
                            "dialect": "native",
                        },
                    ),
                    *[record(i + 1, begins(i), says(i)) for i in range(n)],
                ]
            )
        ),
    ),
    "messages": ("chat_request", lambda n: question(messages=[{"role": "user", "content": "a"}] * n)),
    "parts": (
        "chat_request",
        lambda n: question(messages=[{"role": "user", "content": [{"type": "text", "text": "a"}] * n}]),
    ),
    "tools": (
        "native_request",
        lambda n: question(tools=[{"name": f"f{i}"} for i in range(n)], settings={"tool_choice": "required"}),
    ),
    "accepted types": ("headers", lambda n: b"/v1/streams?limit=1\naccept: " + b"text/html;q=0.9," * n + b"\n\n"),
    "fields of a query": ("headers", lambda n: b"/v1/streams?" + b"a=1&" * n + b"\nhost: localhost\n\n"),
    "variables": ("quantities", lambda n: b"${OPENAI_API_KEY}" * n),
    "faults": ("faults", lambda n: b"cut-frames:1,how=reset;" * n),
    "keys of a file": ("config_file", lambda n: b"".join(b"key%d: 1\n" % i for i in range(n))),
    "models of a file": (
        "config_file",
        lambda n: (
            b"model_list:\n" + b"".join(b"- {model_name: m%d, params: {model: openai/x}}\n" % i for i in range(n))
        ),
    ),
    "rules": ("scenario", lambda n: b"- {match: {prompt: a}, fault: crlf}\n" * n),
}
ONCE = 2_000
"""Operations that do not depend on the size: room for them, so that short inputs can be compared."""


@pytest.mark.parametrize("name", GROWING)
def test_twice_the_input_is_twice_the_work(name: str):
    target, grow = GROWING[name]
    TARGETS[target](grow(3))  # what is made once is made
    small, large = (work(lambda size=size: TARGETS[target](grow(size))) for size in (SMALL, 2 * SMALL))
    assert large <= 2.2 * small + ONCE


MILLION = 1_000_000
LONG: dict[str, tuple[str, bytes]] = {
    "white space in a policy": ("headers", b"/\nheadrace-on-disconnect: grace=1" + b" " * MILLION + b"!\n\n"),
    "an open policy": ("headers", b"/\nheadrace-on-disconnect: " + b"grace(" * (MILLION // 6) + b"\n\n"),
    "digits": ("headers", b"/?skip=" + b"9" * MILLION + b"\nretry-after: " + b"9" * MILLION + b"\n\n"),
    "parameters of a type": ("headers", b"/\naccept: " + b"; q=0" * (MILLION // 5) + b"\n\n"),
    "a host": ("headers", b"/\nhost: " + b"[::1" * (MILLION // 4) + b"\norigin: " + b"http://" * 9999 + b"\n\n"),
    "a key": ("headers", b"/\nauthorization: Bearer" + b" " * MILLION + b"x\n\n"),
    "a cursor": ("cursors", b"c1" + b"u" * MILLION + b".5"),
    "white space in a duration": ("quantities", b"1" + b" " * MILLION + b"!"),
    "variables that never end": ("quantities", b"${" * 5_000),
    "white space in a plain refusal": ("refusal", b"500\n\n" + b"Bearer " * 9 + b" " * 60_000 + b","),
    "keys in a refusal": ("refusal", b'500\n\n{"error":{"message":"' + b"sk-" * 20_000 + b'"}}'),
    "a date": ("refusal", b"429\nretry-after: " + b"1 Jan " * 1_300 + b"\n\n"),
    "digits of a wait": ("refusal", b"429\nretry-after: " + b"9" * 8_000 + b"\n\n"),
    "a fault": ("faults", b"x" * MILLION),
    "arguments of a fault": ("faults", b"crlf:" + b"first=1," * (MILLION // 8)),
    "one text": ("chat_stream", b"\0\0" + sse(chunk(choice(content="a" * MILLION)))),
    "brackets": ("chat_stream", b"\0\0data: " + b"[" * MILLION + b"\n\n"),
    "an id": ("sse", b"\3\0id: " + b"a" * 200_000 + b"\n\n"),
    "texts of one choice": ("chat_stream", b"\0\0" + sse(chunk(*[choice(content="a" * 60)] * 9_000))),
    "brackets in a body": ("chat_request", b'{"model":"m","messages":' + b"[" * MILLION),
    "escapes in a body": ("chat_request", question(messages=[{"role": "user", "content": '"\\' * (MILLION // 4)}])),
    "a name": ("native_request", question(**{"a`" * (MILLION // 2): 1})),
    "a template": ("local_answer", msgspec.json.encode({"choices": [{"delta": {"content": "{" + " " * MILLION}}]})),
}


@pytest.mark.parametrize("name", LONG)
def test_a_very_long_input_ends(name: str):
    target, data = LONG[name]
    TARGETS[target](data)
