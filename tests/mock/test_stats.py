from __future__ import annotations

import anyio
import pytest

from headrace.mock import MockServer, Settings, parse_faults
from tests.mock.client import Client, ask, comes_true, question, raw_request, stats

pytestmark = pytest.mark.anyio


async def test_every_answer_is_counted_with_its_end():
    async with MockServer(Settings(tokens=6)) as server:
        await ask(server, question())
        await ask(server, question(stream=False))
        await ask(server, question(mock={"fault": "cut-frames:2"}))
        await ask(server, question(mock={"fault": "status:500"}))
        await ask(server, b"wrong")
        found = await stats(server)
    assert found["requests"] == 4
    assert found["tokens_sent"] == 6 + 6 + 2
    assert found["streams"] == {"now": 0, "max": 1}
    assert found["ended"] == {"completed": 2, "client_closed": 0, "by_fault": {"cut-frames": 1, "status": 1}}
    assert found["faults"] == {"cut-frames": 1, "status": 1}


async def test_a_client_that_leaves_is_counted_with_what_was_sent():
    async with MockServer(Settings(tokens=6)) as server:
        hang = question(mock={"fault": "hang-between-tokens:4"})
        await ask(server, hang, until=lambda reply: len(reply.frames) == 5)
        await comes_true(lambda: server.stats.client_closed == 1)
        found = await stats(server)
    assert found["client_closed_after_tokens"] == [4]
    assert found["tokens_sent"] == 4


async def test_streams_at_the_same_time_are_counted():
    async with MockServer() as server, anyio.create_task_group() as clients:
        hang = question(mock={"fault": "hang-before-first-token"})
        for _ in range(5):
            clients.start_soon(lambda: ask(server, hang))
        await comes_true(lambda: server.stats.streams_now == 5)
        assert (await stats(server))["connections"]["now"] == 6
        clients.cancel_scope.cancel()
    assert server.stats.streams_max == 5


async def test_a_client_that_does_not_read_stops_the_writing():
    async with MockServer(Settings(tokens=1_000_000)) as server, Client(server) as client:
        client.pause()
        client.send(raw_request(question()))
        await comes_true(lambda: server.blocked == 1)
        assert server.stats.streams_now == 1
        client.resume()
        with anyio.fail_after(40):
            while not (await client.more()).endswith(b"0\r\n\r\n"):
                pass
        assert server.stats.tokens == 1_000_000


async def test_closing_ends_every_answer_at_once():
    async with MockServer(Settings(), parse_faults("hang-between-tokens:1")) as server, Client(server) as client:
        await client.ask(lambda reply: len(reply.frames) == 2, raw_request(question()))
        server.close()
        await comes_true(lambda: server.stats.streams_now == 0)


async def test_it_is_always_well():
    async with MockServer(Settings(), parse_faults("status:500")) as server:
        assert (await ask(server, method="GET", path="/health")).status == 200
        assert (await stats(server))["requests"] == 0
