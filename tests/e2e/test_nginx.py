"""Headrace behind nginx: what holds without it holds behind it, over both kinds of hop."""

from __future__ import annotations

import contextlib
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import openai
import pytest

from tests.e2e.asking import finishes, question, text_of
from tests.e2e.nginx import COMPRESSING, HTTP_1_0, HTTP_1_1, HTTP_2, NESTED, Front, proxying
from tests.e2e.processes import PATIENCE_S, Server, eventually, running, serving
from tests.e2e.raw import Exchange, events, frames, get, heartbeats
from tests.e2e.upstream import Gate, Upstream
from tests.servers.scripted import DONE, END, Abort, Close, Disconnect, Step, chat, chunk, delta, head, whole

PARTIAL = "The river"
SAID = chunk(delta(role="assistant", content=""), delta(content="The"), delta(content=" river"))
REST = chunk(delta(content=" runs."), delta("stop"), DONE)
WORDS = ("Die ", "Schleuse ", "öffnet ", "sich: ", "水路 ", "🌊", " und", " schließt.")
ENOUGH = 3

SSE, NDJSON, PLAIN = "text/event-stream", "application/x-ndjson", "text/plain"
FORMATS = [
    ("openai.chat", SSE),
    ("openai.chat", NDJSON),
    ("native", SSE),
    ("native", NDJSON),
    ("text", SSE),
    ("text", NDJSON),
    ("text", PLAIN),
]

UNFINISHED: dict[str, Sequence[Step]] = {
    "clean end without a marker": (END,),
    "closed in the middle of a frame": (chunk(delta(content=" runs")[:40]), Close()),
    "reset": (Abort(),),
}


@pytest.fixture(scope="module")
def fronts(relaying: Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Front]]:
    with proxying(tmp_path_factory.mktemp("nginx"), relaying.url) as fronts:
        yield fronts


@pytest.fixture(params=[HTTP_1_0, HTTP_1_1])
def front(request: pytest.FixtureRequest, fronts: Mapping[str, Front]) -> Front:
    return fronts[request.param]


def post(front: Front | Server, stream: bool = True, **headers: str) -> Exchange:
    """Ask; in names of headers `_` stands for `-`."""
    fields = {name.replace("_", "-"): value for name, value in headers.items()}
    return Exchange(f"{front.api}/chat/completions", "POST", question(stream=stream), fields)


@contextlib.contextmanager
def read_in_every_format(front: Front) -> Iterator[dict[tuple[str, str], Exchange]]:
    """Ask, and read the stream along in every format; all of them have got what the model said so far."""
    with post(front) as posted, contextlib.ExitStack() as stack:
        url = f"{front.api}/streams/{posted.headers['headrace-stream-id']}/events"
        readers = {("posted", SSE): posted}
        for form, accept in FORMATS:
            exchange = Exchange(f"{url}?format={form}", headers={"Accept": accept})
            readers[form, accept] = stack.enter_context(exchange)
        for reader in readers.values():
            reader.until(lambda data: b"river" in data)
        yield readers


@pytest.mark.promise("P14", "P16")
def test_words_and_heartbeats_arrive_while_the_model_holds_back_the_rest(front: Front, upstream: Upstream):
    gate = upstream.gate()
    upstream.play(head(), SAID, gate.wait, REST, END)
    with read_in_every_format(front) as readers:
        for (_, accept), reader in readers.items():
            if accept == SSE:
                reader.until(lambda data: heartbeats(data) >= ENOUGH)
            elif accept == NDJSON:
                reader.until(lambda data: data.endswith(b"\n" * (1 + ENOUGH)))
        gate.open()
        for reader in readers.values():
            assert b"runs." in reader.rest()
            assert reader.clean
            assert reader.headers["cache-control"] == "no-cache, no-transform"
        assert list(events(readers["posted", SSE].rest()))[-1].data == b"[DONE]"


