"""What goes wrong between a store and its server, and what the store says then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import cast

import anyio
import hiredis
import pytest

from headrace.config.redis_url import parse_redis_url
from headrace.errors import ConfigError, HeadraceError, LogFull, NotFound, Overloaded, StoreError, StoreUnavailable
from headrace.events import Record, TextDelta
from headrace.stores.redis import RedisStore
from headrace.stores.redis.link import Link
from headrace.stores.redis.refusals import refusal, refusal_of_greeting
from tests.stores.contract import EVERYTHING, START_MS, TTL, end_of_stream, token, tokens
from tests.stores.redis.proxy import Proxy, proxying
from tests.stores.redis.rigs import make, running
from tests.stores.redis.servers import VALKEY, Server, free_port, redis_server, serving

pytestmark = pytest.mark.anyio

OPERATIONS = Path(__file__).parents[3] / "docs" / "operations.md"
(DOCUMENTED_USER,) = (
    line.split() for line in OPERATIONS.read_text().splitlines() if line.startswith("ACL SETUSER headrace ")
)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Server]:
    """A server that a test may spoil."""
    with serving(VALKEY, tmp_path / "own", port=free_port()) as server:
        yield server


@pytest.fixture
async def store(anyio_backend: str, own: Server) -> AsyncIterator[RedisStore]:
    store = make(own.url)
    with anyio.fail_after(15):
        async with running(store):
            yield store


@pytest.fixture
async def proxied(anyio_backend: str, valkey: Server) -> AsyncIterator[tuple[RedisStore, Proxy]]:
    valkey.ask("FLUSHALL")
    with anyio.fail_after(15):
        async with proxying(valkey) as proxy:
            store = make(proxy.url)
            async with running(store):
                yield store, proxy


async def test_a_server_that_takes_no_more_connections_is_away_for_a_moment(own: Server, store: RedisStore) -> None:
    lease = await store.acquire("s", "ann", b"{}", TTL)
    own.ask("CONFIG", "SET", "maxclients", 1)
    store._servers.at("s").writes._connection.close()  # pyright: ignore[reportOptionalMemberAccess]
    # What it says is lost where it has hung up before it was greeted.
    with pytest.raises(StoreUnavailable, match=r"maxclients|hangs up"):
        await store.append(lease, 0, tokens(0, 1))
    said = refusal_of_greeting(hiredis.ReplyError("ERR max number of clients reached"), "cache:6379")
    assert isinstance(said, StoreUnavailable) and "maxclients" in str(said)


async def log_of(store: RedisStore) -> list[Record]:
    return list(await store.read("s", -1, EVERYTHING))


# Cut connections


@pytest.mark.promise("P28")
async def test_an_append_whose_acknowledgement_is_lost_is_in_the_log_once(proxied: tuple[RedisStore, Proxy]) -> None:
    store, proxy = proxied
    lease = await store.acquire("s", "ann", b"{}", TTL)
    for first in range(0, 9, 3):
        proxy.lose_next_reply()
        await store.append(lease, first, tokens(first, first + 3))
    proxy.lose_next_reply()
    await store.finish(lease, end_of_stream(9))
    assert proxy.lost == 4
    assert await log_of(store) == [*tokens(0, 9), end_of_stream(9)]


async def test_every_other_step_is_carried_out_once_too(proxied: tuple[RedisStore, Proxy]) -> None:
    store, proxy = proxied
    proxy.lose_next_reply()  # of the index
    lease = await store.acquire("s", "ann", b"{}", TTL)
    assert lease.next_seq == 0
    steps: list[Callable[[], Awaitable[object]]] = [
        lambda: store.renew(lease, TTL),
        lambda: store.claim("key", "one", TTL),
        lambda: store.extend("key", "one", TTL),
        lambda: store.request_cancel("s", "client"),
        lambda: store.status("s"),
        lambda: store.list("ann", None, None, 10),
        lambda: store.release("key", "one"),
    ]
    for step in steps:
        proxy.lose_next_reply()
        await step()
    assert await store.claim("key", "two", TTL) == "two"
    assert [info.id for info in await store.list("ann", None, None, 10)] == ["s"]
    assert await anext(store.cancellations()) == ("s", "client")


async def test_a_lost_reply_to_the_first_step_of_a_stream_does_not_lock_it(
    proxied: tuple[RedisStore, Proxy], monkeypatch: pytest.MonkeyPatch
) -> None:
    store, proxy = proxied
    runs = store._listing.runs

    async def then_lose(stream_id: str, until: float) -> None:
        await runs(stream_id, until)
        proxy.lose_next_reply()

    monkeypatch.setattr(store._listing, "runs", then_lose)
    lease = await store.acquire("s", "ann", b"{}", TTL)
    await store.append(lease, 0, tokens(0, 1))
    assert proxy.lost == 1
    assert await log_of(store) == tokens(0, 1)


async def test_a_server_that_has_forgotten_the_scripts_is_given_them_again(store: RedisStore, own: Server) -> None:
    lease = await store.acquire("s", "ann", b"{}", TTL)
    own.ask("SCRIPT", "FLUSH")
    await store.append(lease, 0, tokens(0, 1))
    own.ask("SCRIPT", "FLUSH")
    await store.finish(lease, end_of_stream(1))
    assert len(await log_of(store)) == 2


async def test_a_server_that_is_gone_is_an_error_with_its_name_and_when_it_is_back_all_goes_on(tmp_path: Path) -> None:
    port = free_port()
    store = make(f"redis://:hunter2@127.0.0.1:{port}")
    with pytest.raises(ConfigError, match=f"redis_url: Redis at 127.0.0.1:{port} cannot be reached") as caught:
        await store.start()
    assert "hunter2" not in str(caught.value)
    options = ("--requirepass", "hunter2", "--protected-mode", "no")
    for _ in range(2):
        with serving(VALKEY, tmp_path / "own", *options, port=port):
            assert await eventually(lambda: store.claim("key", "one", TTL)) == "one"
        with pytest.raises(StoreError, match="cannot be reached"):
            await store.claimed("key")
    await store.close()


async def eventually(step: Callable[[], Awaitable[object]]) -> object:
    with anyio.fail_after(10):
        while True:
            try:
                return await step()
            except StoreError:  # it is not asked again for half a second
                await anyio.lowlevel.checkpoint()


async def test_a_server_that_says_nothing_is_given_up() -> None:
    heard: list[bytes] = []

    class Mute(asyncio.Protocol):
        def data_received(self, data: bytes) -> None:
            heard.append(data)

    loop = asyncio.get_running_loop()
    server = await loop.create_server(Mute, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    link = Link(parse_redis_url(f"redis://127.0.0.1:{port}"), lambda _, __: None, patience=0.1)
    with anyio.fail_after(10), pytest.raises(StoreError, match="cannot be reached"):
        await link.call("PING")
    assert heard
    link.close()
    server.close()


# What it says itself


async def test_a_full_server_refuses_new_streams_and_tokens_but_never_an_end(store: RedisStore, own: Server) -> None:
    lease = await store.acquire("s", "ann", b"{}", TTL)
    await store.append(lease, 0, tokens(0, 1))
    own.ask("CONFIG", "SET", "maxmemory", 1)
    with pytest.raises(LogFull, match=r"is full \(maxmemory\)"):
        await store.append(lease, 1, tokens(1, 2))
    with pytest.raises(Overloaded, match="is full"):
        await store.acquire("other", "ann", b"{}", TTL)
    await store.renew(lease, TTL)
    await store.request_cancel("s", "client")
    await store.finish(lease, end_of_stream(1))
    assert await log_of(store) == [token(0), end_of_stream(1)]
    await store.delete("s")
    own.ask("CONFIG", "SET", "maxmemory", 0)
    await store.acquire("other", "ann", b"{}", TTL)


@pytest.mark.promise("P3")
async def test_on_a_full_server_what_a_dead_node_left_is_taken_over_and_ended(store: RedisStore, own: Server) -> None:
    lease = await store.acquire("s", "ann", b"{}", TTL)
    await store.append(lease, 0, tokens(0, 1))
    own.ask("CONFIG", "SET", "maxmemory", 1)
    own.age(TTL + 1)
    other = make(own.url)
    async with running(other):
        taken = await other.acquire("s", "ann", b"", TTL)
        assert taken.next_seq == 1
        await other.finish(taken, end_of_stream(1))
        with pytest.raises(Overloaded):
            await other.acquire("s2", "ann", b"{}", TTL)


async def test_a_server_that_has_become_a_replica_says_so_and_goes_on_when_it_is_primary_again(
    store: RedisStore, own: Server
) -> None:
    lease = await store.acquire("s", "ann", b"{}", TTL)
    await store.append(lease, 0, tokens(0, 1))
    own.ask("REPLICAOF", "127.0.0.1", 1)
    for _ in range(2):
        with pytest.raises(StoreError, match="is a replica and takes no writes: a failover") as caught:
            await store.append(lease, 1, tokens(1, 2))
        assert caught.value.may_retry
    assert await log_of(store) == tokens(0, 1)
    own.ask("REPLICAOF", "NO", "ONE")
    await store.append(lease, 1, tokens(1, 2))
    assert await log_of(store) == tokens(0, 2)


@pytest.mark.promise("P36")
async def test_a_wrong_password_or_none_stops_the_start_and_is_not_shown(own: Server) -> None:
    own.ask("ACL", "SETUSER", "app", "on", ">right", "~*", "&*", "+@all")
    own.ask("CONFIG", "SET", "requirepass", "hunter2")
    place = own.url.removeprefix("redis://")
    for credentials, text in (
        (":hunter3@", "does not take this user and password"),
        ("app:wrong@", "does not take this user and password"),
        ("", "wants a password"),
    ):
        store = make(f"redis://{credentials}{place}")
        with pytest.raises(ConfigError, match=f"^redis_url: Redis at 127.0.0.1:{own.port} {text}") as caught:
            await store.start()
        assert "hunter3" not in str(caught.value) and "wrong" not in str(caught.value)
        await store.close()
    for credentials in (":hunter2@", "default:hunter2@", "app:right@"):
        async with running(make(f"redis://{credentials}{place}")):
            pass


@pytest.mark.parametrize(
    ("hello", "text"),
    [
        (b"%3\r\n+server\r\n+redis\r\n+version\r\n+6.2.14\r\n+mode\r\n+standalone\r\n", "is version 6.2.14, but 7 or"),
        (b"-ERR unknown command `HELLO`, with args beginning with: `3`, `AUTH`, `me`, `hunter2`\r\n", "below 6, but 7"),
        (b"-NOPROTO unsupported protocol version\r\n", "is too old: Redis 7"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak Redis' protocol"),
        (b"+PONG\r\n", "does not speak Redis' protocol"),
        (b"-LOADING Redis is loading the dataset in memory\r\n", "still loads its data"),
    ],
)
async def test_what_is_no_redis_7_stops_the_start(hello: bytes, text: str) -> None:
    class Fake(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast("asyncio.Transport", transport)  # uvloop's is none by inheritance

        def data_received(self, data: bytes) -> None:
            self.transport.write(hello)

    server = await asyncio.get_running_loop().create_server(Fake, "127.0.0.1", 0)
    store = make(f"redis://me:hunter2@127.0.0.1:{server.sockets[0].getsockname()[1]}")
    with anyio.fail_after(10), pytest.raises(ConfigError, match=text) as caught:
        await store.start()
    assert "hunter2" not in str(caught.value)
    await store.close()
    server.close()


@pytest.mark.parametrize("program", [VALKEY, redis_server()])
async def test_the_user_of_the_documentation_may_do_all_that_is_needed_and_no_more(
    tmp_path: Path, program: str
) -> None:
    with serving(program, tmp_path / "own", port=free_port()) as server, anyio.fail_after(15):
        server.ask(*DOCUMENTED_USER)
        store = make(server.url.replace("redis://", "redis://headrace:PASSWORD@"))
        async with running(store):
            lease = await store.acquire("s", "ann", b"{}", TTL)
            await store.append(lease, 0, tokens(0, 1))
            await store.renew(lease, TTL)
            await store._feeds.open("other stream")  # listens
            await store.claim("key", "one", TTL)
            await store.extend("key", "one", TTL)
            await store.release("key", "one")
            await store.request_cancel("s", "client")
            assert await store.abandoned(10) == []
            await store.finish(lease, end_of_stream(1))
            assert len(await log_of(store)) == 2
            assert [info.id for info in await store.list("ann", None, None, 10)] == ["s"]
            await store.tidy()
            await store.delete("s")
        for less in ("-@scripting", "resetchannels", "resetkeys"):
            server.ask(*DOCUMENTED_USER)
            server.ask("ACL", "SETUSER", "headrace", less)
            store = make(server.url.replace("redis://", "redis://headrace:PASSWORD@"))
            with pytest.raises(ConfigError, match=r"see docs/operations\.md for its ACL"):
                await store.start()
            await store.close()


async def test_a_database_that_there_is_not_stops_the_start(own: Server) -> None:
    store = make(own.url.replace("/0", "/99"))
    with pytest.raises(ConfigError, match="has no database 99"):
        await store.start()
    await store.close()


@pytest.mark.promise("P36")
@pytest.mark.parametrize(
    ("reply", "text"),
    [
        ("LOADING Redis is loading the dataset in memory", "still loads its data; try again"),
        ("MASTERDOWN Link with MASTER is down", "has lost its primary"),
        ("CLUSTERDOWN Hash slot not served", "some of its slots have no server"),
        ("TRYAGAIN Multiple keys request during rehashing of slot", "is moving these keys"),
        ("MISCONF Errors writing to the AOF file", "cannot save them"),
        ("NOREPLICAS Not enough good replicas to write.", "min-replicas-to-write"),
        ("BUSY Redis is busy running a script.", "somebody's script"),
        ("NOPERM User app has no permissions", "does not let this user"),
        ("ERR what nobody knows hunter2", r"refused a command \(ERR\)"),
    ],
)
async def test_every_refusal_says_what_to_do_and_nothing_of_what_was_sent(reply: str, text: str) -> None:
    error = refusal(hiredis.ReplyError(reply), "cache:6379")
    assert isinstance(error, StoreError)
    with pytest.raises(StoreError, match=f"^Redis at cache:6379 .*{text}"):
        raise error
    assert "hunter2" not in str(error)
    assert "Redis" not in error.message  # a caller's business is only what it means


@pytest.mark.parametrize("user", ["default", "headrace", "may not ask"])
@pytest.mark.parametrize(
    ("limit", "policy", "warns"),
    [("1gb", "volatile-ttl", True), ("1gb", "noeviction", False), ("0", "volatile-ttl", False)],
)
async def test_a_server_that_evicts_is_warned_of(
    own: Server, caplog: pytest.LogCaptureFixture, limit: str, policy: str, warns: bool, user: str
) -> None:
    own.ask("CONFIG", "SET", "maxmemory", limit, "maxmemory-policy", policy)
    url = own.url
    if user != "default":
        own.ask(*DOCUMENTED_USER, *(["-info"] if user == "may not ask" else []))
        url = url.replace("redis://", "redis://headrace:PASSWORD@")
    store = make(url)
    with anyio.fail_after(10):
        await store.start()
        await store.close()
    said = [record.getMessage() for record in caplog.records if record.levelname in ("WARNING", "ERROR")]
    address = own.url.removeprefix("redis://").removesuffix("/0")
    expected = f"Redis at {address} (volatile-ttl) throws parts of streams away when it is full: set noeviction"
    assert said == ([expected] if warns and user != "may not ask" else [])


async def test_what_json_cannot_say_is_refused_and_nothing_is_written(store: RedisStore) -> None:
    lease = await store.acquire("s", "ann", b"{}", TTL)
    with pytest.raises(StoreError, match="cannot be kept as JSON") as caught:
        await store.append(lease, 0, [token(0), Record(1, START_MS, (TextDelta(0, "\ud800"),))])
    assert not caught.value.may_retry
    assert await log_of(store) == []


async def test_a_closed_store_refuses_and_its_readers_are_let_go(own: Server) -> None:
    store = make(own.url)
    with anyio.fail_after(10):
        async with running(store):
            await store.acquire("s", "ann", b"{}", TTL)

            async def reader() -> None:
                with pytest.raises(NotFound):
                    await store.wait("s", -1)

            async with anyio.create_task_group() as group:
                group.start_soon(reader)
                await anyio.lowlevel.checkpoint()
                await store.close()
            with pytest.raises(HeadraceError, match="the store is closed"):
                await store.status("s")
