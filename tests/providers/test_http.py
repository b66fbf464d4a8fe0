"""One POST, seen from a scripted server: what is sent, how failures look, and when the connection is closed."""

from __future__ import annotations

import asyncio
import gc
import gzip
import json
import logging
import re
import socket
import weakref
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from typing import Any

import anyio
import pytest

from headrace.errors import HeadraceError, UpstreamIncomplete, UpstreamProtocol, UpstreamTimeout, UpstreamUnavailable
from headrace.providers.http import EVENT_STREAM, JSON, HttpSettings, Reply, Upstream, pool
from headrace.providers.redaction import Redactor
from tests.servers.scripted import END, Abort, Close, ScriptedServer, Wait, chunk, head, whole

pytestmark = pytest.mark.anyio
PATH = "/chat/completions"


@pytest.fixture(scope="module", params=[False, True], ids=["asyncio", "uvloop"])
def anyio_backend(request: pytest.FixtureRequest) -> tuple[str, dict[str, bool]]:
    """Both event loops: when a closed socket is really closed is theirs to decide, and the server runs on uvloop."""
    return "asyncio", {"use_uvloop": request.param}


@pytest.fixture
async def server() -> AsyncIterator[ScriptedServer]:
    async with ScriptedServer() as server:
        yield server


@asynccontextmanager
async def upstream(server: ScriptedServer, **settings: object) -> AsyncIterator[Upstream]:
    made = Upstream(HttpSettings(**{"base_url": server.url, **settings}), Redactor(["Bearer sesame-key-1"]))  # pyright: ignore[reportArgumentType]
    try:
        with anyio.fail_after(5):
            yield made
    finally:
        await made.close()


async def body_of(made: Upstream, body: bytes = b"{}", accept: str = EVENT_STREAM) -> bytes:
    async with made.post(PATH, body, accept) as reply:
        return b"".join([data async for data in reads(reply)])


async def reads(reply: Reply) -> AsyncIterator[bytes]:
    while data := await reply.read():
        yield data


async def error_of(made: Upstream, accept: str = EVENT_STREAM) -> HeadraceError:
    with pytest.raises(HeadraceError) as caught:
        await body_of(made, accept=accept)
    return caught.value


@pytest.mark.promise("P16", "P34")
async def test_only_our_own_headers_are_sent_and_identity_is_asked_for(server: ScriptedServer):
    server.script(whole(b"data: x\n\n", content_type=EVENT_STREAM))
    async with upstream(server, headers=(("Authorization", "Bearer sesame-key-1"), ("X-Team", "blue"))) as made:
        await body_of(made, b'{"a":1}')
    request = server.requests[0]
    assert (request.method, request.path, request.body) == ("POST", "/v1/chat/completions", b'{"a":1}')
    assert request.headers.pop("user-agent").startswith("headrace/")
    assert request.headers == {
        "host": server.url.split("/")[2],
        "authorization": "Bearer sesame-key-1",
        "x-team": "blue",
        "accept": "text/event-stream",
        "accept-encoding": "identity",
        "content-type": "application/json",
        "content-length": "7",
    }


async def test_a_body_of_several_megabytes_arrives_whole(server: ScriptedServer):
    server.script(whole(b"{}"))
    body = bytes(range(256)) * 20_000
    async with upstream(server) as made:
        await body_of(made, body, accept=JSON)
    assert server.requests[0].body == body


async def test_a_body_in_pieces_arrives_whole_and_with_its_length(server: ScriptedServer):
    server.script(whole(b"{}"))
    pieces = [b"", b'"', *[bytes([65 + number % 26]) * 30_000 for number in range(100)], b'"']
    async with upstream(server) as made, made.post("/chat/completions", pieces, JSON) as reply:
        await reply.read_all(100)
    (request,) = server.requests
    assert request.body == b"".join(pieces)
    assert request.headers["content-length"] == str(len(request.body)) and "transfer-encoding" not in request.headers


async def test_each_socket_read_is_one_read(server: ScriptedServer):
    gates = [anyio.Event() for _ in range(3)]
    server.script(head(), chunk(b"one"), Wait(gates[0]), chunk(b"two"), Wait(gates[1]), chunk(b"three"), END)
    async with upstream(server) as made, made.post(PATH, b"{}", EVENT_STREAM) as reply:
        got: list[bytes] = []
        for gate in gates:
            got.append(await reply.read())
            gate.set()
        assert got == [b"one", b"two", b"three"]
        assert await reply.read() == b""