@pytest.mark.promise("P16")
def test_a_second_nginx_holds_nothing_back_behind_the_documented_one(fronts: Mapping[str, Front], upstream: Upstream):
    gate = upstream.gate()
    upstream.play(head(), SAID, gate.wait, REST, END)
    with post(fronts[NESTED]) as posted:
        posted.until(lambda data: b"river" in data and heartbeats(data) >= ENOUGH)
        gate.open()
        assert posted.frames()[-1] == b"[DONE]"
        assert posted.clean


@pytest.mark.promise("P16")
def test_the_documented_block_does_not_compress(fronts: Mapping[str, Front], upstream: Upstream):
    upstream.play(head(), SAID, REST, END)
    with post(fronts[HTTP_1_1], Accept_Encoding="gzip") as posted:
        assert posted.frames()[-1] == b"[DONE]"
        assert "content-encoding" not in posted.headers


@pytest.mark.promise("P5")
def test_words_come_at_once_and_an_abort_as_an_abort_even_if_nginx_compresses(
    fronts: Mapping[str, Front], upstream: Upstream
):
    gate = upstream.gate()
    upstream.play(head(), SAID, gate.wait, END)
    with post(fronts[COMPRESSING], Accept_Encoding="gzip") as posted:
        posted.until(lambda data: b"river" in unzipped(data))
        assert posted.headers["content-encoding"] == "gzip"
        gate.open()
        assert b'"code":"upstream_incomplete"' in unzipped(posted.rest())
        assert not posted.clean


def unzipped(data: bytes) -> bytes:
    """What has arrived of a compressed body."""
    return zlib.decompressobj(zlib.MAX_WBITS + 16).decompress(data)


@pytest.mark.parametrize("vanishing", [False, True], ids=["closes", "resets"])
@pytest.mark.parametrize("phase", ["before the first word", "in the middle", "whole answer"])
@pytest.mark.promise("P8", "P12")
def test_a_reader_that_leaves_nginx_has_left_the_model(
    front: Front, relaying: Server, upstream: Upstream, phase: str, vanishing: bool
):
    said = () if phase == "before the first word" else (head(), SAID)
    upstream.play(*said, Disconnect())
    with post(front, phase != "whole answer", Headrace_On_Disconnect="cancel") as posted:
        upstream.asked()
        if phase == "in the middle":
            posted.until(lambda data: b"river" in data)
        (newest,) = get(f"{relaying.api}/streams?limit=1")["data"]
        assert newest["state"] == "running"
        if vanishing:
            posted.reset()
    upstream.left()
    eventually(lambda: get(f"{relaying.api}/streams/{newest['id']}")["state"] == "cancelled")


@pytest.mark.parametrize("ending", list(UNFINISHED))
@pytest.mark.promise("P5", "P6")
def test_an_answer_that_was_cut_short_looks_so_in_every_format(front: Front, upstream: Upstream, ending: str):
    gate = upstream.gate()
    upstream.play(head(), SAID, gate.wait, *UNFINISHED[ending])
    with read_in_every_format(front) as readers:
        gate.open()
        for (form, accept), reader in readers.items():
            body = reader.rest()
            assert reader.clean is (form == "native"), form  # its last record says that the stream has failed
            if form == "text":
                assert b"river" in body
            else:
                assert b'"code":"upstream_incomplete"' in body.rstrip().rpartition(b"\n")[2]
            if accept == PLAIN:
                assert body == PARTIAL.encode()


@pytest.mark.promise("P3", "P5")
def test_a_server_that_is_killed_ends_no_body_cleanly(upstream: Upstream, tmp_path: Path):
    upstream.play(head(), SAID, Disconnect())
    extra = {"OPENAI_BASE_URL": upstream.url, "OPENAI_API_KEY": "sk-upstream"}
    with (
        serving(tmp_path, **extra) as server,
        proxying(tmp_path / "nginx", server.url) as fronts,
        read_in_every_format(fronts[HTTP_1_0]) as over_1_0,
        read_in_every_format(fronts[HTTP_1_1]) as over_1_1,
    ):
        server.kill()
        for reader in (*over_1_0.values(), *over_1_1.values()):
            reader.rest()
            assert not reader.clean


