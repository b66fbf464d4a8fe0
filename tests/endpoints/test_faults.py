"""Deadlines, retries and limits as a caller meets them, each as its model is configured."""

from typing import Any

import anyio
import anyio.lowlevel
import pytest

from headrace.config import Model
from headrace.errors import RateLimited, UpstreamUnavailable
from tests.endpoints.serving import (
    ALICE,
    ASKED,
    BOB,
    CHAT,
    FAR,
    HELLO,
    OPENING,
    STREAMED,
    STREAMS,
    TWO_KEYS,
    Exchange,
    Server,
    serving,
    text,
)

pytestmark = pytest.mark.anyio


def demo(**settings: Any) -> tuple[Model, ...]:
    return (Model(**{"name": "demo", "upstream_model": "upstream-model", "retries": 0, **FAR, **settings}),)


async def over(server: Server, exchange: Exchange, seconds: float) -> Exchange:
    """Let time pass, in steps, until the answer is there."""
    for _ in range(int(seconds * 4)):
        for _ in range(20):
            await anyio.lowlevel.checkpoint()
        if exchange.over:
            return exchange
        server.clock.advance(0.25)
    return await exchange.end()


@pytest.mark.promise("P20")
@pytest.mark.parametrize("asked", [ASKED, STREAMED], ids=["whole", "streamed"])
@pytest.mark.parametrize(
    ("setting", "code", "retry"),
    [("ttft_timeout", "upstream_ttft_timeout", None), ("total_timeout", "upstream_total_timeout", "false")],
)
async def test_a_deadline_before_the_first_frame_is_a_504(
    asked: dict[str, Any], setting: str, code: str, retry: str | None
) -> None:
    async with serving([anyio.Event()], models=demo(**{setting: 5.0})) as server:
        answer = await over(server, server.begin("POST", CHAT, asked), 7)
        assert (answer.status, answer.error_fields()["code"]) == (504, code)
        assert f"({setting})" in answer.error_fields()["message"]
        assert answer.headers.get("x-should-retry") == retry
        assert server.provider.closed == 1


@pytest.mark.promise("P20", "P5")
async def test_a_model_that_hangs_in_the_middle_is_an_error_in_the_stream() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()], models=demo(stream_idle_timeout=5)) as server:
        answer = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        await over(server, answer, 7)
        assert answer.aborted and b'"code":"upstream_idle_timeout"' in answer.body and b"[DONE]" not in answer.body


@pytest.mark.promise("P21", "P13")
@pytest.mark.parametrize("asked", [ASKED, STREAMED], ids=["whole", "streamed"])
async def test_a_caller_sees_nothing_of_a_retry_that_helped(asked: dict[str, Any]) -> None:
    down = [UpstreamUnavailable("Down.")]
    busy = [RateLimited("Busy.", retry_after=2)]
    async with serving(down, busy, HELLO, models=demo(retries=2)) as server:
        answer = await over(server, server.begin("POST", CHAT, asked), 9)
        assert answer.status == 200 and answer.complete and b"retrying" not in answer.body
        assert len(server.provider.asked) == 3
        log = await server.ask("GET", f"{STREAMS}/{answer.stream_id}/events?format=native")
        assert [frame.data.count(b'"retrying"') for frame in log.frames()][:4] == [0, 1, 1, 0]


@pytest.mark.promise("P21")
async def test_the_last_failure_is_the_answer() -> None:
    async with serving([UpstreamUnavailable("Down.")], models=demo(retries=2)) as server:
        answer = await over(server, server.begin("POST", CHAT, STREAMED), 9)
        assert answer.status == 503 and answer.error_fields()["code"] == "upstream_unavailable"
        assert len(server.provider.asked) == 3


@pytest.mark.promise("P24")
@pytest.mark.parametrize("path", [CHAT, STREAMS])
async def test_one_key_at_its_limit_leaves_the_others_alone(path: str) -> None:
    gate = anyio.Event()
    async with serving([[OPENING], gate], HELLO, api_keys=TWO_KEYS, max_running_per_key=1) as server:
        await server.open("POST", CHAT, STREAMED, key=ALICE)
        refused = await server.ask("POST", path, ASKED, key=ALICE)
        assert refused.status == 429 and refused.headers["retry-after"] == "1"
        assert refused.error_fields()["code"] == "too_many_streams"
        assert "max_running_per_key" in refused.error_fields()["message"]
        assert (await server.ask("POST", path, ASKED, key=BOB)).status in (200, 201)


@pytest.mark.promise("P24")
async def test_a_reader_too_many_is_a_503_that_names_the_limit() -> None:
    async with serving([[OPENING], anyio.Event()], max_readers_per_stream=1) as server:
        first = await server.open("POST", CHAT, STREAMED)
        refused = await server.ask("GET", f"{STREAMS}/{first.stream_id}/events")
        assert refused.status == 503 and refused.error_fields()["code"] == "too_many_readers"
        assert "max_readers_per_stream" in refused.error_fields()["message"]
