"""The chat in a real browser: asking, stopping, being cut off, reloading, and what others see meanwhile."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Page, Route, expect

from headrace.mock import answer_text
from tests.browser.conftest import Visitor, mocking, visiting
from tests.e2e.processes import PATIENCE_S, Server

pytestmark = pytest.mark.anyio

QUESTION = "Tell me of a mill"
LONG = "Tell me a long story"
KEY = "alice-s3cret-key"


async def ask(page: Page, text: str = QUESTION) -> None:
    await page.get_by_role("textbox", name="Message").fill(text)
    await page.get_by_role("button", name="Send").click()


async def shown(page: Page) -> str:
    """The text of the last answer."""
    return await page.locator(".turn .prose").last.inner_text()


async def until_words(page: Page, count: int = 1) -> None:
    await page.wait_for_function(
        "count => (document.querySelector('.turn:last-child .prose')?.textContent ?? '').split(' ').length >= count",
        arg=count,
    )


async def until_over(page: Page, state: str = "finished") -> None:
    await expect(page.locator(".turn:last-child .state").first).to_have_attribute("data-state", state)
    await expect(page.locator(".turn:last-child .turn-foot")).to_be_visible()


def fetch(server: Server, path: str, key: str | None = None) -> Any:
    request = urllib.request.Request(server.url + path)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    with urllib.request.urlopen(request, timeout=PATIENCE_S) as answer:
        return json.load(answer)


async def stream_id(page: Page) -> str:
    link = page.locator(".live").get_by_role("link", name="Inspect")
    await expect(link).to_be_visible()
    return str(await link.get_attribute("href")).rsplit("/", 1)[1]


async def test_the_embedded_model_answers_and_can_be_asked_again(visitor: Visitor, embedded: Server) -> None:
    page = await visitor.open(embedded.url)
    await expect(page.get_by_role("combobox", name="Model")).to_have_value("smollm2-135m")
    await page.get_by_text("Settings").click()
    await page.get_by_label("Longest answer, in tokens").fill("24")
    await ask(page, "Name a river.")
    await until_over(page)
    assert await shown(page)
    await ask(page, "And another?")
    await until_over(page)
    assert await page.locator(".turn").count() == 2
    asked = fetch(embedded, f"/v1/streams/{await stream_id(page)}")
    assert asked["usage"]["output"] <= 24


async def test_an_answer_is_shown_whole_with_its_figures(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page)
    await until_over(page)
    assert await shown(page) == answer_text(0, QUESTION, 120)
    for figure in ("ttft", "rate", "tokens", "gap", "usage"):
        assert re.search(r"\d", await page.locator(f"[data-figure={figure}]").inner_text()), figure
    await page.get_by_role("button", name="Copy", exact=True).click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    assert await page.evaluate("navigator.clipboard.readText()") == answer_text(0, QUESTION, 120)


async def test_stop_stops_the_model_and_what_it_said_stays(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page, LONG)
    await until_words(page, 5)
    await page.get_by_role("button", name="Stop").click()
    await until_over(page, "cancelled")
    state = fetch(mocked, f"/v1/streams/{await stream_id(page)}")
    assert state["state"] == "cancelled" and answer_text(0, LONG, 4000).startswith(state["text"])
    assert (await shown(page)).strip() == state["text"].strip()
    await page.get_by_role("button", name="Retry").click()
    await until_words(page, 5)
    assert await page.locator(".turn").count() == 1
    await page.get_by_role("button", name="Stop").click()
    await until_over(page, "cancelled")


async def test_a_reload_in_the_middle_of_an_answer_goes_on_with_it(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page)
    await until_words(page, 5)
    before = await stream_id(page)
    await page.get_by_role("textbox", name="Message").fill("half a thought")
    await page.reload()
    await until_over(page)
    assert await shown(page) == answer_text(0, QUESTION, 120)
    assert await stream_id(page) == before
    assert await page.get_by_role("textbox", name="Message").input_value() == "half a thought"
    await page.reload()
    await until_over(page)
    assert await shown(page) == answer_text(0, QUESTION, 120)


async def test_a_reload_before_the_answer_has_a_name_asks_only_once(browser: Browser, tmp_path: Path) -> None:
    async def lose(route: Route) -> None:
        await route.fetch()  # the server is asked, and the page does not learn of it
        await route.abort()

    with mocking(tmp_path, "--tokens", "5") as server:
        async with visiting(browser) as visitor:
            page = await visitor.open(server.url)
            await page.route("**/v1/streams", lose)
            await ask(page)
            await expect(page.locator(".turn .state").first).to_have_attribute("data-state", "reconnecting")
            await page.unroute_all(behavior="ignoreErrors")
            await page.reload()
            await until_over(page)
            assert len(fetch(server, "/v1/streams")["data"]) == 1


@pytest.mark.promise("P4")
async def test_cut_my_network_loses_nothing_and_shows_nothing_twice(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page)
    await until_words(page, 5)
    await page.get_by_role("button", name="Cut my network").click()
    await expect(page.get_by_role("button", name="Cut, back in")).to_be_visible()
    await expect(page.get_by_text("Network cut")).to_be_visible()
    await expect(page.locator(".turn .state").first).to_have_attribute("data-state", "offline")
    await until_over(page)
    assert await shown(page) == answer_text(0, QUESTION, 120)
    await expect(page.locator(".check")).to_contain_text("nothing lost, nothing twice")
    await expect(page.locator("[data-figure=resumes]")).to_have_text("1×")


async def test_a_network_that_goes_away_and_comes_back_is_survived(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page)
    await until_words(page, 5)
    await visitor.context.set_offline(True)
    await expect(page.locator(".net")).to_have_text("Offline")
    await visitor.context.set_offline(False)
    await until_over(page)
    assert await shown(page) == answer_text(0, QUESTION, 120)


async def test_a_second_viewer_and_a_tab_see_the_same_stream(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page)
    await page.get_by_role("button", name="Second viewer").click()
    async with visitor.context.expect_page() as opened:
        await page.get_by_role("button", name="Open in a tab").click()
    tab = await opened.value
    await until_over(page)
    whole = answer_text(0, QUESTION, 120)
    await expect(page.locator(".viewer .prose")).to_have_text(whole)
    await expect(tab.locator(".watch .prose")).to_have_text(whole)
    await page.get_by_role("button", name="Close viewer").click()
    await expect(page.locator(".viewer .prose")).to_have_count(0)


async def test_stop_in_another_tab_ends_the_answer_here(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page, LONG)
    await until_words(page, 3)
    tab = await visitor.open(f"{mocked.url}/#/watch/{await stream_id(page)}")
    await tab.get_by_role("button", name="Stop").click()
    await until_over(page, "cancelled")
    await expect(tab.locator(".watch .state")).to_have_attribute("data-state", "cancelled")
    assert await shown(page) == await tab.locator(".watch .prose").inner_text()


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


async def test_a_new_chat_begins_empty_and_an_example_asks(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page)
    await until_over(page)
    await page.get_by_role("button", name="New chat").click()
    await expect(page.get_by_role("heading", name="Every answer is a stream that lasts")).to_be_visible()
    await page.get_by_role("button", name="Write one paragraph about a river.").click()
    await until_over(page)
    assert await page.locator(".turn").count() == 1


async def test_the_keyboard_is_enough(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await expect(page.get_by_role("combobox", name="Model")).to_have_value("mock")
    await page.keyboard.press("Tab")
    assert await page.evaluate("document.activeElement.textContent") == "Skip to the content"
    seen = []
    for _ in range(20):
        await page.keyboard.press("Tab")
        seen.append(await page.evaluate("document.activeElement.id || document.activeElement.textContent"))
        if seen[-1] == "message":
            break
    assert seen[-1] == "message", seen
    await page.keyboard.type("a long one")
    await page.keyboard.press("Shift+Enter")
    await page.keyboard.type("two")
    await page.keyboard.press("Enter")
    assert (await page.locator(".question").inner_text()).endswith("a long one\ntwo")
    await until_words(page, 3)
    for _ in range(3):
        await page.keyboard.press("Tab")
        if await page.evaluate("document.activeElement.textContent") == "Stop":
            break
    await page.keyboard.press("Enter")
    await until_over(page, "cancelled")
    assert await page.evaluate("document.activeElement.id") == "message"


async def test_a_screen_reader_hears_what_happens_and_not_every_token(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await page.evaluate(
        """() => { window.heard = []; new MutationObserver(() => heard.push(announcer.textContent))
          .observe(document.getElementById('announcer'), { childList: true, characterData: true, subtree: true }); }"""
    )
    await ask(page)
    await until_over(page)
    await page.wait_for_function("() => heard.includes('The answer is complete.')")
    heard = [text for text in await page.evaluate("heard") if text]
    assert "The answer has begun." in heard and len(heard) < 6
    assert await page.get_by_role("log").get_attribute("aria-busy") == "false"


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


async def test_a_conversation_tells_the_model_what_was_said(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    asked: list[Any] = []
    page.on("request", lambda request: request.method == "POST" and asked.append(request.post_data_json))
    await page.get_by_text("Settings").click()
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.keyboard.press("Escape")
    await ask(page)
    await until_over(page)
    said = await shown(page)
    await page.reload()
    await ask(page, "And then?")
    await until_over(page)
    assert asked[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "And then?"},
    ]
