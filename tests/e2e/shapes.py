"""One question in each of three shapes, and what its client sees, boiled down to what can be compared."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, NamedTuple

from tests.e2e.raw import Exchange

_ADVICE = ("retry-after", "x-should-retry")


class Seen(NamedTuple):
    """What one client got."""

    status: int
    ending: str
    """The last that the body said: `[DONE]`, `answer`, `error CODE`, or `TYPE WORD` of the native terminal record."""
    clean: bool = True
    """Whether the body ended as HTTP says that a whole one does; else it was aborted."""
    type: str = ""
    """Of an error in OpenAI's shape."""
    retryable: bool | None = None
    """What a failure says of itself."""
    advice: str = ""
    """The headers that a client's retry logic reads."""
    text: str | None = None
    """The answer as far as it came; None where the body had no place for any."""
    arguments: str | None = None
    frames: int | None = None
    """Of a stream in OpenAI's shape, without the last."""


def streamed(api: str, question: dict[str, Any]) -> tuple[str, Seen]:
    """A POST in OpenAI's shape that streams. Gives the stream's id and what the client saw."""
    with Exchange(f"{api}/chat/completions", "POST", {**question, "stream": True}) as exchange:
        stream_id = exchange.headers["headrace-stream-id"]
        if exchange.status != 200:
            return stream_id, _refused(exchange)
        *said, last = exchange.frames()
        deltas = [choice["delta"] for chunk in map(json.loads, said) for choice in chunk["choices"]]
        calls = [call["function"] for delta in deltas for call in delta.get("tool_calls", ())]
        seen = Seen(200, "[DONE]") if last == b"[DONE]" else _error(200, json.loads(last))
        return stream_id, seen._replace(
            clean=exchange.clean,
            text=_joined(deltas, "content"),
            arguments=_joined(calls, "arguments"),
            frames=len(said),
        )


def whole(api: str, question: dict[str, Any]) -> tuple[str, Seen]:
    """A POST in OpenAI's shape that waits for the whole answer."""
    with Exchange(f"{api}/chat/completions", "POST", question) as exchange:
        stream_id = exchange.headers["headrace-stream-id"]
        if exchange.status != 200:
            return stream_id, _refused(exchange)
        message = exchange.json()["choices"][0]["message"]
        calls = [call["function"] for call in message.get("tool_calls") or ()]
        return stream_id, Seen(200, "answer", text=message["content"] or "", arguments=_joined(calls, "arguments"))


def native(api: str, question: dict[str, Any]) -> tuple[str, Seen]:
    """A stream that is made first and then read, in Headrace's own shape."""
    with Exchange(f"{api}/streams", "POST", question) as made:
        assert made.status == 201
        stream_id = made.json()["id"]
    with Exchange(f"{api}/streams/{stream_id}/events") as exchange:
        records = map(json.loads, exchange.frames())
        *events, last = [event for record in records for event in record["events"]]
        word = last.get("code") or last.get("reason") or last.get("by")
        return stream_id, Seen(
            exchange.status,
            f"{last['type']} {word}",
            clean=exchange.clean,
            retryable=last.get("retryable", False) if last["type"] == "failed" else None,
            text=_joined(events, "text"),
            arguments=_joined(events, "json"),
        )


SHAPES = {"streamed": streamed, "whole": whole, "native": native}


def _refused(exchange: Exchange) -> Seen:
    headers = exchange.headers
    advice = " ".join(f"{name}: {headers[name]}" for name in _ADVICE if name in headers)
    return _error(exchange.status, exchange.json())._replace(advice=advice)


def _error(status: int, body: dict[str, Any]) -> Seen:
    error = body["error"]
    return Seen(
        status,
        f"error {error['code']}",
        type=error["type"],
        retryable=error["retryable"],
        text=error.get("partial"),
    )


def _joined(fields: Iterable[dict[str, Any]], name: str) -> str:
    return "".join(each.get(name) or "" for each in fields)
