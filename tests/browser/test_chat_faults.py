"""What goes wrong around the chat: each has words that a person understands, and nothing typed is lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from headrace.mock import answer_text
from tests.browser.chatting import QUESTION, ask, shown, until_over, until_words
from tests.browser.conftest import Visitor, mocking, visiting
from tests.e2e.processes import Server

pytestmark = pytest.mark.anyio

KEY = "alice-s3cret-key"


async def test_a_network_that_goes_away_and_comes_back_is_survived(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page)
    await until_words(page, 5)
    await visitor.context.set_offline(True)
    await expect(page.locator(".net")).to_have_text("Offline")
    await visitor.context.set_offline(False)
    await until_over(page)
    assert await shown(page) == answer_text(0, QUESTION, 120)


async def test_a_server_that_dies_leaves_what_it_said_and_says_so_when_it_is_back(
    browser: Browser, tmp_path: Path
) -> None:
    options = ("--tokens", "400", "--gap", "20ms")
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
    async with visiting(browser) as visitor:
        with mocking(tmp_path / "one", *options) as server:
            page = await visitor.open(server.url)
            await ask(page)
            await until_words(page, 10)
            had = len(await shown(page))
            server.kill()
            await expect(page.locator(".turn .state").first).to_have_attribute("data-state", "reconnecting")
        await page.get_by_role("textbox", name="Message").fill("still here")
        port = server.url.rsplit(":", 1)[1]
        with mocking(tmp_path / "two", *options, serve=("--port", port)):
            await until_over(page, "failed")
            await expect(page.locator(".turn .note")).to_contain_text("no longer has this stream")
            assert len(await shown(page)) >= had
            assert await page.get_by_role("textbox", name="Message").input_value() == "still here"


async def test_the_key_is_asked_for_kept_in_the_tab_and_never_in_an_address(browser: Browser, tmp_path: Path) -> None:
    extra = {"HEADRACE_API_KEYS": f"alice={KEY}"}
    with mocking(tmp_path, "--tokens", "60", "--gap", "20ms", **extra) as server:
        async with visiting(browser) as visitor:
            addresses: list[str] = []
            visitor.context.on("request", lambda request: addresses.append(request.url))
            page = await visitor.open(server.url)
            await page.get_by_label("API key").last.fill("wrong")
            await page.get_by_role("button", name="Use key").click()
            await expect(page.get_by_text("This API key is not known here.").first).to_be_visible()
            await page.get_by_label("API key").last.fill(KEY)
            await page.get_by_role("button", name="Use key").click()
            await expect(page.get_by_role("combobox", name="Model")).to_have_value("mock")
            await ask(page)
            await page.get_by_role("button", name="Second viewer").click()
            async with visitor.context.expect_page() as opened:
                await page.get_by_role("button", name="Open in a tab").click()
            tab = await opened.value
            whole = answer_text(0, QUESTION, 60)
            for place in (page.locator(".turn .prose"), page.locator(".viewer .prose"), tab.locator(".watch .prose")):
                await expect(place).to_have_text(whole)
            assert await tab.get_by_role("button", name="Stop").count() == 0  # a token only reads
            await page.reload()
            await expect(page.get_by_role("combobox", name="Model")).to_have_value("mock")
            assert not [address for address in addresses if KEY in address]


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("status:429,retry-after=7", "Too much at once"),
        ("status:500", "The model server failed"),
        ("status:401", "The model server failed"),
        ("garbage:5", "The model server failed"),
        ("cut-frames:5", "The model server failed"),
    ],
)
async def test_what_goes_wrong_is_said_in_words_and_asked_again(
    browser: Browser, tmp_path: Path, fault: str, said: str
) -> None:
    with mocking(tmp_path, "--tokens", "20", "--fault", fault) as server:
        async with visiting(browser) as visitor:
            page = await visitor.open(server.url)
            await ask(page)
            await until_over(page, "failed")
            await expect(page.locator(".turn .note")).to_contain_text(said)
            await expect(page.get_by_role("button", name="Retry")).to_be_visible()
            assert QUESTION in await page.locator(".question").inner_text()


async def test_a_server_that_is_away_is_said_to_be_and_asked_again(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.context.new_page()
    await page.route("**/v1/models", lambda route: route.abort())
    await page.goto(mocked.url)
    await expect(page.get_by_role("alert")).to_contain_text("The server cannot be reached")
    await page.get_by_role("textbox", name="Message").fill("kept")
    await page.unroute_all()
    await page.get_by_role("button", name="Try again").click()
    await expect(page.get_by_role("alert")).to_be_hidden()
    await expect(page.get_by_role("combobox", name="Model")).to_have_value("mock")
    assert await page.get_by_role("textbox", name="Message").input_value() == "kept"


@pytest.mark.parametrize(
    ("status", "said"),
    [(403, "The server refuses"), (413, "That is too long"), (429, "Too much at once"), (500, "The server failed")],
)
async def test_what_the_server_refuses_is_said_with_its_own_reason(
    visitor: Visitor, mocked: Server, status: int, said: str
) -> None:
    refusal = {"error": {"code": "some_code", "message": "This is the reason.", "retryable": False}}
    page = await visitor.open(mocked.url)
    await page.route("**/v1/streams", lambda route: route.fulfill(status=status, json=refusal))
    await ask(page)
    await until_over(page, "failed")
    note = page.locator(".turn .note")
    await expect(note).to_contain_text(said)
    await expect(note).to_contain_text("This is the reason.")
    await page.unroute_all()
    await page.get_by_role("button", name="Retry").click()
    await until_over(page)
    assert await shown(page) == answer_text(0, QUESTION, 120)