async def test_a_server_that_compresses_all_the_same_is_understood(server: ScriptedServer):
    packed = gzip.compress(b"data: hello\n\n")
    server.script(whole(packed, content_type=EVENT_STREAM, content_encoding="gzip"))
    async with upstream(server) as made:
        assert await body_of(made) == b"data: hello\n\n"


@pytest.mark.parametrize("content_type", ["text/event-stream;charset=utf-8", "Text/Event-Stream", None])
async def test_the_content_type_may_have_parameters_or_be_missing(server: ScriptedServer, content_type: str | None):
    server.script(whole(b"data: x\n\n", content_type=content_type))
    async with upstream(server) as made:
        assert await body_of(made) == b"data: x\n\n"


# Connections


async def test_a_connection_whose_body_was_read_is_used_again(server: ScriptedServer):
    server.script(head(), chunk(b"data: x\n\n"), END)
    async with upstream(server) as made:
        for _ in range(3):
            await body_of(made)
    assert [request.connection for request in server.requests] == [0, 0, 0]
    assert "disconnected" not in server.log[:-1]


async def test_a_connection_in_the_pool_holds_no_answer(server: ScriptedServer):
    server.script(head(), chunk(b"data: x\n\n"), END)
    async with upstream(server) as made:
        async with made.post(PATH, b"{}", EVENT_STREAM) as reply:
            while await reply.read():
                pass
        left = weakref.ref(reply)
        del reply
        gc.collect()
        assert left() is None


