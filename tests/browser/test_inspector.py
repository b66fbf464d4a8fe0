"""The stream inspector: every record of a stream, in every format, and what can be done with it."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from playwright.async_api import expect

from headrace.mock import answer_text
from tests.browser.conftest import Visitor
from tests.browser.streams import call, delta, ended, playing, recording, start, text_of
from tests.e2e.processes import Server, command, eventually

pytestmark = pytest.mark.anyio

MANY = 100_000


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """Models that think, that call a tool, and that say very much."""
    folder = tmp_path_factory.mktemp("played")
    thinking = recording(
        folder / "thinking.ndjson",
        [{"type": "item.start", "item": 0, "kind": "reasoning"}],
        [delta("Let me see. ")],
        [delta("Water runs down.")],
        ended(0),
        [{"type": "item.start", "item": 1, "kind": "text"}],
        [delta("It runs.", 1)],
        ended(1),
        [{"type": "item.start", "item": 2, "kind": "tool_call", "name": "get_weather", "call_id": "c1"}],
        *([{"type": "args.delta", "item": 2, "json": piece}] for piece in ('{"city"', ': "Zü', 'rich"}')),
        ended(2),
    )
    many = recording(folder / "many.ndjson", *text_of("word " * MANY, 5))
    short = recording(folder / "short.ndjson", *text_of("Water runs downhill."))
    with playing(folder, thinking=thinking, many=many, short=short) as server:
        yield server


def over(server: Server, stream_id: str) -> None:
    eventually(lambda: call(server, f"/v1/streams/{stream_id}")["state"] != "running")


async def test_reasoning_is_folded_and_arguments_are_shown(visitor: Visitor, played: Server) -> None:
    stream_id = start(played, "thinking")
    page = await visitor.open(f"{played.url}/#/watch/{stream_id}")
    await expect(page.locator(".prose")).to_have_text("It runs.")
    thoughts = page.get_by_text("Let me see. Water runs down.")
    await expect(thoughts).to_be_hidden()
    await page.get_by_text("Thoughts").click()
    await expect(thoughts).to_be_visible()
    await expect(page.locator(".tool")).to_contain_text("get_weather")
    await expect(page.locator(".tool pre")).to_have_text('{\n  "city": "Zürich"\n}')


async def test_every_record_is_shown_with_its_time_and_whole_when_chosen(visitor: Visitor, played: Server) -> None:
    stream_id = start(played, "short")
    over(played, stream_id)
    page = await visitor.open(f"{played.url}/#/streams")
    await page.locator(f".streams a[href='#/streams/{stream_id}']").click()
    await expect(page.locator(".panel-head .state")).to_have_text("finished")
    records = call(played, f"/v1/streams/{stream_id}")["position"]
    await expect(page.locator(".records header .muted")).to_have_text(str(records))
    await expect(page.locator(".timeline figcaption")).to_contain_text(f"{records} records in")
    await page.get_by_role("option").filter(has_text='"Water r"').click()
    chosen = json.loads(await page.locator(".detail").inner_text())
    assert chosen["events"] == [{"type": "text.delta", "item": 0, "text": "Water r"}] and chosen["at_ms"] > 0
    await page.keyboard.press("ArrowDown")
    await expect(page.locator(".detail")).to_contain_text("uns dow")
    assert await page.locator("[aria-selected=true][role=option]").count() == 1


async def test_the_formats_that_the_server_lists_stand_side_by_side(visitor: Visitor, played: Server) -> None:
    stream_id = start(played, "short")
    over(played, stream_id)
    document = call(played, "/openapi.json")
    parameters = document["paths"]["/v1/streams/{stream_id}/events"]["get"]["parameters"]
    listed = next(each for each in parameters if each["name"] == "format")["schema"]["enum"]
    page = await visitor.open(f"{played.url}/#/streams/{stream_id}")
    await page.get_by_role("tab", name="Formats").click()
    for name in listed:
        await page.get_by_role("checkbox", name=name).check()
    columns = page.locator(".format")
    await expect(columns).to_have_count(len(listed))
    for name in listed:
        column = page.get_by_role("region", name=name, exact=True)
        await expect(column.locator(".row").first).to_be_visible()
    await page.get_by_role("listbox", name="Frames of openai.chat").get_by_role("option").last.click()
    await expect(page.locator(".detail")).to_have_text("[DONE]")
    await page.get_by_role("checkbox", name="openai.chat").uncheck()
    await expect(columns).to_have_count(len(listed) - 1)


async def test_a_hundred_thousand_records_do_not_freeze_the_page(visitor: Visitor, played: Server) -> None:
    stream_id = start(played, "many")
    page = await visitor.open(f"{played.url}/#/streams/{stream_id}")
    await page.wait_for_function("() => document.querySelector('.panel-head .state').textContent === 'finished'")
    position = call(played, f"/v1/streams/{stream_id}")["position"]
    assert position > MANY and await page.locator(".records header .muted").inner_text() == f"{position:,}"
    assert await page.locator(".rows .row").count() < 200
    rows = page.get_by_role("listbox", name="Records")
    await rows.focus()
    await page.keyboard.press("Home")
    await expect(page.locator("[aria-selected=true][role=option]")).to_contain_text("stream.start")
    await page.keyboard.press("End")
    await expect(page.locator("[aria-selected=true][role=option]")).to_contain_text("finished")
    await rows.evaluate("element => element.scrollTop = element.scrollHeight / 2")
    await page.wait_for_function(
        "() => Math.abs(Number(document.querySelector('.rows .row').dataset.index) - 50000) < 200"
    )


async def test_a_running_stream_is_followed_and_stopped(visitor: Visitor, mocked: Server) -> None:
    stream_id = start(mocked, "mock", "a long one")
    page = await visitor.open(f"{mocked.url}/#/streams/{stream_id}")
    await page.wait_for_function("() => Number(document.querySelector('.records header .muted').textContent) > 5")
    await page.locator(".panel-head").get_by_role("button", name="Stop").click()
    await expect(page.locator(".panel-head .state")).to_have_text("cancelled")
    await expect(page.locator(".panel-head").get_by_role("button", name="Stop")).to_be_hidden()
    assert call(mocked, f"/v1/streams/{stream_id}")["state"] == "cancelled"


async def test_the_list_is_filtered_paged_and_kept_up_to_date(visitor: Visitor, played: Server) -> None:
    for _ in range(55):
        over(played, start(played, "short"))
    page = await visitor.open(f"{played.url}/#/streams")
    items = page.locator(".streams li")
    await expect(items).to_have_count(50)
    await page.get_by_role("button", name="Older streams").click()
    await page.wait_for_function("() => document.querySelectorAll('.streams li').length > 50")
    count = await items.count()
    newest = start(played, "short")
    await page.get_by_role("button", name="Refresh").click()
    await expect(page.locator(f".streams a[href='#/streams/{newest}']")).to_be_visible()
    assert await items.count() > count
    await page.get_by_label("State").select_option("failed")
    await expect(page.get_by_text("No streams here.")).to_be_visible()
    await page.get_by_label("State").select_option("finished")
    await expect(items).to_have_count(50)


async def test_a_position_is_resumed_from_and_the_command_for_a_terminal_reads_the_same(
    visitor: Visitor, played: Server
) -> None:
    stream_id = start(played, "short")
    over(played, stream_id)
    page = await visitor.open(f"{played.url}/#/streams/{stream_id}")
    await page.get_by_label("Read from").fill("n1.4")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.get_by_role("listbox").get_by_role("option").first).to_contain_text("uns dow")
    await page.get_by_role("button", name="Copy curl").click()
    await expect(page.get_by_role("button", name="Copied")).to_be_visible()
    line = await page.evaluate("navigator.clipboard.readText()")
    run = command("sh", "-c", line)
    frames = [line for line in run.stdout.splitlines() if line.startswith("data:")]
    assert json.loads(frames[0].removeprefix("data:"))["seq"] == 4
    await page.get_by_label("Read from").fill("nonsense")
    await page.get_by_role("button", name="Resume").click()
    await expect(page.locator(".panel .note").first).to_contain_text("The server could not take this")


async def test_delete_asks_once_more_and_what_is_gone_is_said_to_be_gone(visitor: Visitor, played: Server) -> None:
    stream_id = start(played, "short")
    over(played, stream_id)
    page = await visitor.open(f"{played.url}/#/streams/{stream_id}")
    await page.get_by_role("button", name="Delete").click()
    await page.get_by_role("button", name="Really delete?").click()
    await expect(page.get_by_text("Choose a stream to see every record in it.")).to_be_visible()
    await expect(page.locator(f".streams a[href='#/streams/{stream_id}']")).to_have_count(0)
    gone = await visitor.open(f"{played.url}/#/streams/{stream_id}")
    await expect(gone.locator(".panel .note").first).to_contain_text("no longer has this stream")
    watched = await visitor.open(f"{played.url}/#/watch/{stream_id}")
    await expect(watched.locator(".note")).to_contain_text("no longer has this stream")


async def test_the_inspector_reads_on_after_a_lost_connection(visitor: Visitor, mocked: Server) -> None:
    stream_id = start(mocked, "mock", "cut me")
    page = await visitor.open(f"{mocked.url}/#/streams/{stream_id}")
    await page.wait_for_function("() => Number(document.querySelector('.records header .muted').textContent) > 5")
    await visitor.context.set_offline(True)
    await visitor.context.set_offline(False)
    await expect(page.locator(".panel-head .state")).to_have_text("finished")
    position = call(mocked, f"/v1/streams/{stream_id}")["position"]
    await expect(page.locator(".records header .muted")).to_have_text(str(position))


async def test_streaming_and_not_streaming_are_compared(visitor: Visitor, mocked: Server) -> None:
    page = await visitor.open(f"{mocked.url}/#/compare")
    await page.get_by_role("textbox", name="Message").fill("side by side")
    await page.get_by_role("button", name="Run both").click()
    await expect(page.locator(".verdict")).to_contain_text("earlier")
    whole = answer_text(0, "side by side", 120)
    for side in ("Streaming", "Not streaming"):
        await expect(page.get_by_role("region", name=side, exact=True).locator(".prose")).to_have_text(whole)
    await page.get_by_role("button", name="Run both").click()
    await page.get_by_role("button", name="Stop").click()
    await expect(page.get_by_role("button", name="Run both")).to_be_visible()
