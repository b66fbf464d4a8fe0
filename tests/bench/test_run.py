from __future__ import annotations

import asyncio
import math
import socket

import anyio
import pytest

from headrace.bench import connection
from headrace.bench.connection import Pool, clock
from headrace.bench.exchange import Exchange, Live
from headrace.bench.plan import Load
from headrace.bench.run import Run
from headrace.bench.shapes import SHAPES
from headrace.bench.shapes.sse import AnySSE, Description, parse_path
from headrace.bench.target import parse_target
from headrace.mock import MockServer, Settings, parse_faults
from tests.bench.loading import measured, plan_for, ran, unwatched
from tests.mock.client import comes_true
from tests.servers.scripted import DONE, END, Close, ScriptedServer, Wait, chat, chunk, frame, head, whole

pytestmark = pytest.mark.anyio

TOKENS = 12


async def test_every_request_is_sent_and_counted():
    async with MockServer(Settings(tokens=TOKENS)) as server:
        found = await measured(server.url, Load(num_prompts=50))
        assert (found.completed, found.failed, found.chunks, found.output_tokens) == (50, 0, 600, 600)
        assert (server.stats.requests, server.stats.completed) == (50, 50)
        assert found.samples["ttft"].count == found.samples["e2el"].count == found.counted == 50
        assert found.samples["itl"].count == 50 * (TOKENS - 1)
        assert found.duration > 0


async def test_so_many_requests_at_the_same_time_and_no_more():
    async with MockServer(Settings(tokens=TOKENS)) as server:
        found = await measured(server.url, Load(num_prompts=40), levels=(7,))
        assert found.most_running == 7
        assert server.stats.streams_max <= 7
        assert found.connections <= 7


async def test_without_keep_alive_every_request_has_its_own_connection():
    async with MockServer(Settings(tokens=TOKENS)) as server:
        found = await measured(server.url, Load(num_prompts=9, keep_alive=False))
        assert (found.completed, found.connections, server.stats.connections) == (9, 9, 9)


STRANGE = ["duplicate-frames", "comments", "crlf", "cr", "bom", "slow-drip:7,0s"]
FAILURES = {
    "refuse": "reset",
    "status:429": "http_429",
    "status:500": "http_500",
    "wrong-content-type": "not_a_stream",
    "hang-before-headers": "timeout_headers",
    "hang-before-first-token": "timeout_first_token",
    "hang-between-tokens": "timeout_stream",
    "garbage": "protocol",
    "long-line": "protocol",
    "error-frame": "error_event",
    "gzip": "protocol",
    "no-terminal": "incomplete",
    "no-done": "incomplete",
    "cut-frames": "incomplete",
    "cut-frames:3,how=reset": "incomplete",
    "cut-in-frame": "incomplete",
    "cut-in-frame:3,how=reset": "incomplete",
    "cut-in-character": "incomplete",
    "cut-bytes:1": "incomplete",
    "cut-bytes:100,how=reset": "incomplete",
}


@pytest.mark.parametrize("fault", STRANGE)
async def test_what_is_only_strange_is_no_failure(fault):
    async with MockServer(Settings(tokens=TOKENS), parse_faults(fault)) as server:
        found = await measured(server.url)
        assert (found.completed, found.problems) == (8, {})


@pytest.mark.parametrize(("fault", "kind"), FAILURES.items())
async def test_every_fault_is_counted_as_what_it_is(fault, kind):
    # Only what hangs takes this long; all else is over long before.
    load = Load(num_prompts=3, timeout=2 if "hang" in fault else 20)
    async with MockServer(Settings(tokens=TOKENS), parse_faults(fault)) as server:
        found = await measured(server.url, load)
        assert {kind: each.count for kind, each in found.problems.items()} == {kind: 3}
        assert (found.completed, found.failed, found.running) == (0, 3, 0)
        await comes_true(lambda: server.stats.streams_now == 0)


@pytest.mark.parametrize("shape", ["openai.responses", "anthropic.messages"])
async def test_the_other_shapes_of_model_servers_are_read_and_fail_alike(shape):
    asking = {"shape": SHAPES[shape], "output_len": TOKENS}
    async with MockServer(Settings(tokens=TOKENS, reasoning=2, tool_calls=1)) as server:
        found = await measured(server.url, **asking)
        assert (found.completed, found.failed, found.input_tokens) == (8, 0, 8 * 5)
        assert found.output_tokens == server.stats.tokens == found.chunks
    for fault in STRANGE:
        async with MockServer(Settings(tokens=TOKENS), parse_faults(fault)) as server:
            assert (await measured(server.url, **asking)).problems == {}
    for fault, kind in FAILURES.items():
        if "hang" not in fault:
            async with MockServer(Settings(tokens=TOKENS), parse_faults(fault)) as server:
                found = await measured(server.url, Load(num_prompts=3, timeout=20), **asking)
                assert {kind: each.count for kind, each in found.problems.items()} == {kind: 3}, fault