async def test_a_connection_that_has_been_idle_for_long_is_closed(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(pool, "_KEEPALIVE_SECONDS", 0.0)
    server.script(whole(b"{}"))
    async with upstream(server) as made:
        await body_of(made, accept=JSON)
        await server.happened("disconnected")
        await body_of(made, accept=JSON)
    assert [request.connection for request in server.requests] == [0, 1]


async def test_of_the_idle_connections_only_the_old_ones_are_closed(server: ScriptedServer):
    server.script(whole(b"{}"))
    async with upstream(server) as made:
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(made.start)
        older, _ = made._pool._idle
        older.idle_since -= 61
        made._pool._drop_old()
        await server.happened("disconnected")
        await body_of(made, accept=JSON)
        assert len(server.connections) == 2
        assert not server.connections[server.requests[0].connection].left.is_set()


async def test_a_connection_that_was_idle_for_too_long_is_not_asked_and_is_closed(server: ScriptedServer):
    server.script(whole(b"{}"))
    async with upstream(server) as made:
        await body_of(made, accept=JSON)
        made._pool._idle[0].idle_since -= 61
        await body_of(made, accept=JSON)
        await server.happened("disconnected")
    assert [request.connection for request in server.requests] == [0, 1]


async def test_an_idle_connection_that_says_something_is_not_used_again(server: ScriptedServer):
    """Such as the 408 of a server that is tired of waiting: it would be taken for the next request's answer."""
    server.script(whole(b"{}"))
    async with upstream(server) as made:
        await body_of(made, accept=JSON)
        server.connections[0].write(whole(b"", status=408))
        await server.happened("disconnected")
        await body_of(made, accept=JSON)
    assert [request.connection for request in server.requests] == [0, 1]


@pytest.mark.parametrize(("seconds", "looked_up"), [(60.0, 1), (0.0, 3)], ids=["cached", "expired"])
async def test_a_servers_address_is_looked_up_once_a_minute(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch, seconds: float, looked_up: int
):
    names = noted_names(monkeypatch)
    monkeypatch.setattr(pool, "_DNS_CACHE_SECONDS", seconds)
    server.script(whole(b"{}", connection="close"))
    async with upstream(server, base_url=server.url.replace("127.0.0.1", "localhost")) as made:
        for _ in range(3):
            await body_of(made, accept=JSON)
    assert len(server.connections) == 3
    assert names.count("localhost") == looked_up  # uvloop itself looks up what is an address


async def test_that_a_name_has_no_address_is_not_remembered(server: ScriptedServer, monkeypatch: pytest.MonkeyPatch):
    server.script(whole(b"{}"))
    async with upstream(server) as made:
        with monkeypatch.context() as patched:
            noted_names(patched, fail=True)
            await error_of(made, accept=JSON)
        assert await body_of(made, accept=JSON) == b"{}"


def noted_names(monkeypatch: pytest.MonkeyPatch, *, fail: bool = False) -> list[object]:
    """The names that are looked up from now on."""
    loop = asyncio.get_running_loop()
    look_up = loop.getaddrinfo
    names: list[object] = []

    async def noted(host: str, port: int, **options: Any) -> Any:
        names.append(host)
        if fail:
            raise socket.gaierror(socket.EAI_AGAIN, "not now")
        return await look_up(host, port, **options)

    monkeypatch.setattr(loop, "getaddrinfo", noted)
    return names


async def test_an_error_does_not_cost_the_connection(server: ScriptedServer):
    server.script(whole(b'{"error":{"message":"no"}}', status=400))
    async with upstream(server) as made:
        await error_of(made)
        await error_of(made)
    assert [request.connection for request in server.requests] == [0, 0]


async def test_start_opens_the_connection_that_the_first_request_uses(server: ScriptedServer):
    server.script(whole(b"{}"))
    async with upstream(server, headers=(("Authorization", "Bearer sesame-key-1"),)) as made:
        await made.start()
        await body_of(made, accept=JSON)
    assert [request.path for request in server.heads] == ["/v1"]
    assert "authorization" not in server.heads[0].headers
    assert [request.connection for request in server.requests] == [0]


async def test_start_does_not_mind_a_server_that_is_not_there():
    port = unused_port()
    made = Upstream(HttpSettings(base_url=f"http://127.0.0.1:{port}/v1"), Redactor([]))
    with anyio.fail_after(5):
        await made.start()
    await made.close()


async def test_start_gives_up_on_a_server_that_accepts_and_says_nothing():
    async def silence(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silence, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        made = Upstream(HttpSettings(base_url=f"http://127.0.0.1:{port}/v1", connect_timeout=0.05), Redactor([]))
        with anyio.fail_after(5):
            await made.start()
        await made.close()


@pytest.mark.promise("P34")
@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(server: ScriptedServer, caplog: pytest.LogCaptureFixture, status: int):
    server.script(whole(b"", status=status, location=f"{server.url}/elsewhere"))
    async with upstream(server) as made:
        error = await error_of(made)
    assert isinstance(error, UpstreamProtocol)
    assert error.message == (f"The model server answered {status}, a redirect: base_url must be the final address.")
    assert not error.may_retry
    assert f"a redirect to {server.url}/elsewhere" in caplog.text
    assert len(server.requests) == 1


async def test_cookies_of_the_server_are_not_kept(server: ScriptedServer):
    server.script(whole(b"{}", set_cookie="session=1; Path=/"))
    # By name: aiohttp's own jar takes no cookies of an address.
    async with upstream(server, base_url=server.url.replace("127.0.0.1", "localhost")) as made:
        await body_of(made, accept=JSON)
        await body_of(made, accept=JSON)
    assert "cookie" not in server.requests[1].headers


# Leaving


@pytest.mark.promise("P7")
async def test_leaving_in_the_middle_closes_the_socket_before_it_returns(server: ScriptedServer):
    server.script(head(), chunk(b"data: x\n\n"), Wait(anyio.Event()))
    async with upstream(server) as made:
        async with made.post(PATH, b"{}", EVENT_STREAM) as reply:
            await reply.read()
            assert not server.connections[0].client_has_closed
        assert server.connections[0].client_has_closed
        await server.happened("disconnected")


@pytest.mark.promise("P7")
async def test_cancelling_a_read_closes_the_socket_before_the_task_goes_on(server: ScriptedServer):
    server.script(head(), chunk(b"data: x\n\n"), Wait(anyio.Event()))
    async with upstream(server) as made:
        assert await closed_when_cancelled(made, server, b"{}")


@pytest.mark.promise("P7")
async def test_cancelling_before_the_answer_begins_closes_the_socket_too(server: ScriptedServer):
    server.script(Wait(anyio.Event()))
    async with upstream(server) as made:
        assert await closed_when_cancelled(made, server, b"{}")


@pytest.mark.promise("P7")
async def test_cancelling_drops_what_was_not_sent_yet(server: ScriptedServer):
    """`transport.close()` would first send the rest to a server that does not read, and wait for ever."""
    server.reads_bodies = False
    server.script(Wait(anyio.Event()))
    body = b"x" * 40_000_000
    async with upstream(server) as made:
        await closed_when_cancelled(made, server, body)
        connection = server.connections[0]
        connection.read_on()
        await connection.left.wait()
    assert len(server.requests[0].body) + connection.unread_bytes < len(body)


@pytest.mark.promise("P7")
async def test_a_plain_asyncio_cancellation_is_enough(server: ScriptedServer):
    closed: list[bool] = []
    server.script(Wait(anyio.Event()))
    async with upstream(server) as made:
        task = asyncio.get_running_loop().create_task(ask(made, server, b"{}", closed))
        await server.happened("request")
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert closed == [True]


async def ask(made: Upstream, server: ScriptedServer, body: bytes, closed: list[bool]) -> None:
    """Read to the end; whatever ends it, note at once whether the server's system knows that the client has left."""
    try:
        async with made.post(PATH, body, EVENT_STREAM) as reply:
            while await reply.read():
                pass
    finally:
        closed.append(server.connections[0].client_has_closed)


async def closed_when_cancelled(made: Upstream, server: ScriptedServer, body: bytes) -> bool:
    """Ask, let both sides come as far as they can, cancel."""
    closed: list[bool] = []
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask, made, server, body, closed)
        await server.happened("request")
        await anyio.wait_all_tasks_blocked()
        assert closed == []
        tasks.cancel_scope.cancel()
    return closed == [True]


@pytest.mark.promise("P7")
async def test_the_server_sees_a_cancel_before_an_answer_to_it_can_arrive(server: ScriptedServer):
    """The answer goes over a socket, as it does for who asked; the disconnect was written to another one before."""
    server.script(head(), chunk(b"data: x\n\n"), Wait(anyio.Event()))

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with upstream(server) as made, made.post(PATH, b"{}", EVENT_STREAM) as reply:
            await reply.read()
        writer.write(b"cancelled")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listener:
        with anyio.fail_after(5):
            reader, writer = await asyncio.open_connection(*listener.sockets[0].getsockname())
            server.note((await reader.read()).decode())
            writer.close()
            await writer.wait_closed()
    assert server.log == ["request", "disconnected", "cancelled"]


# Failures


def unused_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


async def test_a_server_that_is_not_running_is_unavailable(caplog: pytest.LogCaptureFixture):
    port = unused_port()
    made = Upstream(HttpSettings(base_url=f"http://127.0.0.1:{port}/v1"), Redactor([]))
    error = await error_of(made)
    await made.close()
    assert isinstance(error, UpstreamUnavailable)
    assert (error.status, error.may_retry) == (503, True)
    assert error.message == "The model server refused the connection: it may not be running."
    assert str(port) in caplog.text


async def test_an_address_without_a_route_is_unavailable():
    made = Upstream(HttpSettings(base_url="http://255.255.255.255:9/v1"), Redactor([]))
    error = await error_of(made)
    await made.close()
    assert isinstance(error, UpstreamUnavailable)
    assert error.message == "The model server cannot be reached."


async def test_a_name_without_address_is_unavailable():
    made = Upstream(HttpSettings(base_url="http://model-server.invalid/v1"), Redactor([]))
    error = await error_of(made)
    await made.close()
    assert isinstance(error, UpstreamUnavailable)
    assert "invalid" not in error.message


async def test_a_server_without_tls_where_tls_was_asked_for_is_unavailable_and_not_worth_a_retry():
    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.write(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as listener:
        port = listener.sockets[0].getsockname()[1]
        made = Upstream(HttpSettings(base_url=f"https://127.0.0.1:{port}/v1"), Redactor([]))
        with anyio.fail_after(5):
            error = await error_of(made)
        await made.close()
    assert isinstance(error, UpstreamUnavailable)
    assert error.message == "The model server cannot be trusted: TLS failed."
    assert not error.may_retry


@pytest.mark.promise("P20")
async def test_a_connection_that_does_not_come_about_in_time_is_a_timeout():
    with socket.socket() as full:
        # A queue of one, taken: the kernel leaves the next handshake unanswered.
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            filler.connect_ex(full.getsockname())
        made = Upstream(
            HttpSettings(base_url=f"http://127.0.0.1:{full.getsockname()[1]}", connect_timeout=0.05), Redactor([])
        )
        with anyio.fail_after(5):
            error = await error_of(made)
        await made.close()
        for filler in fillers:
            filler.close()
    assert isinstance(error, UpstreamTimeout)
    assert (error.error_code, error.status, error.may_retry) == ("upstream_connect_timeout", 504, True)


@pytest.mark.parametrize("ending", [Close(), Abort()])
async def test_closing_before_the_answer_is_unavailable(server: ScriptedServer, ending: Close | Abort):
    server.script(ending)
    async with upstream(server) as made:
        error = await error_of(made)
    assert isinstance(error, UpstreamUnavailable)
    assert (error.status, error.may_retry) == (503, True)
    assert len(server.requests) == 1


@pytest.mark.parametrize("ending", [Close(), Abort()])
async def test_a_connection_that_was_closed_while_it_was_idle_is_not_the_callers_problem(
    server: ScriptedServer, ending: Close | Abort
):
    server.script(whole(b"{}"))
    server.script(ending)
    server.script(whole(b"{}"))
    async with upstream(server) as made:
        for _ in range(2):
            assert await body_of(made, b"question", accept=JSON) == b"{}"
    assert [request.connection for request in server.requests] == [0, 0, 1]
    assert {request.body for request in server.requests} == {b"question"}


async def test_a_request_is_repeated_on_another_connection_once(server: ScriptedServer):
    server.script(whole(b"{}"))
    server.script(Close())
    async with upstream(server) as made:
        await body_of(made, accept=JSON)
        assert isinstance(await error_of(made), UpstreamUnavailable)
    assert [request.connection for request in server.requests] == [0, 0, 1]


async def test_what_is_not_http_is_a_protocol_error(server: ScriptedServer):
    server.script(b"220 mail.example ESMTP\r\n", Wait(anyio.Event()))
    async with upstream(server) as made:
        error = await error_of(made)
    assert isinstance(error, UpstreamProtocol)
    assert "base_url" in error.message


@pytest.mark.promise("P6")
@pytest.mark.parametrize("ending", [Close(), Abort()])
@pytest.mark.parametrize("framing", [head(), head(content_length="1000")])
async def test_a_body_that_is_cut_off_is_incomplete_after_all_that_arrived(
    server: ScriptedServer, framing: bytes, ending: Close | Abort
):
    gate = anyio.Event()
    piece = chunk(b"data: x\n\n") if b"chunked" in framing else b"data: x\n\n"
    server.script(framing, piece, Wait(gate), ending)
    async with upstream(server) as made, made.post(PATH, b"{}", EVENT_STREAM) as reply:
        assert await reply.read() == b"data: x\n\n"
        gate.set()
        for _ in range(2):
            with pytest.raises(UpstreamIncomplete):
                await reply.read()


@pytest.mark.promise("P6")
async def test_bytes_that_arrive_together_with_the_cut_are_not_lost(server: ScriptedServer):
    server.script(head(), chunk(b"data: x\n\n"), chunk(b"data: y\n\n"), Close())
    async with upstream(server) as made, made.post(PATH, b"{}", EVENT_STREAM) as reply:
        await server.connections[0].left.wait()
        await anyio.wait_all_tasks_blocked()
        assert await reply.read() == b"data: x\n\ndata: y\n\n"
        with pytest.raises(UpstreamIncomplete):
            await reply.read()


@pytest.mark.promise("P6", "P23")
async def test_a_cut_body_that_is_larger_than_every_buffer_arrives_as_far_as_it_was_sent(server: ScriptedServer):
    gate = anyio.Event()
    sent = bytes(range(256)) * 40_000
    server.script(head(content_length=str(2 * len(sent))), sent[:1], Wait(gate), sent[1:], Close())
    async with upstream(server) as made, made.post(PATH, b"{}", EVENT_STREAM) as reply:
        got = [await reply.read()]
        gate.set()
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(UpstreamIncomplete):
            while True:
                got.append(await reply.read())
    assert b"".join(got) == sent


async def test_a_malformed_body_ends_the_read_that_waits_for_it(server: ScriptedServer):
    gate = anyio.Event()
    server.script(head(), chunk(b"data: x\n\n"), Wait(gate), b"zz\r\n", Wait(anyio.Event()))
    async with upstream(server) as made, made.post(PATH, b"{}", EVENT_STREAM) as reply:
        assert await reply.read() == b"data: x\n\n"
        gate.set()
        with pytest.raises(UpstreamProtocol):
            await reply.read()


@pytest.mark.promise("P24")
async def test_a_whole_answer_over_the_limit_is_refused(server: ScriptedServer):
    server.script(whole(b"x" * 1001))
    async with upstream(server) as made, made.post(PATH, b"{}", JSON) as reply:
        with pytest.raises(UpstreamProtocol, match="longer than 1000 bytes"):
            await reply.read_all(1000)


async def test_an_error_body_without_end_is_read_up_to_its_limit(server: ScriptedServer):
    server.script(head(500, "text/plain"), *[chunk(b"x" * 16_384)] * 40, Wait(anyio.Event()))
    async with upstream(server) as made:
        error = await error_of(made)
    assert error.message == "The model server failed with status 500."
    await server.happened("disconnected")


async def test_an_error_body_that_is_cut_off_still_has_its_status(server: ScriptedServer):
    server.script(head(429, JSON, retry_after="7"), chunk(b'{"error":'), Close())
    async with upstream(server) as made:
        error = await error_of(made)
    assert (error.error_code, error.retry_after) == ("upstream_rate_limited", 7)


async def test_draining_swallows_a_cut_and_gives_up_in_time(server: ScriptedServer):
    server.script(head(), chunk(b"data: x\n\n"), Wait(anyio.Event()))
    async with upstream(server) as made, made.post(PATH, b"{}", EVENT_STREAM) as reply:
        await reply.read()
        await reply.drain(0.01)
    assert server.connections[0].client_has_closed


REFUSED = {
    "message": "Incorrect API key provided: sesame-key-1 (or sk-proj-abcdef123). Bearer tok.en==",
    "code": "sk-proj-abcdef123",
    "metadata": {"flagged_input": "my-private-question"},
}


@pytest.mark.promise("P36")
@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("log_content", [False, True])
async def test_what_the_log_says_of_a_refusal_has_no_key_and_no_prompt_unless_told_to(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, status: int, log_content: bool
):
    server.script(whole(json.dumps({"error": REFUSED}).encode(), status=status))
    with caplog.at_level(logging.DEBUG):
        async with upstream(
            server, headers=(("Authorization", "Bearer sesame-key-1"),), log_content=log_content
        ) as made:
            error = await error_of(made)
    assert f"answered {status} (***)" in caplog.text
    assert ("Incorrect API key provided: ***" in caplog.text) == log_content
    assert ("my-private-question" in caplog.text) == log_content
    for text in (caplog.text, error.message, repr(error)):
        assert not re.search(r"sesame|sk-proj|abcdef|tok\.en", text)


@pytest.mark.parametrize(
    ("body", "code"), [(b'{"error": {"code": "invalid_api_key"}}', "invalid_api_key"), (b"who are you?", "no code")]
)
async def test_a_refusals_code_is_in_the_log(
    server: ScriptedServer, caplog: pytest.LogCaptureFixture, body: bytes, code: str
):
    server.script(whole(body, status=401))
    async with upstream(server) as made:
        await error_of(made)
    assert f"answered 401 ({code})" in caplog.text


async def test_aclosing_a_generator_that_reads_closes_the_socket(server: ScriptedServer):
    server.script(head(), chunk(b"data: x\n\n"), Wait(anyio.Event()))

    async def bodies(made: Upstream):
        async with made.post(PATH, b"{}", EVENT_STREAM) as reply:
            while data := await reply.read():
                yield data

    async with upstream(server) as made:
        async with aclosing(bodies(made)) as generator:
            assert await anext(generator) == b"data: x\n\n"
        assert server.connections[0].client_has_closed
