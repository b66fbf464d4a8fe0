"""What a visitor of the chat does, and what there is to see then."""

from __future__ import annotations

import json
import urllib.request
from typing import Any

from playwright.async_api import Page, expect

from tests.e2e.processes import PATIENCE_S, Server

QUESTION = "Tell me of a mill"
LONG = "Tell me a long story"


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