async def test_failures_and_successes_are_told_apart():
    faults = parse_faults("no-done:,first=2; status:503,first=1")
    async with MockServer(Settings(tokens=TOKENS), faults) as server:
        found = await measured(server.url, Load(num_prompts=20), levels=(1,))
        assert {kind: each.count for kind, each in found.problems.items()} == {"http_503": 1, "incomplete": 1}
        assert (found.completed, found.samples["ttft"].count) == (18, 18)


async def test_a_body_that_stays_open_after_its_terminal_event_is_left(monkeypatch):
    monkeypatch.setattr(connection, "_LINGER_S", 0.01)
    async with MockServer(Settings(tokens=TOKENS), parse_faults("keep-open")) as server:
        found = await measured(server.url)
        assert (found.completed, found.connections) == (8, 8)


async def test_warm_up_requests_are_sent_and_not_counted():
    async with MockServer(Settings(tokens=TOKENS)) as server:
        found = await measured(server.url, Load(num_prompts=6, warmup=5))
        assert (found.completed, found.chunks, found.live.chunks) == (6, 72, 72)
        assert server.stats.requests == 11


@pytest.mark.parametrize("warmup", [0, 3])
async def test_what_can_never_succeed_is_not_tried_again_and_again(warmup):
    async with MockServer(Settings(), parse_faults("status:401")) as server:
        found = await measured(server.url, Load(num_prompts=10_000, warmup=warmup), levels=(2,))
        assert found.hopeless.startswith("http_401: ")
        assert 1 <= found.problems["http_401"].count == server.stats.requests <= 4


async def test_a_server_that_is_not_there_is_refused_each_time():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
    found = await measured(url, Load(num_prompts=3))
    assert {kind: each.count for kind, each in found.problems.items()} == {"refused": 3}


async def test_a_run_for_a_time_ends_and_has_requests():
    async with MockServer(Settings(tokens=TOKENS)) as server:
        found = await measured(server.url, Load(num_prompts=None, duration=0.2))
        assert found.completed == server.stats.requests > 0
        assert found.aborted == 0


async def test_requests_of_a_rate_come_by_the_clock_and_tell_of_their_wait():
    async with MockServer(Settings(tokens=TOKENS)) as server:
        load = Load(num_prompts=30, request_rate=500, burstiness=math.inf)
        found = await measured(server.url, load, levels=(None,))
        assert (found.completed, found.samples["client_queue_time"].count) == (30, 30)
        assert found.duration >= 30 / 500


async def test_a_ramp_opens_every_place_in_the_end():
    async with MockServer(Settings(tokens=TOKENS)) as server:
        found = await measured(server.url, Load(num_prompts=60, ramp_up=0.05), levels=(5,))
        assert found.completed == 60
    async with MockServer(Settings(tokens=TOKENS)) as server:
        found = await measured(server.url, Load(num_prompts=60, ramp_up=0.05, request_rate=2_000), levels=(None,))
        assert found.completed == 60


async def test_series_take_turns_and_none_is_always_the_first():
    async with ScriptedServer() as server:
        server.script(head(), chunk(chat("a"), DONE), END)
        run = await ran(server.url, Load(num_prompts=3, rounds=2), models=("x", "y"), levels=(1,))
        assert [request.json()["model"] for request in server.requests] == [*"xxyy", *"yx"]
        assert [each.completed for each in run.measurements] == [3, 3]


async def test_each_series_has_prompts_of_its_own():
    async with ScriptedServer() as server:
        server.script(head(), chunk(chat("a"), DONE), END)
        await ran(server.url, Load(num_prompts=4), models=("x", "y"), levels=(1,))
        prompts = {request.json()["messages"][0]["content"] for request in server.requests}
        assert len(prompts) == 8


