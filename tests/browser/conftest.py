"""Headless Chromium in front of real servers. What a page logs as an error fails its test, CSP violations included."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, BrowserContext, ConsoleMessage, Page, async_playwright, expect

from tests.e2e.processes import HEADRACE, ROOT, Server, running, serving

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "chromium")
PATIENCE_MS = 20_000
PICTURES = ROOT / ".screens"
"""What people may look at after a run; not under version control."""
expect.set_options(timeout=PATIENCE_MS)
# What a browser itself says of a request that failed, which is what the test is about.
_EXPECTED = re.compile(r"Failed to load resource|net::ERR_")


@pytest.fixture(scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        # Its sandbox does not work for root, as which continuous integration runs.
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield browser
        await browser.close()


class Visitor:
    """One browser profile: its pages share a session as tabs do, and what they log is looked at in the end."""

    def __init__(self, context: BrowserContext) -> None:
        self.context = context
        self.errors: list[str] = []
        context.set_default_timeout(PATIENCE_MS)
        context.on("console", self._logged)
        context.on("weberror", lambda error: self.errors.append(str(error.error)))

    def _logged(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning") and not _EXPECTED.search(message.text):
            self.errors.append(message.text)

    async def open(self, url: str) -> Page:
        page = await self.context.new_page()
        await page.goto(url)
        return page


@pytest.fixture
async def visitor(browser: Browser) -> AsyncIterator[Visitor]:
    async with visiting(browser) as visitor:
        yield visitor


@contextlib.asynccontextmanager
async def visiting(browser: Browser, **options: Any) -> AsyncIterator[Visitor]:
    """A profile of its own; `options` are those of a browser context."""
    context = await browser.new_context(permissions=["clipboard-read", "clipboard-write"], **options)
    visitor = Visitor(context)
    yield visitor
    await context.close()
    assert not visitor.errors


@contextlib.contextmanager
def mocking(
    directory: Path, *options: str, serve: Sequence[str] = (), models: str = "mock", **extra: str
) -> Iterator[Server]:
    """Headrace in front of `headrace mock` with these options; `models` is the name that it serves, or a pattern."""
    with running([HEADRACE, "mock", "--port", "0", *options], stderr=None) as mock:
        url = re.search(rb"http://\S+", mock.stdout.readline())
        assert url is not None
        extra = {"OPENAI_BASE_URL": f"{url[0].decode()}/v1", "OPENAI_API_KEY": "none", "HEADRACE_RETRIES": "0", **extra}
        file = directory / "headrace.yaml"
        file.write_text(f"model_list:\n- model_name: '{models}'\n  params: {{model: 'openai/{models}'}}\n")
        with serving(directory, "--config", str(file), *serve, **extra) as server:
            yield server


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace as somebody gets it who starts it without anything."""
    with serving(tmp_path_factory.mktemp("embedded")) as server:
        yield server


@pytest.fixture(scope="session")
def mocked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Headrace in front of a model that says 120 words, one every 15 ms; 4,000 if it is asked for something long."""
    folder = tmp_path_factory.mktemp("mocked")
    scenario = folder / "scenario.yaml"
    scenario.write_text("rules:\n- match: {prompt: long}\n  settings: {tokens: 4000}\n")
    options = ("--tokens", "120", "--gap", "15ms", "--ttft", "60ms", "--scenario", str(scenario))
    with mocking(folder, *options) as server:
        yield server
