"""Cut anywhere, read on from there: what was received and what is received then is the uninterrupted stream."""

from __future__ import annotations

import json

import openai
import pytest

from tests.e2e.asking import finishes, plain, question, read_again, text_of
from tests.e2e.processes import Server
from tests.e2e.raw import Exchange, events, frames, get, heartbeats, read
from tests.e2e.tap import Tap
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, chat, chunk, delta, head

WORDS = ("Die ", "Schleuse ", "öffnet ", "sich: ", "水路 ", "🌊", " und", " schließt.")


@pytest.mark.parametrize("received", [0, 1, 2, 9])
@pytest.mark.promise("P2", "P4", "P8")
def test_the_client_breaks_off_and_gets_the_rest(client: openai.OpenAI, received: int):
    stream = client.chat.completions.create(**question(24), stream=True)
    stream_id = stream.response.headers["headrace-stream-id"]
    first = [next(stream) for _ in range(received)]
    stream.response.close()
    rest = list(read_again(client, stream_id, skip=received))
    whole = list(read_again(client, stream_id))
    assert plain(first + rest) == plain(whole)
    assert len(finishes(whole)) == 1
    assert len(text_of(whole).split()) > 3


@pytest.mark.promise("P4", "P9")
def test_from_the_last_chunk_on_there_is_the_end_and_after_it_nothing(client: openai.OpenAI, embedded: Server):
    with client.chat.completions.create(**question(8), stream=True) as stream:
        chunks = list(stream)
    path = f"{embedded.api}/chat/completions/{chunks[0].id}"
    last, done = read(f"{path}?skip={len(chunks) - 1}")
    assert [json.loads(last)] == plain(chunks[-1:])
    assert done == b"[DONE]"
    assert read(f"{path}?skip={len(chunks)}") == [b"[DONE]"]
    for url in (f"{path}?skip={len(chunks) + 1}", f"{path}?last_event_id=c1.{len(chunks) + 1}"):
        with Exchange(url, headers={"Accept": "text/event-stream"}) as nothing:
            assert nothing.status == 204
    with Exchange(f"{path}?skip={len(chunks) + 2}", headers={"Accept": "text/event-stream"}) as beyond:
        assert beyond.status == 400
        assert beyond.json()["error"]["code"] == "invalid_cursor"
    # The client takes the 204 for a stream without chunks.
    assert list(read_again(client, chunks[0].id, skip=len(chunks) + 1)) == []


@pytest.mark.promise("P4", "P14")
def test_ids_that_the_post_was_asked_for_resume_it(client: openai.OpenAI):
    ids: list[str] = []
    data: list[str] = []
    with client.chat.completions.with_streaming_response.create(
        **question(16), stream=True, extra_headers={"Headrace-Ids": "1"}
    ) as response:
        stream_id = response.headers["headrace-stream-id"]
        for line in response.iter_lines():
            ids += [line[4:]] if line.startswith("id: ") else []
            data += [line[6:]] if line.startswith("data: ") else []
            if len(data) == 5:
                break
    whole = plain(read_again(client, stream_id))
    assert [json.loads(each) for each in data] == whole[:5]
    for number, last in enumerate(ids, 1):
        assert plain(read_again(client, stream_id, last_event_id=last)) == whole[number:]


@pytest.mark.promise("P2", "P4", "P9")
def test_two_readers_come_at_different_places_of_a_running_stream(
    relaying: Server, upstream: Upstream, relayed: openai.OpenAI
):
    gate = upstream.gate()
    before = [delta(content=word) for word in WORDS[:5]]
    after = [*(delta(content=word) for word in WORDS[5:]), delta("stop"), DONE]
    upstream.play(head(), chunk(*before), gate.wait, chunk(*after), END)
    stream = relayed.chat.completions.create(**question(), stream=True)
    location = stream.response.headers["location"]
    received = [next(stream) for _ in range(3)]
    stream.response.close()
    sse = {"Accept": "text/event-stream"}
    with Exchange(f"{relaying.url}{location}", headers=sse) as early:
        early.until(lambda data: "水路".encode() in data)
        with Exchange(f"{relaying.url}{location}?skip=3", headers=sse) as late:
            late.until(lambda data: "水路".encode() in data)
            gate.open()
            whole, rest = early.frames(), late.frames()
            assert early.clean
            assert late.clean
    assert len(upstream.requests) == 1
    assert plain(received) == [json.loads(each) for each in whole[:3]]
    assert rest == whole[3:]
    assert "".join(json.loads(each)["choices"][0]["delta"].get("content", "") for each in whole[:-1]) == "".join(WORDS)


