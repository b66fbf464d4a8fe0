"""Servers that go away, hang, come back, or are replaced: what stores on them say meanwhile, and what is there then."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

import anyio
import pytest

from headrace.errors import SequenceGap, StoreUnavailable
from headrace.events import Record
from headrace.stores.redis import RedisStore, health
from tests.stores.contract import EVERYTHING, TTL, Clock, end_of_stream, tokens
from tests.stores.redis.proxy import Proxy, proxying
from tests.stores.redis.rigs import make, running
from tests.stores.redis.servers import VALKEY, Server, cluster, free_port, serving

pytestmark = pytest.mark.anyio

PATIENT = 30.0
IMPATIENT = 0.3


@pytest.fixture(autouse=True)
def looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often: nobody has time here."""
    monkeypatch.setattr(health, "LOOK", 0.02)
    monkeypatch.setattr(health, "LOOK_AGAIN", 0.02)
    monkeypatch.setattr(health, "TIMELY", 0.2)


async def until(condition: Callable[[], bool]) -> None:
    with anyio.fail_after(10):
        while not condition():  # noqa: ASYNC110 - the store tells nobody
            await anyio.sleep(0.01)


class Own:
    """A server that a test may end and start again; what it has is in a file."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.stack = ExitStack()
        self.server = self.start()

    def start(self) -> Server:
        options = ("--appendonly", "yes", "--appendfsync", "always")
        self.server = self.stack.enter_context(serving(VALKEY, self.directory, *options, port=self.port))
        return self.server

    def end(self) -> None:
        self.stack.close()

    def signal(self, number: int) -> None:
        os.kill(self.server.pid, number)


@pytest.fixture
def own(tmp_path: Path) -> Iterator[Own]:
    own = Own(tmp_path / "own")
    yield own
    own.end()


@pytest.fixture
async def nodes(anyio_backend: str, own: Own) -> AsyncIterator[tuple[RedisStore, RedisStore]]:
    """A patient one, and one whose readers wait for a third of a second."""
    stores = make(own.server.url, patience=PATIENT), make(own.server.url, patience=IMPATIENT)
    async with running(*stores):
        yield stores


class Follower:
    def __init__(self) -> None:
        self.got: list[Record] = []
        self.problem: Exception | None = None

    def take(self, records: Sequence[Record]) -> None:
        self.got += records

    def lost(self, problem: Exception) -> None:
        self.problem = problem


@pytest.mark.promise("P4", "P28")
async def test_after_a_restart_the_log_goes_on_where_it_was_and_readers_are_told(
    own: Own, nodes: tuple[RedisStore, RedisStore]
) -> None:
    store, _ = nodes
    lease = await store.acquire("s", "ann", b"{}", TTL)
    await store.append(lease, 0, tokens(0, 3))
    other = make(own.server.url)
    async with running(other):
        follower = Follower()
        await other._feeds.open("s")
        assert other.follow("s", 2, follower) is not None
        own.end()
        await until(lambda: store.problem is not None and other.problem is not None)
        with pytest.raises(StoreUnavailable, match="cannot be reached"):
            await store.append(lease, 3, tokens(3, 5))
        own.start()
        await store.recovered("s")
        assert store.problem is None
        await store.append(lease, 3, tokens(3, 5))
        await store.finish(lease, end_of_stream(5))
        await until(lambda: len(follower.got) == 3)
        assert follower.got == [*tokens(3, 5), end_of_stream(5)]
        assert await other.read("s", -1, EVERYTHING) == [*tokens(0, 5), end_of_stream(5)]


@pytest.mark.promise("P24")
async def test_while_a_server_is_away_everybody_is_told_at_once(own: Own, nodes: tuple[RedisStore, RedisStore]) -> None:
    store, _ = nodes
    own.signal(signal.SIGSTOP)
    await until(lambda: store.problem is not None)
    assert "does not answer in time" in str(store.problem)
    with anyio.fail_after(1):  # and not after the patience of a connection
        for step in (store.status("s"), store.claim("key", "one", TTL), store.acquire("s", "ann", b"{}", TTL)):
            with pytest.raises(StoreUnavailable, match="does not answer in time") as caught:
                await step
            assert caught.value.retry_after
    own.signal(signal.SIGCONT)
    await until(lambda: store.problem is None)
    await store.acquire("s", "ann", b"{}", TTL)


@pytest.mark.promise("P5")
async def test_readers_are_let_go_when_it_takes_too_long_and_patient_ones_are_not(
    own: Own, nodes: tuple[RedisStore, RedisStore]
) -> None:
    patient, impatient = nodes
    lease = await patient.acquire("s", "ann", b"{}", TTL)
    await patient.append(lease, 0, tokens(0, 1))
    follower, staying = Follower(), Follower()
    for store, each in ((impatient, follower), (patient, staying)):
        await store._feeds.open("s")
        assert store.follow("s", 0, each) is not None
    own.signal(signal.SIGSTOP)

    async def wait() -> None:
        with pytest.raises(StoreUnavailable):
            await impatient.wait("s", 0)
        with pytest.raises(StoreUnavailable):
            await impatient.recovered("s")

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(wait)
    await until(lambda: follower.problem is not None)
    assert isinstance(follower.problem, StoreUnavailable) and follower.got == []
    own.signal(signal.SIGCONT)
    await until(lambda: patient.problem is None and impatient.problem is None)
    await patient.append(lease, 1, tokens(1, 2))
    await until(lambda: bool(staying.got))
    assert staying.problem is None and staying.got == tokens(1, 2)
    assert await impatient.read("s", 0, EVERYTHING) == tokens(1, 2)


async def test_a_password_that_is_changed_is_an_outage_that_says_what_to_do(own: Own) -> None:
    own.server.ask("ACL", "SETUSER", "app", "on", ">right", "~*", "&*", "+@all")
    store = make(own.server.url.replace("redis://", "redis://app:right@"))
    with anyio.fail_after(15):
        async with running(store):
            lease = await store.acquire("s", "ann", b"{}", TTL)
            own.server.ask("ACL", "SETUSER", "app", "resetpass", ">other")
            own.server.ask("CLIENT", "KILL", "USER", "app")
            await until(lambda: store.problem is not None)
            with pytest.raises(StoreUnavailable, match="does not take this user and password") as caught:
                await store.append(lease, 0, tokens(0, 1))
            assert (caught.value.error_code, caught.value.may_retry) == ("store_misconfigured", False)
            own.server.ask("ACL", "SETUSER", "app", ">right")
            await until(lambda: store.problem is None)
            await store.append(lease, 0, tokens(0, 1))


@pytest.fixture
async def pair(anyio_backend: str, tmp_path: Path) -> AsyncIterator[tuple[Server, Server, Proxy, RedisStore]]:
    """A primary and its replica, with an address that leads to the primary."""
    with ExitStack() as stack:
        at_once = ("--repl-diskless-sync-delay", "0")
        primary = stack.enter_context(serving(VALKEY, tmp_path / "primary", *at_once, port=free_port()))
        replica = stack.enter_context(
            serving(VALKEY, tmp_path / "replica", "--replicaof", f"127.0.0.1 {primary.port}", port=free_port())
        )
        await until(lambda: "master_link_status:up" in replica.ask("INFO", "replication"))
        async with proxying(primary) as proxy:
            store = make(proxy.url, max_stream_bytes=2**20)
            async with running(store):
                yield primary, replica, proxy, store


def fail_over(primary: Server, replica: Server, proxy: Proxy) -> None:
    os.kill(primary.pid, signal.SIGKILL)
    replica.ask("REPLICAOF", "NO", "ONE")
    proxy.lead_to(replica)


@pytest.mark.promise("P4", "P28")
@pytest.mark.parametrize("last", ["tokens", "end"])
async def test_what_a_new_primary_was_not_sent_is_appended_again(
    pair: tuple[Server, Server, Proxy, RedisStore], last: str
) -> None:
    primary, replica, proxy, store = pair
    lease = await store.acquire("s", "ann", b"{}", TTL)
    await store.append(lease, 0, tokens(0, 3))
    assert primary.ask("WAIT", 1, 5000) == 1
    replica.ask("REPLICAOF", "NO", "ONE")  # it hears no more
    await store.append(lease, 3, tokens(3, 6))
    await store.append(lease, 6, tokens(6, 7))
    other = make(proxy.url)
    async with running(other):
        seen = await other.read("s", -1, EVERYTHING)
        assert seen == tokens(0, 7)
        fail_over(primary, replica, proxy)
        if last == "tokens":
            await store.append(lease, 7, tokens(7, 9))
            await store.finish(lease, end_of_stream(9))
        else:
            await store.finish(lease, end_of_stream(7))
        whole = await other.read("s", -1, EVERYTHING)
        assert list(whole[:7]) == seen
        assert whole[-1].terminal is not None
        assert [record.seq for record in whole] == list(range(len(whole)))


async def test_what_is_not_known_any_more_ends_the_stream(pair: tuple[Server, Server, Proxy, RedisStore]) -> None:
    primary, replica, proxy, store = pair
    lease = await store.acquire("s", "ann", b"{}", TTL)
    await store.append(lease, 0, tokens(0, 3))
    assert primary.ask("WAIT", 1, 5000) == 1
    replica.ask("REPLICAOF", "NO", "ONE")
    for first in range(3, 1200, 100):
        await store.append(lease, first, tokens(first, first + 100))
    fail_over(primary, replica, proxy)
    with pytest.raises(SequenceGap, match="has 3 records"):
        await store.append(lease, 1203, tokens(1203, 1204))


@pytest.mark.promise("P3")
async def test_in_a_cluster_the_streams_of_other_servers_go_on_begin_and_are_taken_over_while_one_is_away(
    tmp_path: Path,
) -> None:
    clock = Clock()
    with cluster(VALKEY, tmp_path) as servers, anyio.fail_after(30):
        for server in servers:
            server.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
        store = make(servers[0].url, now=clock)
        async with running(store):
            ids = [f"s{number}" for number in range(60)]
            leases = [await store.acquire(each, "ann", b"{}", TTL) for each in ids]
            os.kill(servers[2].pid, signal.SIGSTOP)
            await until(lambda: not all(map(store.serves, ids)))
            assert store.problem is None
            served = set(filter(store.serves, ids))
            appended: set[str] = set()
            for lease in leases:
                with suppress(StoreUnavailable):
                    await store.append(lease, 0, tokens(0, 1))
                    appended.add(lease.id)
            assert served <= appended < set(ids)
            for server in servers[:2]:
                server.age(TTL + 1)
            await clock.advance(TTL + 1)
            assert {info.id for info in await store.abandoned(100)} == served
            while await store.tidy():
                pass

            os.kill(servers[2].pid, signal.SIGCONT)
            await until(lambda: all(map(store.serves, ids)))
            servers[2].age(TTL + 1)
            # Producers of the others may be alive, and have had no time to say so.
            assert {info.id for info in await store.abandoned(100)} == appended
            for server in store._servers.current:
                server._back -= TTL + 1
            assert {info.id for info in await store.abandoned(100)} == set(ids)


async def test_a_cluster_of_which_nothing_serves_is_a_problem(tmp_path: Path) -> None:
    with cluster(VALKEY, tmp_path) as servers, anyio.fail_after(30):
        store = make(servers[0].url)
        async with running(store):
            for server in servers:
                os.kill(server.pid, signal.SIGSTOP)
            await until(lambda: store.problem is not None)
            for server in servers:
                os.kill(server.pid, signal.SIGCONT)
            await until(lambda: store.problem is None)