@pytest.mark.parametrize("ending", list(UNFINISHED))
@pytest.mark.promise("P5", "P6", "P12")
def test_the_client_raises_where_the_answer_was_cut_short(front: Front, upstream: Upstream, ending: str):
    upstream.play(head(), SAID, *UNFINISHED[ending])
    received = []
    with openai.OpenAI(base_url=front.api, api_key="none", max_retries=0) as client:
        with pytest.raises(openai.APIError), client.chat.completions.create(**question(), stream=True) as stream:
            received.extend(stream)
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**question())
    assert text_of(received) == PARTIAL
    assert finishes(received) == []
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["partial"] == PARTIAL


def curl(url: str, option: str, beginning: str, gate: Gate) -> tuple[str, int]:
    """What it prints, and its exit code; the gate is opened when it has printed the beginning."""
    with running(["curl", "-sN", option, url]) as process:
        begun = process.stdout.read(len(beginning))
        gate.open()
        return (begun + process.stdout.read()).decode(), process.wait(PATIENCE_S)


@pytest.mark.parametrize(
    ("ending", "text", "code"), [(REST + END, "The river runs.", 0), (END, PARTIAL, 92)], ids=["finished", "cut short"]
)
@pytest.mark.promise("P5")
def test_an_abort_is_an_abort_over_http_2(
    fronts: Mapping[str, Front], upstream: Upstream, ending: bytes, text: str, code: int
):
    """92 is curl's exit code for a stream of HTTP/2 that was not closed cleanly."""
    gate = upstream.gate()
    upstream.play(head(), SAID, gate.wait, ending)
    url = f"{fronts[HTTP_2].url}/stream?prompt=Tell+me&model=m&format=text"
    assert curl(url, "--http2-prior-knowledge", PARTIAL, gate) == (text, code)


@pytest.mark.parametrize(
    ("ending", "text", "code"), [(REST + END, "The river runs.", 0), (END, PARTIAL, 18)], ids=["finished", "cut short"]
)
@pytest.mark.promise("P5")
def test_an_abort_is_an_abort_over_http_1_0(relaying: Server, upstream: Upstream, ending: bytes, text: str, code: int):
    """18 is curl's exit code for a body that was not complete."""
    gate = upstream.gate()
    upstream.play(head(), SAID, gate.wait, ending)
    url = f"{relaying.url}/stream?prompt=Tell+me&model=m&format=text"
    assert curl(url, "--http1.0", PARTIAL, gate) == (text, code)


@pytest.mark.parametrize("form", ["native", "openai.chat", "text"])
@pytest.mark.promise("P4")
def test_what_came_before_a_cut_and_what_comes_then_is_the_whole_stream(
    front: Front, relaying: Server, upstream: Upstream, form: str
):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    with post(front) as posted:
        posted.rest()
        path = f"/streams/{posted.headers['headrace-stream-id']}/events?format={form}"
    with Exchange(relaying.api + path, headers={"Accept": SSE}) as exchange:
        body = exchange.rest()
    expected = list(frames(body))
    for at in range(0, len(body) - len(b":\n") * heartbeats(body), 97):
        with Exchange(front.api + path, headers={"Accept": SSE}) as exchange:
            received = list(events(exchange.until(lambda data, at=at: len(data) >= at)[:at]))
            exchange.reset()
        last = received[-1].id if received else ""
        skip = last.rpartition(".")[2] or "0"
        for url, headers in (
            (front.api + path, {"Last-Event-ID": last} if last else {}),
            (f"{front.api}{path}&skip={skip}", {}),
        ):
            with Exchange(url, headers={"Accept": SSE, **headers}) as again:
                assert [frame.data for frame in received] + again.frames() == expected
                assert again.clean


