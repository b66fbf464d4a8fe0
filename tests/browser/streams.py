"""Streams for a browser to look at: recordings that say what a test wants, played as a model's answers."""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.e2e.processes import PATIENCE_S, Server, serving

Events = list[dict[str, Any]]


def recording(path: Path, *batches: Events, gap_ms: int = 0) -> Path:
    """A recording of these events, a record for each batch."""
    start = {"type": "stream.start", "id": "0" * 32, "owner": "x", "created": 1, "model": "m", "dialect": "openai.chat"}
    step = {"type": "step.start", "provider": "openai", "model": "m", "dialect": "openai.chat", "upstream_id": "u"}
    usage = {"type": "usage", "input": 3, "output": len(batches)}
    ending: list[Events] = [
        [{"type": "choice.end", "choice": 0, "reason": "stop"}],
        [{"type": "step.end", "finish": "stop", "usage": usage}, usage],
        [{"type": "finished", "reason": "stop"}],
    ]
    with path.open("w", encoding="utf-8") as file:
        for seq, events in enumerate([[start], [step], *batches, *ending]):
            file.write(json.dumps({"seq": seq, "at_ms": 1000 + seq * gap_ms, "events": events}) + "\n")
    return path


def text_of(text: str, size: int = 7) -> list[Events]:
    """An item of text in pieces."""
    pieces = [text[at : at + size] for at in range(0, len(text), size)]
    return [[{"type": "item.start", "item": 0, "kind": "text"}], *([delta(piece)] for piece in pieces), ended(0)]


def delta(text: str, item: int = 0) -> dict[str, Any]:
    return {"type": "text.delta", "item": item, "text": text}


def ended(item: int) -> Events:
    return [{"type": "item.end", "item": item}]


@contextlib.contextmanager
def serve_models(directory: Path, models: dict[str, Any], **extra: str) -> Iterator[Server]:
    """Headrace with these models, each with its `params`."""
    file = directory / "headrace.yaml"
    entries = [{"model_name": name, "params": params} for name, params in models.items()]
    file.write_text(json.dumps({"model_list": entries}))
    with serving(directory, "--config", str(file), **extra) as server:
        yield server


def playing(directory: Path, **recordings: Path) -> contextlib.AbstractContextManager[Server]:
    """Headrace with a model for each recording, played as fast as it goes."""
    models = {name: {"model": f"replay/{path}", "speed": "instant"} for name, path in recordings.items()}
    return serve_models(directory, models)


def start(server: Server, model: str, content: str = "Hi", **fields: Any) -> str:
    """Start a stream; returns its id."""
    body = {"model": model, "messages": [{"role": "user", "content": content}], **fields}
    return str(call(server, "/v1/streams", body)["id"])


def call(server: Server, path: str, body: Any = None) -> Any:
    """GET, or POST where there is a body."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(server.url + path, data, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)
