"""`backpressure: pause` over real sockets: a reader that stops reading stops the model server, and loses nothing."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import HEADRACE, PATIENCE_S, Server, eventually, running, serving

TOKENS = 120_000


@pytest.fixture
def pausing(tmp_path: Path) -> Iterator[Server]:
    """Headrace in front of a model server that writes as fast as it is read."""
    with running([HEADRACE, "mock", "--tokens", str(TOKENS)], stderr=None) as process:
        extra = {
            "OPENAI_BASE_URL": process.stdout.readline().decode().split()[-1] + "/v1",
            "OPENAI_API_KEY": "none",
            "HEADRACE_BACKPRESSURE": "pause",
            "HEADRACE_WRITE_TIMEOUT": str(PATIENCE_S * 2),
            "HEADRACE_PAUSE_TIMEOUT": str(PATIENCE_S * 2),
        }
        with serving(tmp_path, **extra) as server:
            yield server
        process.terminate()


def opened(url: str, body: Any = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url, data, {"Content-Type": "application/json", "Accept": "text/event-stream"})
    return urllib.request.urlopen(request, timeout=PATIENCE_S)


@pytest.mark.promise("P23")
def test_a_reader_that_stops_reading_holds_the_model_server_back_and_loses_nothing(pausing: Server) -> None:
    url = f"{pausing.api}/chat/completions"
    body = {"model": "m", "messages": [{"role": "user", "content": "Go."}], "stream": True}
    with opened(url, body) as stalled:
        first = stalled.read(1)
        state_url = f"{pausing.api}/streams/{stalled.headers['headrace-stream-id']}"
        looks: list[int] = [0]

        def still() -> bool:
            with urllib.request.urlopen(state_url, timeout=PATIENCE_S) as response:
                state = json.load(response)
            assert state["state"] == "running", "nothing held it back"
            looks.append(state["position"])
            return looks[-1] == looks[-2] > 0

        eventually(still)
        assert looks[-1] < TOKENS
        whole = first + stalled.read()
    assert whole.endswith(b"data: [DONE]\n\n")
    assert whole.count(b"\ndata: ") >= TOKENS
    with opened(f"{pausing.api}/chat/completions/chatcmpl-{state_url.rpartition('/')[2]}?skip=0") as again:
        ids = [line for line in again.read().split(b"\n") if line.startswith(b"data: ")]
    assert ids == [line for line in whole.split(b"\n") if line.startswith(b"data: ")]
