"""Readers that do not read: what they cost the others and the server, how they are cut, and what they have then."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from headrace.mock import answer_text
from tests.e2e.processes import HEADRACE, PATIENCE_S, Server, eventually, running, serving
from tests.e2e.raw import Frame, events, get

pytestmark = pytest.mark.promise("P23")

TOKENS, CHUNK_WORDS = 3_000_000, 500
FRAMES = TOKENS // CHUNK_WORDS
"""About 18 MB in frames of 3 kB: more than the kernels of both sides hold, and a read of the log is several MB."""
READERS = 50
BOUND = 64 * 2**20
"""What they may cost all together, 1.3 MB each. Measured: 0.3 MB each, for the write that waits, the one that the
server holds, and the connection; and 6 MB each when a write is a whole read of the log. The allocator may be noisy."""
PROMPT = "Go on."
QUESTION: dict[str, Any] = {"model": "mock", "messages": [{"role": "user", "content": PROMPT}]}
SSE = {"Accept": "text/event-stream"}


class Reader:
    """A client that reads the head, and the body when it is told to."""

    def __init__(self, url: str, body: Any = None, **headers: str) -> None:
        parts = urlsplit(url)
        self._connection = HTTPConnection(parts.netloc, timeout=PATIENCE_S)
        fields = {name.replace("_", "-"): value for name, value in headers.items()}
        content = None if body is None else json.dumps(body)
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        self._connection.request(
            "GET" if body is None else "POST", target, content, {"Content-Type": "application/json", **fields}
        )
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        self.stream_id = self._response.headers["headrace-stream-id"]
        self.was_reset = False
        """Whether the body ended so; any other end but a clean one raises."""

    def __enter__(self) -> Reader:
        return self

    def __exit__(self, *exception: Any) -> None:
        self._connection.close()

    def rest(self) -> bytes:
        """All that arrives."""
        pieces: list[bytes] = []
        try:
            while piece := self._response.read1():
                pieces.append(piece)
        except ConnectionResetError:
            self.was_reset = True
        return b"".join(pieces)


@pytest.fixture(scope="module")
def mock() -> Iterator[str]:
    arguments = ["--tokens", str(TOKENS), "--chunk-words", str(CHUNK_WORDS)]
    with running([HEADRACE, "mock", *arguments], stderr=None) as process:
        yield process.stdout.readline().decode().split()[-1]
        process.terminate()
        assert process.wait(PATIENCE_S) == 0


@contextlib.contextmanager
def headrace(directory: Path, mock: str, write_timeout: str) -> Iterator[Server]:
    extra = {"OPENAI_BASE_URL": f"{mock}/v1", "OPENAI_API_KEY": "none", "HEADRACE_WRITE_TIMEOUT": write_timeout}
    with serving(directory, HEADRACE_DRAIN_TIMEOUT="0", **extra) as server:
        yield server


@pytest.fixture(scope="module")
def impatient(mock: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace that cuts a reader after a second."""
    with headrace(tmp_path_factory.mktemp("impatient"), mock, "1") as server:
        yield server


@pytest.fixture
def patient(mock: str, tmp_path: Path) -> Iterator[Server]:
    """Headrace that cuts nobody."""
    with headrace(tmp_path, mock, "1h") as server:
        yield server


@pytest.fixture(scope="module")
def stream_id(impatient: Server) -> str:
    """A stream of the impatient server that has ended, and was read once."""
    with Reader(f"{impatient.api}/chat/completions", QUESTION | {"stream": True}) as reader:
        reader.rest()
        eventually(lambda: listed(impatient, reader.stream_id)["state"] == "finished")
        return reader.stream_id


def said(frames: Iterable[Frame]) -> str:
    """The text of a chat stream that has ended."""
    *chunks, done = (frame.data for frame in frames)
    assert done == b"[DONE]"
    choices = (choice for chunk in chunks for choice in json.loads(chunk)["choices"])
    return "".join(choice["delta"].get("content") or "" for choice in choices)


def cuts(server: Server, stream_id: str) -> int:
    """How many readers of a stream the server says to have cut."""
    return server.output.count(f"stream {stream_id}: a reader does not read and is cut off")


def listed(server: Server, stream_id: str) -> Any:
    """What the list says of a stream: without its text."""
    (row,) = (row for row in get(f"{server.api}/streams")["data"] if row["id"] == stream_id)
    return row


def test_many_cost_little_memory_and_no_socket_when_they_are_cut(impatient: Server, stream_id: str):
    files, memory = impatient.open_files, impatient.memory
    url = f"{impatient.api}/streams/{stream_id}/events"
    with contextlib.ExitStack() as stack:
        for _ in range(READERS):
            stack.enter_context(Reader(url, **SSE))
        eventually(lambda: listed(impatient, stream_id)["readers"] == 0)
        eventually(lambda: impatient.open_files <= files)
    assert impatient.memory - memory < BOUND


def test_it_slows_neither_the_model_nor_another_reader_and_gets_everything_later(patient: Server):
    with Reader(f"{patient.api}/chat/completions", QUESTION | {"stream": True}, Headrace_Ids="1") as slow:
        with Reader(f"{patient.api}/streams/{slow.stream_id}/events?format=openai.chat", **SSE) as other:
            whole = list(events(other.rest()))
        assert said(whole) == answer_text(0, PROMPT, TOKENS)
        eventually(lambda: listed(patient, slow.stream_id)["readers"] == 1)
        assert listed(patient, slow.stream_id)["state"] == "finished"
        assert list(events(slow.rest())) == whole


@pytest.mark.promise("P11")
def test_it_does_not_disturb_the_end_of_the_server(patient: Server):
    with Reader(f"{patient.api}/chat/completions", QUESTION | {"stream": True}) as stuck:
        eventually(lambda: listed(patient, stuck.stream_id)["state"] == "finished")
        patient.check()
        stuck.rest()
        assert stuck.was_reset


@pytest.mark.promise("P4")
def test_it_is_reset_at_the_deadline_and_goes_on_exactly_where_it_was(impatient: Server):
    files = impatient.open_files
    with Reader(f"{impatient.api}/chat/completions", QUESTION | {"stream": True}, Headrace_Ids="1") as stuck:
        eventually(lambda: cuts(impatient, stuck.stream_id))
        received = list(events(stuck.rest()))
        assert stuck.was_reset
    assert 0 < len(received) < FRAMES
    while received[-1].data != b"[DONE]":  # more than once if the machine is slow enough to be taken for stuck
        url = f"{impatient.api}/chat/completions/{stuck.stream_id}"
        with Reader(url, **SSE, Last_Event_ID=received[-1].id) as again:
            received += events(again.rest())
    assert [frame.id for frame in received] == [f"c1.{number + 1}" for number in range(len(received))]
    assert said(received) == answer_text(0, PROMPT, TOKENS)
    eventually(lambda: impatient.open_files <= files)


@pytest.mark.parametrize("route", ["/v1/streams/{}", "/v1/chat/completions/{}", "/v1/chat/completions"])
def test_one_large_body_has_the_deadline_too(impatient: Server, stream_id: str, route: str):
    before = cuts(impatient, stream_id)
    with Reader(impatient.url + route.format(stream_id), None if "{}" in route else QUESTION) as stuck:
        if stuck.stream_id in (None, stream_id):
            eventually(lambda: cuts(impatient, stream_id) > before)
        else:
            eventually(lambda: cuts(impatient, stuck.stream_id))
        stuck.rest()
        assert stuck.was_reset