@pytest.mark.promise("P2", "P4", "P8", "P9")
def test_an_event_source_that_is_cut_off_twice_has_the_whole_stream_of_one_question(
    front: Front, relaying: Server, upstream: Upstream
):
    gate = upstream.gate()
    upstream.play(head(), SAID, gate.wait, REST, END)
    url = f"{front.url}/stream?prompt=Tell+me&model=m"
    received = []
    for _ in range(2):
        with Exchange(url, headers=since(received)) as exchange:
            # All that came after the first frame came too late.
            received.append(next(events(exchange.until(lambda data: b"\n\n" in data))))
            exchange.reset()
    gate.open()
    with Exchange(url, headers=since(received)) as exchange:
        received += events(exchange.rest())
        assert exchange.clean
    stream_id, _, position = received[-1].id.partition(":")
    assert position == f"c1.{len(received)}"
    with Exchange(f"{relaying.api}/streams/{stream_id}/events?format=openai.chat", headers={"Accept": SSE}) as exchange:
        assert [frame.data for frame in received] == exchange.frames()
    # A browser comes back after the clean end; 204 ends that.
    with Exchange(url, headers=since(received)) as exchange:
        assert exchange.status == 204
    assert len(upstream.requests) == 1


def since(received) -> dict[str, str]:
    last = {"Last-Event-ID": received[-1].id} if received else {}
    return {"Accept": SSE, **last}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.promise("P2", "P8", "P10")
def test_a_retry_with_the_same_key_joins_the_stream(front: Front, upstream: Upstream, stream: bool):
    gate = upstream.gate()
    upstream.play(head(), SAID, gate.wait, REST, END)
    key = f"behind-{front.url.rpartition(':')[2]}-{stream}"
    with post(front, stream, Idempotency_Key=key) as first:
        upstream.asked()
        if stream:
            first.until(lambda data: b"river" in data)
        first.reset()
    with post(front, stream, Idempotency_Key=key) as second:
        gate.open()
        body = second.rest()
        assert second.clean
        assert second.headers["idempotent-replayed"] == "true"
    assert [word for word in (b"The", b" river", b" runs.") if word not in body] == []
    assert len(upstream.requests) == 1


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.promise("P13")
def test_a_refusal_before_the_first_word_keeps_its_status(front: Front, upstream: Upstream, stream: bool):
    upstream.play(whole(b"slow", 429, retry_after="7"))
    with post(front, stream) as posted:
        assert posted.status == 429
        assert posted.headers["retry-after"] == "7"
        assert posted.json()["error"]["code"] == "upstream_rate_limited"


@pytest.mark.promise("P33")
def test_without_keys_the_documented_block_serves_no_public_name(fronts: Mapping[str, Front]):
    url = f"{fronts[HTTP_1_1].api}/models"
    with Exchange(url) as local, Exchange(url, headers={"Host": "chat.example.com"}) as public:
        assert (local.status, public.status) == (200, 403)


def test_a_long_conversation_passes_the_documented_block(fronts: Mapping[str, Front], upstream: Upstream):
    upstream.play(head(), SAID, REST, END)
    messages = [{"role": "user", "content": "?" * 2_000_000}]
    with Exchange(f"{fronts[HTTP_1_1].api}/chat/completions", "POST", question() | {"messages": messages}) as posted:
        assert posted.status == 200
    assert upstream.requests[0].json()["messages"] == messages


@pytest.mark.parametrize("path", ["/health", "/health/ready"])
def test_health_is_told_with_and_without_a_body(front: Front, path: str):
    with Exchange(front.url + path) as told, Exchange(front.url + path, "HEAD") as short:
        assert told.json()["status"] in ("ok", "ready")
        assert short.status == 200
        assert short.headers["content-length"] == told.headers["content-length"]