async def test_a_request_is_what_the_shape_and_the_caller_say():
    async with ScriptedServer() as server:
        server.script(head(), chunk(chat("a"), DONE), END)
        headers = {"Authorization": "Bearer k", "ACCEPT": "text/special", "X-Own": "1"}
        await ran(f"{server.url}?tenant=a", Load(num_prompts=1), headers=headers, output_len=9)
        (request,) = server.requests
        assert request.path == "/v1/chat/completions?tenant=a"
        assert request.json()["max_tokens"] == 9
        assert request.headers["authorization"] == "Bearer k"
        assert request.headers["accept"] == "text/special"
        assert request.headers["accept-encoding"] == "identity"
        assert request.headers["x-own"] == "1"
        assert request.headers["host"] == server.url.removeprefix("http://").removesuffix("/v1")


async def test_any_endpoint_can_be_measured():
    async with ScriptedServer() as server:
        server.script(head(), chunk(frame({"t": "a"}), frame({"t": ""}), frame({"t": "b"})), END)
        shape = AnySSE(Description(parse_path("t"), body='{"ask": "{{prompt}}"}'))
        found = await measured(f"{server.url}/any", Load(num_prompts=2), shape=shape, whole=True)
        assert (found.completed, found.chunks, found.counted) == (2, 4, 0)
        assert server.requests[0].path == "/v1/any"
        assert len(server.requests[0].json()["ask"].split()) == 5


async def test_a_stop_leaves_what_runs_and_keeps_what_there_is():
    never = anyio.Event()
    async with ScriptedServer() as server:
        server.choose = lambda request: (
            (head(), chunk(chat("a"), DONE), END) if len(server.requests) <= 3 else (head(), Wait(never))
        )
        run = Run(plan_for(server.url, Load(num_prompts=100)), unwatched)
        with anyio.fail_after(40):
            async with asyncio.TaskGroup() as tasks:
                going = tasks.create_task(run.go())
                await server.happened("request", 7)
                await comes_true(lambda: run.measurements[0].completed == 3)
                going.cancel()
            await server.happened("disconnected", 4)
        (found,) = run.measurements
        assert run.interrupted
        assert (found.completed, found.failed, found.aborted, found.running) == (3, 0, 4, 0)
        assert found.duration > 0


async def test_what_is_seen_meanwhile_is_the_series_and_its_time():
    seen: list[tuple[int, int]] = []
    async with MockServer(Settings(tokens=TOKENS, ttft=0.15)) as server:
        plan = plan_for(server.url, Load(num_prompts=4), models=("x", "y"))
        run = Run(plan, lambda number, measurement, seconds: seen.append((number, measurement.running)))
        with anyio.fail_after(40):
            await run.go()
    assert {number for number, _ in seen} == {0, 1}
    assert any(running for _, running in seen)
    timelines = [each.timeline for each in run.measurements]
    assert all(sum(point.chunks for point in timeline.points) == 4 * TOKENS for timeline in timelines)


async def carried(pool: Pool, url: str) -> Exchange:
    exchange = Exchange(SHAPES["openai.chat"].start(), clock(), Live())
    await pool.carry(exchange, f"POST / HTTP/1.1\r\nhost: {url}\r\ncontent-length: 2\r\n\r\n{{}}".encode())
    return exchange


@pytest.mark.parametrize("last", ["closes", "talks"])
async def test_an_idle_connection_that_ended_is_not_used_again(last):
    closing = anyio.Event()
    end = Close() if last == "closes" else b"HTTP/1.1 408 Timeout\r\n\r\n"
    async with ScriptedServer() as server:
        server.script(head(), chunk(chat("a"), DONE), END, Wait(closing), end)
        pool = Pool(parse_target(server.url, "/"))
        with anyio.fail_after(40):
            assert (await carried(pool, server.url)).reusable
            (idle,) = pool._idle
            closing.set()
            await comes_true(lambda: not idle.usable)
            assert (await carried(pool, server.url)).reusable
        assert pool.opened == 2
        pool.close()


async def test_a_connection_that_was_idle_for_long_is_not_used_again(monkeypatch):
    monkeypatch.setattr(connection, "_IDLE_S", 0.0)
    async with MockServer(Settings(tokens=1)) as server:
        found = await measured(server.url, Load(num_prompts=3), levels=(1,))
        assert (found.completed, found.connections) == (3, 3)


async def test_a_refusal_with_a_whole_body_leaves_its_connection_open():
    async with ScriptedServer() as server:
        server.script(whole(b'{"error": {"message": "slow down"}}', 429))
        found = await measured(server.url, Load(num_prompts=3), levels=(1,))
        assert (found.problems["http_429"].message, found.connections) == ("slow down", 1)
