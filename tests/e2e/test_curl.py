"""`curl`, and the commands of the README as they are printed there."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.asking import question
from tests.e2e.processes import ROOT, Server, command, running, serving
from tests.e2e.raw import Exchange, events
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, Abort, chat, chunk, delta, head

ABORTED = 18
"""curl's exit code for a body that was not complete."""
README = (ROOT / "README.md").read_text()
DEFAULT = "http://127.0.0.1:8000"


@pytest.fixture(scope="module")
def replaying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The embedded model's name, a recorded answer."""
    directory = tmp_path_factory.mktemp("replaying")
    recording = ROOT / "tests" / "fixtures" / "text.sse"
    config = directory / "headrace.yaml"
    config.write_text(f"model_list:\n  - {{model_name: smollm2-135m, params: {{model: 'replay/{recording}'}}}}\n")
    with serving(directory, "--config", str(config)) as server:
        yield server


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, re.DOTALL)


def made(server: Server) -> str:
    """A stream that has ended."""
    with Exchange(f"{server.api}/chat/completions", "POST", question(stream=True)) as posted:
        posted.rest()
        assert posted.clean
        return posted.headers["headrace-stream-id"]


def test_the_readmes_python_prints_the_id_and_the_answer(replaying: Server):
    (program,) = blocks("python")
    assert DEFAULT in program
    done = command(sys.executable, "-c", program.replace(DEFAULT, replaying.url))
    assert (done.returncode, done.stderr) == (0, "")
    stream_id, _, text = done.stdout.partition("\n")
    assert re.fullmatch("[0-9a-f]{32}", stream_id)
    assert "導水路 🌊" in text


def test_every_command_of_the_readme_reads_or_stops_a_stream(replaying: Server):
    stream_id = made(replaying)
    (block,) = [block for block in blocks("sh") if "ID=" in block]
    lines = [line for line in block.replace(DEFAULT, replaying.url).splitlines() if not line.startswith("ID=")]
    commands = [line for line in lines if line.strip()]
    assert len(commands) == 6
    said = []
    for line in commands:
        done = command("sh", "-c", line, ID=stream_id, HEADRACE_URL=replaying.url)
        assert done.returncode == 0, done.stderr
        said.append(done.stdout)
    tail, cancel, text, records, chunks, state = said
    assert tail == text != ""
    assert cancel == "finished\n"
    assert records.startswith("retry: 2000\nid: n1.13\ndata: {")
    assert chunks.startswith("retry: 2000\nid: c1.8\ndata: {")
    assert chunks.endswith("data: [DONE]\n\n")
    assert '"state":"finished"' in state


@pytest.mark.promise("P5")
def test_curl_says_that_a_failed_stream_is_not_complete(relaying: Server, upstream: Upstream):
    data = '{"model":"m","stream":true,"messages":[{"role":"user","content":"?"}]}'
    ask = ("curl", "-sN", f"{relaying.api}/chat/completions", "-H", "Content-Type: application/json", "-d", data)
    upstream.play(head(), chunk(chat("The", " river")), END)
    good = command(*ask)
    assert good.returncode == 0
    assert good.stdout.endswith("data: [DONE]\n\n")
    upstream.play(head(), chunk(delta(content="The")), Abort())
    bad = command(*ask)
    assert bad.returncode == ABORTED
    assert '"error":{' in bad.stdout
    assert "[DONE]" not in bad.stdout


@pytest.mark.promise("P5")
def test_curl_says_that_a_failed_text_is_not_complete(relaying: Server, upstream: Upstream):
    upstream.play(head(), chunk(delta(content="The river")), Abort())
    url = f"{relaying.url}/stream?prompt=Tell+me&model=m&format=text"
    bad = command("curl", "-sN", url)
    assert (bad.returncode, bad.stdout) == (ABORTED, "The river")


@pytest.mark.promise("P4", "P9", "P14")
def test_curl_resumes_a_prompt_by_the_last_id(relaying: Server, upstream: Upstream, tmp_path: Path):
    gate = upstream.gate()
    before = [delta(role="assistant", content=""), delta(content="The"), delta(content=" river")]
    after = [delta(content=" runs."), delta("stop"), DONE]
    upstream.play(head(), chunk(*before), gate.wait, chunk(*after), END)
    url = f"{relaying.url}/stream?prompt=Tell%20me&model=m"
    received = b""
    with running(["curl", "-sN", url]) as curl:
        while b" river" not in received:
            received += curl.stdout.readline()
        curl.kill()
    first = list(events(received + b"\n"))
    last = first[-1].id
    assert re.fullmatch(r"[0-9a-f]{32}:c1\.\d+", last)
    gate.open()
    rest = command("curl", "-sN", url, "-H", f"Last-Event-ID: {last}")
    assert rest.returncode == 0
    again = list(events(rest.stdout.encode()))
    stream_id = last.partition(":")[0]
    whole = command("curl", "-sN", f"{relaying.api}/streams/{stream_id}/events?format=openai.chat")
    assert [frame.data for frame in first + again] == [frame.data for frame in events(whole.stdout.encode())]
    assert len(upstream.requests) == 1

    # What a browser does after the clean end: it comes back with the last id, and 204 ends that.
    answer = tmp_path / "answer"
    done = command("curl", "-sN", "-o", str(answer), "-w", "%{http_code}", url, "-H", f"Last-Event-ID: {again[-1].id}")
    assert done.stdout == "204"
    assert len(upstream.requests) == 1
