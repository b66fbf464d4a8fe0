"""Answers that attack the page, and servers that talk nonsense: text stays text, and the page stays a page."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Page, Route, expect

from tests.browser.conftest import Visitor
from tests.browser.streams import playing, recording, start, text_of
from tests.e2e.processes import Server

pytestmark = pytest.mark.anyio

ATTACK = """<script>window.pwned = 1</script>
<img src=x onerror="window.pwned = 2"> <svg onload=window.pwned=3> <iframe srcdoc="<script>parent.pwned=4</script>">

[click](javascript:window.pwned=5) [data](data:text/html,<script>pwned=6</script>) <javascript:window.pwned=7>
![x](https://tracker.example/pixel.png) [ref]: javascript:window.pwned=8 "><b onmouseover=alert(9)>

| <script>window.pwned = 10</script> | [x](vbscript:msgbox) |
|---|---|
| <img src=x onerror=window.pwned=11> | `<b>` |

# <u>heading</u>

```html"><script>window.pwned = 12</script>
</code></pre><script>window.pwned = 13</script>
"""
EVENTS = re.compile(r"/events\?")
NAME = '<img src=x onerror="window.pwned=14">'


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("hostile")
    call = [
        [{"type": "item.start", "item": 1, "kind": "tool_call", "name": NAME, "call_id": "c"}],
        [{"type": "args.delta", "item": 1, "json": "<script>window.pwned=15</script>"}],
        [{"type": "item.start", "item": 2, "kind": "reasoning"}],
        [{"type": "text.delta", "item": 2, "text": "<script>window.pwned=16</script>"}],
    ]
    file: Path = recording(folder / "attack.ndjson", *text_of(ATTACK, 5), *call)
    with playing(folder, **{NAME: file}) as server:
        yield server


async def assert_unharmed(page: Page) -> None:
    assert await page.evaluate("window.pwned") is None
    harmful = "#main :is(script, iframe, object, embed, img, svg, form[action], [onerror], [onload], [onmouseover])"
    assert await page.locator(harmful).count() == 0
    for link in await page.locator("#main a").all():
        assert str(await link.get_attribute("href")).startswith(("#/", "https://", "http://", "mailto:"))


async def test_an_answer_that_attacks_is_shown_as_text_everywhere(visitor: Visitor, hostile: Server) -> None:
    asked: list[str] = []
    visitor.context.on("request", lambda request: asked.append(request.url))
    page = await visitor.open(hostile.url)
    page.on("dialog", lambda dialog: visitor.errors.append(dialog.message))
    await page.get_by_role("textbox", name="Message").fill("<script>window.pwned = 20</script>")
    await page.get_by_role("button", name="Send").click()
    await expect(page.locator(".turn .state").first).to_have_attribute("data-state", "finished")
    await expect(page.locator(".turn .prose").first).to_contain_text("<script>window.pwned = 1</script>")
    await page.get_by_text("Thoughts").click()
    for text in ("click", "pwned=7", "heading"):
        await page.get_by_text(text).first.click()
    await assert_unharmed(page)
    await page.locator(".live").get_by_role("link", name="Inspect").click()
    await expect(page.locator(".panel-head .state")).to_have_text("finished")
    await page.get_by_role("tab", name="Formats").click()
    await expect(page.locator(".format .row").first).to_be_visible()
    await assert_unharmed(page)
    assert not [url for url in asked if not url.startswith(hostile.url)]


async def test_the_policy_of_the_page_stops_what_would_get_through(visitor: Visitor, hostile: Server) -> None:
    page = await visitor.open(hostile.url)
    refused = await page.evaluate(
        """() => {
          try { document.body.innerHTML = '<p>markup</p>'; return 'markup was taken'; }
          catch (error) { return error.name; }
        }"""
    )
    assert refused == "TypeError"
    visitor.errors.clear()  # the browser tells of it


@pytest.mark.parametrize(
    "body",
    [
        "data: this is not JSON\n\n",
        'data: {"seq": 7, "events": []}\n\n',
        'data: {"seq": 0}\n\n',
        'id: n1.1\ndata: {"seq": 0, "at_ms": 1, "events": [{"type": "never.heard.of"}, 5, null]}\n\n',
        "<html>a proxy's page</html>",
    ],
)
async def test_frames_that_make_no_sense_are_a_lost_connection_and_healed(
    visitor: Visitor, hostile: Server, body: str
) -> None:
    stream_id = start(hostile, NAME)
    answered: list[str] = []

    async def talk_nonsense(route: Route) -> None:
        if answered:
            await route.fallback()
            return
        answered.append(route.request.url)
        await route.fulfill(body=body, content_type="text/event-stream")

    page = await visitor.context.new_page()
    await page.route(EVENTS, talk_nonsense)
    await page.goto(f"{hostile.url}/#/watch/{stream_id}")
    await expect(page.locator(".watch .state")).to_have_attribute("data-state", "finished")
    assert answered
    await expect(page.locator(".prose").first).to_contain_text("window.pwned = 13")
    await assert_unharmed(page)


@pytest.mark.parametrize("body", ["data: nonsense\n\n", "<html>a proxy's page</html>"])
async def test_the_inspector_reads_again_what_makes_no_sense(visitor: Visitor, hostile: Server, body: str) -> None:
    stream_id = start(hostile, NAME)
    answered: list[str] = []

    async def talk_nonsense(route: Route) -> None:
        if answered:
            await route.fallback()
            return
        answered.append(route.request.url)
        await route.fulfill(body=body, content_type="text/html" if "<" in body else "text/event-stream")

    page = await visitor.context.new_page()
    await page.route(EVENTS, talk_nonsense)
    await page.goto(f"{hostile.url}/#/streams/{stream_id}")
    await expect(page.locator(".panel-head .state")).to_have_text("finished")
    await expect(page.get_by_role("listbox").get_by_role("option").last).to_contain_text("finished")
    assert answered
