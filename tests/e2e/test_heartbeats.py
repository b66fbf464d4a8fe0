"""50 ms heartbeats, while the model is silent, and what the official client makes of them."""

from __future__ import annotations

import openai
import pytest

from tests.e2e.asking import finishes, question, read_again, text_of
from tests.e2e.processes import Server
from tests.e2e.raw import Exchange, events, heartbeats
from tests.e2e.tap import Tap
from tests.e2e.upstream import Gate, Upstream
from tests.servers.scripted import END, chat, chunk, delta, head

ENOUGH = 3
TEXT = "The river runs."


def silent_in_the_middle(upstream: Upstream) -> Gate:
    """An answer that stops after its second word until the gate is opened."""
    gate = upstream.gate()
    before = chunk(delta(role="assistant", content=""), delta(content="The"), delta(content=" river"))
    upstream.play(head(), before, gate.wait, chunk(chat(" runs", ".")), END)
    return gate


def beats_on(tap: Tap, gate: Gate) -> None:
    """Open the gate when heartbeats have passed after the last frame."""
    tap.wait_for(lambda data: b"river" in data and data.rpartition(b"\n\n")[2].count(b":\n") >= ENOUGH)
    gate.open()


@pytest.mark.parametrize("ids", ["0", "1"])
@pytest.mark.promise("P14")
def test_the_client_does_not_notice_heartbeats(relaying: Server, upstream: Upstream, ids: str):
    gate = silent_in_the_middle(upstream)
    with Tap(relaying.api) as tap, openai.OpenAI(base_url=tap.url, api_key="none", max_retries=0) as client:
        with client.chat.completions.create(**question(), stream=True, extra_headers={"Headrace-Ids": ids}) as stream:
            chunks = [next(stream), next(stream)]
            beats_on(tap, gate)
            chunks += stream
        assert text_of(chunks) == TEXT
        assert finishes(chunks) == ["stop"]
        assert (b"\nid: c1." in tap.received) == (ids == "1")
        stream_id = chunks[0].id

        # A GET always has ids, and begins with `retry:`.
        again = list(read_again(client, stream_id))
    assert again == chunks


@pytest.mark.anyio
@pytest.mark.promise("P14")
async def test_the_async_client_does_not_notice_heartbeats(relaying: Server, upstream: Upstream):
    gate = silent_in_the_middle(upstream)
    with Tap(relaying.api) as tap:
        async with openai.AsyncOpenAI(base_url=tap.url, api_key="none", max_retries=0) as client:
            headers = {"Headrace-Ids": "1"}
            async with await client.chat.completions.create(**question(), stream=True, extra_headers=headers) as stream:
                chunks = [await anext(stream), await anext(stream)]
                beats_on(tap, gate)
                chunks += [each async for each in stream]
    assert text_of(chunks) == TEXT
    assert finishes(chunks) == ["stop"]


@pytest.mark.promise("P14", "P16")
def test_a_heartbeat_is_two_bytes_between_frames(relaying: Server, upstream: Upstream):
    gate = silent_in_the_middle(upstream)
    body = question(stream=True, stream_options={"include_usage": True})
    with Exchange(f"{relaying.api}/chat/completions", "POST", body) as posted:
        posted.until(lambda data: b"river" in data and heartbeats(data) >= ENOUGH)
        with Exchange(f"{relaying.url}{posted.headers['location']}", headers={"Accept": "text/event-stream"}) as got:
            got.until(lambda data: heartbeats(data) >= ENOUGH)
            gate.open()
            sent, again = posted.rest(), got.rest()
            assert got.clean
        assert posted.clean
        assert posted.headers["content-type"] == "text/event-stream; charset=utf-8"
        assert "content-encoding" not in posted.headers
    # `events` holds every line against the format; a heartbeat inside of a frame would break it.
    assert [frame.data for frame in events(sent)] == [frame.data for frame in events(again)]
    assert not any(frame.id for frame in events(sent))
    assert all(frame.id for frame in events(again))
    assert again.lstrip(b":\n").startswith(b"retry: 2000\nid: c1u.1\ndata: {")
    assert sent.endswith(b"data: [DONE]\n\n")


@pytest.mark.promise("P14")
def test_ndjson_heartbeats_are_empty_lines(relaying: Server, upstream: Upstream):
    gate = silent_in_the_middle(upstream)
    with Exchange(f"{relaying.api}/chat/completions", "POST", question(stream=True)) as posted:
        stream_id = posted.headers["headrace-stream-id"]
        url = f"{relaying.api}/streams/{stream_id}/events?format=openai.chat"
        with Exchange(url, headers={"Accept": "application/x-ndjson"}) as got:
            got.until(lambda data: b"river" in data and data.endswith(b"\n" * (1 + ENOUGH)))
            gate.open()
            lines = [line for line in got.rest().split(b"\n") if line]
            assert got.clean
        assert lines[:-1] == posted.frames()[:-1]
    assert lines[-1] == b'"[DONE]"'
