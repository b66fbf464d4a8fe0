"""The chat in a real browser: asking, stopping, reloading, being cut off, and what others see meanwhile."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Route, expect

from headrace.mock import answer_text
from tests.browser.chatting import LONG, QUESTION, ask, fetch, shown, stream_id, until_over, until_words
from tests.browser.conftest import Visitor, mocking, visiting
from tests.e2e.processes import Server, eventually

pytestmark = pytest.mark.anyio


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


async def test_where_any_model_is_served_its_name_is_typed_and_kept(visitor: Visitor, tmp_path: Path) -> None:
    with mocking(tmp_path, "--tokens", "5", models="*") as server:
        page = await visitor.open(server.url)
        name = page.get_by_role("textbox", name="Model")
        await ask(page)
        await expect(name).to_be_focused()
        await expect(page.get_by_role("textbox", name="Message")).to_have_value(QUESTION)
        await name.fill("gpt-4o-mini")
        await page.get_by_role("button", name="Send").click()
        await until_over(page)
        state = fetch(server, f"/v1/streams/{await stream_id(page)}")
        assert state["model"] == "gpt-4o-mini" and state["cost_usd"] > 0
        await expect(page.locator("[data-figure=cost]")).to_contain_text("$")
        await page.reload()
        await expect(name).to_have_value("gpt-4o-mini")


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


async def test_a_conversation_tells_the_model_what_was_said(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request))
    await page.get_by_text("Settings").click()
    await page.get_by_label("System prompt").fill("Be brief.")
    await page.keyboard.press("Escape")
    await ask(page)
    await until_over(page)
    said = await shown(page)
    await page.reload()
    await ask(page, "And then?")
    await until_over(page)
    bodies = [request.post_data_json for request in asked if request.method == "POST"]
    assert bodies[-1]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": QUESTION},
        {"role": "assistant", "content": said},
        {"role": "user", "content": "And then?"},
    ]


async def test_a_new_chat_stops_the_answer_that_nobody_will_read(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(mocked.url)
    await ask(page, LONG)
    await until_words(page, 3)
    left = await stream_id(page)
    await page.get_by_role("button", name="New chat").click()
    await expect(page.get_by_role("button", name="Send")).to_be_visible()
    eventually(lambda: fetch(mocked, f"/v1/streams/{left}")["state"] == "cancelled")
    assert await page.locator(".turn").count() == 0
    await page.reload()
    await expect(page.get_by_role("heading", name="Every answer is a stream that lasts")).to_be_visible()
