"""A stop from another terminal, and reading along from there."""

from __future__ import annotations

import openai
import pytest

from tests.e2e.asking import question, read_again, text_of
from tests.e2e.processes import HEADRACE, Server, command, running
from tests.e2e.raw import Exchange, frames, get
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, Disconnect, chunk, delta, head

PARTIAL = "The river runs down"
LONG = 1000


def endless(upstream: Upstream) -> None:
    upstream.play(head(), chunk(delta(role="assistant", content=""), delta(content=PARTIAL)), Disconnect())


def stop_by_command(server: Server, stream_id: str) -> None:
    done = command(HEADRACE, "cancel", f"chatcmpl-{stream_id}", HEADRACE_URL=server.url)
    assert (done.returncode, done.stdout, done.stderr) == (0, "cancelled\n", "")


def stop_by_post(server: Server, stream_id: str) -> None:
    with Exchange(f"{server.api}/streams/{stream_id}/cancel", "POST") as cancel:
        assert cancel.status == 200
        assert cancel.json()["state"] == "cancelled"


@pytest.mark.parametrize("stop", [stop_by_command, stop_by_post])
@pytest.mark.promise("P3", "P5", "P7")
def test_a_stop_reaches_the_model_and_the_client(relaying: Server, upstream: Upstream, relayed: openai.OpenAI, stop):
    endless(upstream)
    with relayed.chat.completions.create(**question(), stream=True) as stream:
        stream_id = stream.response.headers["headrace-stream-id"]
        received = [next(stream), next(stream)]
        stop(relaying, stream_id)
        # The very moment after the answer: the transport was closed before it.
        assert upstream.has_left()
        with pytest.raises(openai.APIError) as caught:
            received.extend(stream)
    assert caught.value.code == "cancelled"
    assert text_of(received) == PARTIAL
    state = get(f"{relaying.api}/streams/{stream_id}")
    assert state["state"] == "cancelled"
    assert state["text"] == PARTIAL
    assert state["usage"]["source"] == "partial"
    assert state["usage"]["output"] > 0

    stop(relaying, stream_id)  # again: the same answer
    again = []
    with pytest.raises(openai.APIError, match="cancelled"):
        again.extend(read_again(relayed, stream_id))
    assert again == received


@pytest.mark.promise("P5", "P7", "P12")
def test_a_stop_ends_an_answer_that_is_waited_for_as_a_whole(relaying: Server, upstream: Upstream):
    endless(upstream)
    with Exchange(f"{relaying.api}/chat/completions", "POST", question()) as waiting:
        upstream.asked()
        running_now = get(f"{relaying.api}/streams?state=running")["data"]
        stream_id = running_now[0]["id"]
        # Only when the text has arrived is it the partial text.
        with Exchange(f"{relaying.api}/streams/{stream_id}/events?format=text") as text:
            text.until(lambda data: data == PARTIAL.encode())
            stop_by_post(relaying, stream_id)
            text.rest()
            assert not text.clean
        assert waiting.status == 499
        error = waiting.json()["error"]
    assert error["code"] == "cancelled"
    assert error["partial"] == PARTIAL
    assert upstream.has_left()


@pytest.mark.promise("P7")
def test_the_embedded_model_stops_too(embedded: Server, client: openai.OpenAI):
    with client.chat.completions.create(**question(LONG), stream=True) as stream:
        stream_id = stream.response.headers["headrace-stream-id"]
        received = [next(stream) for _ in range(4)]
        stop_by_command(embedded, stream_id)
        with pytest.raises(openai.APIError) as caught:
            received.extend(stream)
    assert caught.value.code == "cancelled"
    state = get(f"{embedded.api}/streams/{stream_id}")
    assert state["text"] == text_of(received) != ""
    # Its slot is free: as many as there are slots answer at once.
    assert client.chat.completions.create(**question(2)).choices[0].finish_reason == "length"


@pytest.mark.promise("P5", "P7")
def test_every_reader_sees_the_stop_in_its_own_format(relaying: Server, upstream: Upstream):
    endless(upstream)
    with Exchange(f"{relaying.api}/chat/completions", "POST", question(stream=True)) as posted:
        stream_id = posted.headers["headrace-stream-id"]
        events = f"{relaying.api}/streams/{stream_id}/events"
        with Exchange(events) as native, Exchange(f"{events}?format=text") as text:
            for reader in (posted, native, text):
                reader.until(lambda data: PARTIAL.encode() in data)
            stop_by_post(relaying, stream_id)
            bodies = [reader.rest() for reader in (posted, native, text)]
            assert [posted.clean, native.clean, text.clean] == [False, True, False]
    assert b"[DONE]" not in bodies[0]
    assert b'"code":"cancelled"' in list(frames(bodies[0]))[-1]
    assert b'{"type":"cancelled","by":"client"}' in list(frames(bodies[1]))[-1]
    assert bodies[2] == PARTIAL.encode()


@pytest.mark.promise("P4", "P9")
def test_tail_prints_exactly_the_text_from_wherever_it_comes(relaying: Server, upstream: Upstream):
    gate = upstream.gate()
    words = ("Über ", "die 🌊 ", "Brücke\n", "und ", "weiter.\n")
    before, after = [delta(content=word) for word in words[:3]], [delta(content=word) for word in words[3:]]
    upstream.play(head(), chunk(*before), gate.wait, chunk(*after, delta("stop"), DONE), END)
    text = "".join(words).encode()
    at = {"HEADRACE_URL": relaying.url}
    with Exchange(f"{relaying.api}/chat/completions", "POST", question(stream=True)) as posted:
        stream_id = posted.headers["headrace-stream-id"]
        posted.until(lambda data: b"cke" in data)
        with running([HEADRACE, "tail", stream_id], **at) as tail:
            # It came in the middle and has all that was there.
            begun = tail.stdout.read(len("".join(words[:3]).encode()))
            gate.open()
            assert begun + tail.stdout.read() == text
            assert tail.wait() == 0
        posted.rest()
    later = command(HEADRACE, "tail", f"chatcmpl-{stream_id}", **at)
    assert (later.returncode, later.stdout.encode(), later.stderr) == (0, text, "")
    position = len("".join(words[:2]).encode())
    middle = command(HEADRACE, "tail", stream_id, "--from", f"t1.{position}", **at)
    assert middle.stdout.encode() == text[position:]


@pytest.mark.promise("P7")
def test_a_stop_by_idempotency_key(relaying: Server, upstream: Upstream):
    endless(upstream)
    key = {"Idempotency-Key": "stop-by-key"}
    with Exchange(f"{relaying.api}/chat/completions", "POST", question(stream=True), key) as posted:
        posted.until(lambda data: PARTIAL.encode() in data)
        done = command(HEADRACE, "cancel", "--idempotency-key", "stop-by-key", HEADRACE_URL=relaying.url)
        assert (done.returncode, done.stdout) == (0, "cancelled\n")
        assert upstream.has_left()
        posted.rest()
        assert not posted.clean
