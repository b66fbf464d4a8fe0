"""Every page in every state, in three widths, light and dark: looked over by a program, and kept for people to look at.

The pictures are in `.screens/`, which is not under version control.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.async_api import Browser, Page, expect

from tests.browser.conftest import PICTURES, visiting
from tests.browser.streams import delta, ended, recording, serve_models, start, text_of
from tests.e2e.processes import Server

pytestmark = pytest.mark.anyio

AUDIT = (Path(__file__).parent / "audit.js").read_text(encoding="utf-8")
WIDTHS = {390: 844, 820: 1180, 1440: 900}
ANSWER = """## How a mill works

A **water mill** takes the energy of *falling water*. The channel that leads to the wheel is called the
[head race](https://en.wikipedia.org/wiki/Mill_race), and `Q` is how much flows.

1. Water arrives over the **head race**
   - overshot: from above
   - undershot: from below
2. The wheel turns
3. The water leaves by the *tail race*

```python
def power(flow, head, efficiency=0.85):
    \"\"\"Watts that a wheel gives.\"\"\"
    return 1000 * 9.81 * flow * head * efficiency
```

| Wheel | Efficiency | Head |
|:------|-----------:|-----:|
| Overshot | 85 % | 2–10 m |
| Breastshot | 70 % | 1–4 m |
| Undershot | 30 % | < 2 m |

> The mill cannot grind with the water that is past.

So the power is $P = \\rho g Q h \\eta$, which stays as it was written.
"""


@pytest.fixture(scope="module")
def water(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A model that thinks, answers and calls a tool at the pace of a good one, and one that cannot be reached."""
    folder = tmp_path_factory.mktemp("water")
    thoughts = [[delta(f"{word} ")] for word in ["The", "reader", "wants", "a", "table.", "Water", "first."]]
    call = [{"type": "item.start", "item": 2, "kind": "tool_call", "name": "get_weather", "call_id": "c"}]
    text = [[{**event, "item": 1} if "item" in event else event for event in events] for events in text_of(ANSWER, 6)]
    file = recording(
        folder / "water.ndjson",
        [{"type": "item.start", "item": 0, "kind": "reasoning"}],
        *thoughts,
        ended(0),
        *text,
        call,
        *([{"type": "args.delta", "item": 2, "json": piece}] for piece in ('{"city": "Zü', 'rich", ', '"days": 3}')),
        ended(2),
        gap_ms=6,
    )
    models = {
        "water-large": {"model": f"replay/{file}"},
        "broken": {"model": "openai/x", "base_url": "http://127.0.0.1:9/v1", "api_key": "none", "retries": 0},
    }
    with serve_models(folder, models) as server:
        for _ in range(3):
            start(server, "water-large")
        yield server


async def look(page: Page, name: str) -> None:
    """Take a picture, and let the program look."""
    PICTURES.mkdir(exist_ok=True)
    await page.screenshot(path=PICTURES / f"{name}.png")
    complaints = await page.evaluate(AUDIT)
    assert not complaints, f"{name}: {json.dumps(complaints, indent=1, ensure_ascii=False)}"


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_every_page_can_be_read_and_used(browser: Browser, water: Server, scheme: str, width: int) -> None:
    viewport = {"width": width, "height": WIDTHS[width]}
    async with visiting(browser, viewport=viewport, color_scheme=scheme, reduced_motion="reduce") as visitor:
        page = await visitor.open(water.url)
        await expect(page.get_by_role("combobox", name="Model")).to_have_value("water-large")
        await look(page, f"{width}-{scheme}-1-empty")
        await page.get_by_text("Settings").click()
        await look(page, f"{width}-{scheme}-2-settings")
        await page.get_by_text("Settings").click()
        await page.get_by_role("textbox", name="Message").fill("How does a water mill work?")
        await page.get_by_role("button", name="Send").click()
        await expect(page.locator(".turn pre").first).to_be_visible()
        await page.get_by_role("button", name="Second viewer").click()
        await expect(page.locator(".viewer .prose").first).to_be_visible()
        await look(page, f"{width}-{scheme}-3-streaming")
        await expect(page.locator(".turn-foot").first).to_be_visible()
        await page.get_by_role("button", name="Close viewer").click()
        await look(page, f"{width}-{scheme}-4-finished")
        await page.get_by_role("combobox", name="Model").select_option("broken")
        await page.get_by_role("textbox", name="Message").fill("And a windmill?")
        await page.keyboard.press("Enter")
        await expect(page.locator(".turn").last.locator(".note")).to_be_visible()
        await page.get_by_role("button", name="Cut my network").click()
        await look(page, f"{width}-{scheme}-5-failed")
        await page.get_by_role("combobox", name="Model").select_option("water-large")
        await expect(page.get_by_role("button", name="Cut my network")).to_be_visible()
        await page.goto(f"{water.url}/#/compare")
        await page.get_by_role("button", name="Run both").click()
        await expect(page.locator(".verdict")).to_contain_text("earlier")
        await look(page, f"{width}-{scheme}-6-compare")
        await page.goto(f"{water.url}/#/streams")
        await expect(page.locator(".streams li").first).to_be_visible()
        await look(page, f"{width}-{scheme}-7-streams")
        await page.locator(".streams a").filter(has_text="water-large").last.click()
        await expect(page.locator(".panel-head .state")).to_have_text("finished")
        await page.get_by_role("listbox").get_by_role("option").nth(9).click()
        await look(page, f"{width}-{scheme}-8-records")
        await page.get_by_role("tab", name="Formats").click()
        await page.get_by_role("listbox", name="Frames of openai.chat").get_by_role("option").nth(4).click()
        await look(page, f"{width}-{scheme}-9-formats")
        followed = await visitor.open(f"{water.url}/#/watch/{start(water, 'water-large')}")
        await expect(followed.locator(".watch .state")).to_have_attribute("data-state", "finished")
        await look(followed, f"{width}-{scheme}-10-watch")


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_the_question_for_a_key_can_be_read_and_used(browser: Browser, tmp_path: Path, scheme: str) -> None:
    models = {"m": {"model": f"replay/{recording(tmp_path / 'm.ndjson')}"}}
    with serve_models(tmp_path, models, HEADRACE_API_KEYS="alice=alice-s3cret-key") as server:
        async with visiting(browser, viewport={"width": 820, "height": 700}, color_scheme=scheme) as visitor:
            page = await visitor.open(server.url)
            await expect(page.get_by_role("dialog", name="API key")).to_be_visible()
            await look(page, f"820-{scheme}-key")