@pytest.mark.promise("P4", "P5")
def test_a_wire_that_is_cut_at_any_byte_costs_nothing(relaying: Server, upstream: Upstream, relayed: openai.OpenAI):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    for_reference = list(relayed.chat.completions.create(**question(), stream=True))
    with Exchange(f"{relaying.api}/chat/completions", "POST", question(stream=True)) as posted:
        posted.rest()
        length = len(posted.wire)
        start = posted.wire.index(b"\r\n\r\n") + 4
    cuts = 0
    # Every 61st byte: in fields, in words, in characters, between frames, and in the framing of the chunks.
    for at in (*range(start, length, 61), *range(length - 12, length)):
        with Tap(relaying.api, cut_at=at) as tap, openai.OpenAI(base_url=tap.url, api_key="none") as client:
            stream = client.chat.completions.create(**question(), stream=True)
            received = []
            try:
                received.extend(stream)
            except openai.APIConnectionError:
                cuts += 1
                received += read_again(client, stream.response.headers["headrace-stream-id"], skip=len(received))
        assert text_of(received) == "".join(WORDS)
        assert len(received) == len(for_reference)
        assert finishes(received) == ["stop"]
    assert cuts > 20


@pytest.mark.parametrize("form", ["native", "openai.chat", "text"])
@pytest.mark.promise("P4")
def test_a_frame_that_was_cut_in_the_middle_was_not_received(relaying: Server, upstream: Upstream, form: str):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    with Exchange(f"{relaying.api}/chat/completions", "POST", question(stream=True)) as posted:
        stream_id = posted.headers["headrace-stream-id"]
        posted.rest()
    url = f"{relaying.api}/streams/{stream_id}/events?format={form}"
    sse = {"Accept": "text/event-stream"}
    with Exchange(url, headers=sse) as exchange:
        body = exchange.rest()
    whole = list(frames(body))
    for at in range(0, len(body) - len(b":\n") * heartbeats(body), 37):
        with Exchange(url, headers=sse) as exchange:
            exchange.until(lambda data, at=at: len(data) >= at)
            exchange.reset()
        received = list(events(body[:at]))
        last = {"Last_Event_ID": received[-1].id} if received else {}
        assert [frame.data for frame in received] + read(url, **last) == whole


@pytest.mark.promise("P4")
def test_text_is_resumed_at_any_byte_and_ndjson_at_any_line(relaying: Server, upstream: Upstream):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    with Exchange(f"{relaying.api}/chat/completions", "POST", question(stream=True)) as posted:
        url = f"{relaying.api}/streams/{posted.headers['headrace-stream-id']}/events"
        posted.rest()
    text = "".join(WORDS).encode()
    for skip in range(len(text)):
        with Exchange(f"{url}?format=text&skip={skip}") as exchange:
            assert exchange.rest() == text[skip:]
            assert exchange.clean
    with Exchange(f"{url}?format=text&skip={len(text)}") as exchange:
        assert exchange.status == 204
    ndjson = {"Accept": "application/x-ndjson"}
    with Exchange(url, headers=ndjson) as exchange:
        lines = exchange.rest().splitlines(keepends=True)
    for skip in range(len(lines)):
        with Exchange(f"{url}?skip={skip}", headers=ndjson) as exchange:
            assert exchange.rest() == b"".join(lines[skip:])


@pytest.mark.promise("P4", "P9")
def test_a_reader_before_the_first_token_gets_everything(relaying: Server, upstream: Upstream):
    gate = upstream.gate()
    upstream.play(gate.wait, head(), chunk(chat(*WORDS)), END)
    body = {"model": "scripted", "messages": [{"role": "user", "content": "?"}]}
    with Exchange(f"{relaying.api}/streams", "POST", body) as created:
        assert created.status == 201
        stream_id = created.json()["id"]
    url = f"{relaying.api}/streams/{stream_id}"
    with Exchange(f"{url}/events", headers={"Accept": "text/event-stream"}) as reader:
        reader.until(lambda data: b"stream.start" in data)
        assert get(url)["readers"] == 1
        gate.open()
        live = reader.frames()
    assert live == read(f"{url}/events")
    assert get(url)["text"] == "".join(WORDS)
