"""A long, fast answer: 2,500 tokens a second for twenty seconds, and the page stays a page that one can use.

The times of the frames are written to `.screens/frames.json` and not judged: they are the machine's.
"""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from playwright.async_api import Browser, expect

from headrace.mock import answer_text
from tests.browser.conftest import PICTURES, mocking, visiting

pytestmark = pytest.mark.anyio

TOKENS = 50_000
QUESTION = "Say very much"
WATCH = """
() => {
  window.frames_ = [];
  let last = performance.now();
  const tick = (now) => { frames_.push(now - last); last = now; requestAnimationFrame(tick); };
  requestAnimationFrame(tick);
}
"""


async def test_twenty_seconds_of_2500_tokens_a_second_do_not_freeze_the_page(browser: Browser, tmp_path: Path) -> None:
    with mocking(tmp_path, "--tokens", str(TOKENS), "--gap", "0.4ms") as server:
        async with visiting(browser, viewport={"width": 1440, "height": 900}) as visitor:
            page = await visitor.open(server.url)
            await page.get_by_role("textbox", name="Message").fill(QUESTION)
            await page.evaluate(WATCH)
            await page.get_by_role("button", name="Send").click()
            await page.wait_for_function("() => document.querySelector('.turn .prose')?.textContent.length > 50000")
            await page.get_by_role("textbox", name="Message").fill("typed meanwhile")  # it takes input
            await expect(page.locator(".turn .state").first).to_have_attribute("data-state", "finished", timeout=50_000)
            frames = sorted(await page.evaluate("frames_"))
            shares = {share: frames[int(share * (len(frames) - 1))] for share in (0.5, 0.95, 0.99, 1.0)}
            PICTURES.mkdir(exist_ok=True)
            (PICTURES / "frames.json").write_text(json.dumps({"frames": len(frames), "ms": shares}))
            text = await page.evaluate(
                "[...document.querySelectorAll('.turn .prose p')].map((p) => p.textContent).join(' ')"
            )
            assert text == answer_text(0, QUESTION, TOKENS)
            assert await page.get_by_role("textbox", name="Message").input_value() == "typed meanwhile"
