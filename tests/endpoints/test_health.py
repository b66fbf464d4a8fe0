"""Liveness and readiness."""

import anyio
import pytest

from headrace.app import create_app
from tests.endpoints.serving import Exchange, ScriptedProvider, configured, scope, serving

pytestmark = pytest.mark.anyio


async def test_a_running_server_is_alive_and_ready() -> None:
    async with serving() as server:
        alive, ready = [await server.ask("GET", path) for path in ("/health", "/health/ready")]
    assert (alive.status, alive.json()) == (200, {"status": "ok"})
    assert (ready.status, ready.json()) == (200, {"status": "ready"})


async def test_a_load_balancer_may_ask_with_head() -> None:
    async with serving() as server:
        for path in ("/health", "/health/ready"):
            assert (await server.ask("HEAD", path)).status == 200


async def test_a_server_that_takes_no_streams_is_alive_but_not_ready() -> None:
    app = create_app(configured(), providers=lambda *_: ScriptedProvider())
    with anyio.fail_after(5):
        for path, status in (("/health", 200), ("/health/ready", 503)):
            exchange = Exchange(app, scope("GET", path, {"host": "localhost"}), [b""])
            await exchange.run()
            assert exchange.status == status
