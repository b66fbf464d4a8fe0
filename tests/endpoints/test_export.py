"""`GET /v1/streams/{id}/export`: the whole log as lines, for its owner."""

import hashlib
import json
from collections.abc import Sequence
from typing import Any

import anyio
import anyio.lowlevel
import pytest

from headrace.errors import StoreError, UpstreamIncomplete
from headrace.events import Record
from headrace.stores.memory import MemoryStore
from tests.endpoints.serving import (
    ALICE,
    ASKED,
    BOB,
    CHAT,
    ENDING,
    HELLO,
    OPENING,
    STREAMED,
    STREAMS,
    TWO_KEYS,
    UNKNOWN,
    Exchange,
    Server,
    serving,
    text,
)

pytestmark = pytest.mark.anyio


def lines(answer: Exchange) -> list[Any]:
    assert answer.body.endswith(b"\n")
    return [json.loads(line) for line in answer.body.splitlines()]


async def export(server: Server, stream_id: str, query: str = "", **options: Any) -> Exchange:
    return await server.ask("GET", f"{STREAMS}/{stream_id}/export{query}", **options)


async def test_an_export_has_the_request_every_record_and_the_end() -> None:
    async with serving() as server:
        said = await server.stream(STREAMED)
        answer = await export(server, f"chatcmpl-{said.stream_id}")
        native = await server.ask(
            "GET", f"{STREAMS}/{said.stream_id}/events", headers={"accept": "application/x-ndjson"}
        )
    assert answer.status == 200 and answer.complete
    assert answer.headers == {
        "content-type": "application/x-ndjson",
        "cache-control": "no-cache, no-transform",
        "x-accel-buffering": "no",
        "headrace-stream-id": said.stream_id,
        "content-disposition": f'attachment; filename="{said.stream_id}.ndjson"',
    }
    head, *records, end = lines(answer)
    assert (head["type"], head["id"], head["owner"], head["model"]) == ("stream", said.stream_id, "anonymous", "demo")
    assert head["request"] == STREAMED
    assert [{name: value for name, value in each.items() if name not in ("type", "time")} for each in records] == [
        json.loads(line) for line in native.body.splitlines()
    ]
    assert (end["type"], end["state"], end["records"]) == ("end", "finished", len(records))
    assert end["usage"]["output"] == 2
    before = answer.body[: answer.body[:-1].rindex(b"\n") + 1]
    assert end["sha256"] == hashlib.sha256(before).hexdigest()


@pytest.mark.parametrize(
    ("script", "state", "terminal"),
    [
        ([[OPENING], text("Hel"), UpstreamIncomplete("Cut.")], "failed", "failed"),
        ([[OPENING], text("Hel"), anyio.Event()], "cancelled", "cancelled"),
    ],
    ids=["failed", "cancelled"],
)
async def test_an_export_says_how_a_stream_ended(script: Any, state: str, terminal: str) -> None:
    async with serving(script) as server:
        stream_id = (await server.ask("POST", STREAMS, ASKED)).stream_id
        await server.ask("POST", f"{STREAMS}/{stream_id}/cancel")
        answer = await export(server, stream_id)
    *_, last, end = lines(answer)
    assert last["events"][-1]["type"] == terminal
    assert (end["type"], end["state"], end["usage"]["source"]) == ("end", state, "partial")


@pytest.mark.promise("P5")
async def test_a_running_stream_is_exported_later_or_as_far_as_it_is() -> None:
    gate = anyio.Event()
    async with serving([[OPENING], text("Hel"), gate, ENDING]) as server:
        streaming = await server.open("POST", CHAT, STREAMED)
        await streaming.has(b"Hel")
        later = await export(server, streaming.stream_id)
        assert (later.status, later.headers["retry-after"]) == (202, "1")
        assert later.json() == {"id": streaming.stream_id, "state": "running"}
        partial = await export(server, streaming.stream_id, "?partial=true")
        assert (lines(partial)[0]["state"], lines(partial)[-1]["type"]) == ("running", "partial")
        gate.set()
        await streaming.end()
        assert lines(await export(server, streaming.stream_id))[-1]["type"] == "end"


@pytest.mark.promise("P8")
async def test_looking_at_a_running_stream_neither_stops_it_nor_keeps_it_alive() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:
        stream_id = (await server.ask("POST", STREAMS, ASKED, {"headrace-on-disconnect": "grace=30"})).stream_id
        state = f"{STREAMS}/{stream_id}"
        server.clock.advance(29)
        assert (await export(server, stream_id)).status == 202
        assert lines(await export(server, stream_id, "?partial=1"))[-1]["type"] == "partial"
        assert (await server.ask("GET", state)).json()["state"] == "running"
        server.clock.advance(2)
        assert (await server.ask("POST", f"{state}/cancel")).json()["cancelled_by"] == "disconnect"


async def test_partial_is_true_or_false() -> None:
    async with serving() as server:
        stream_id = (await server.stream(STREAMED)).stream_id
        refused = await export(server, stream_id, "?partial=maybe")
        assert (refused.status, refused.error_fields()["param"]) == (400, "partial")
        assert lines(await export(server, stream_id, "?partial=true"))[-1]["type"] == "end"


@pytest.mark.promise("P32")
async def test_an_export_is_for_its_owner_only() -> None:
    async with serving(api_keys=TWO_KEYS, key=ALICE) as server:
        stream_id = (await server.stream(STREAMED)).stream_id
        foreign, unknown = await export(server, stream_id, key=BOB), await export(server, UNKNOWN, key=BOB)
        assert (foreign.status, unknown.status) == (404, 404)
        assert foreign.body.replace(stream_id.encode(), b"") == unknown.body.replace(UNKNOWN.encode(), b"")
        assert lines(await export(server, stream_id))[0]["owner"] == "alice"


@pytest.mark.promise("P32")
async def test_a_token_that_reads_a_stream_does_not_open_what_was_asked() -> None:
    async with serving(api_keys=TWO_KEYS, key=ALICE) as server:
        stream_id = (await server.stream(STREAMED)).stream_id
        token = (await server.ask("POST", f"{STREAMS}/{stream_id}/token")).json()["token"]
        nobody = {"authorization": b"\0none"}
        assert (await export(server, stream_id, f"?token={token}", headers=nobody)).status == 403


class Breaking(MemoryStore):
    """Reads so many pages, then breaks."""

    good = 10**9

    async def read(self, stream_id: str, after: int, limit: int) -> Sequence[Record]:
        self.good -= 1
        if self.good < 0:
            raise StoreError("Away.")
        return await super().read(stream_id, after, limit)


@pytest.mark.promise("P5")
@pytest.mark.parametrize("good", [1, 2])
async def test_a_store_that_breaks_cuts_the_export_off(good: int) -> None:
    script = ([OPENING], *(text("x" * 1000) for _ in range(3000)), ENDING)
    store = Breaking(now=lambda: 1e9)
    async with serving(script, store=store) as server:
        stream_id = (await server.stream(STREAMED)).stream_id
        store.good = good
        answer = await export(server, stream_id)
        assert answer.status == 200 and answer.aborted
        assert b'"type":"end"' not in answer.body
        store.good = 0
        refused = await export(server, stream_id)
        assert (refused.status, refused.error_fields()["code"]) == (503, "store_error")


@pytest.mark.promise("P24")
async def test_an_export_counts_as_a_reader() -> None:
    async with serving(HELLO, max_readers_per_stream=1) as server:
        stream_id = (await server.stream(STREAMED)).stream_id
        for _ in range(3):
            assert (await export(server, stream_id)).status == 200
        assert (await server.ask("GET", f"{STREAMS}/{stream_id}")).json()["readers"] == 0


@pytest.mark.promise("P23")
async def test_an_export_that_nobody_takes_is_cut_off_and_leaves_nothing(caplog: pytest.LogCaptureFixture) -> None:
    script = ([OPENING], *(text("x" * 1000) for _ in range(2000)), ENDING)
    async with serving(script, write_timeout=30) as server:
        stream_id = (await server.stream(STREAMED)).stream_id
        stuck = server.begin("GET", f"{STREAMS}/{stream_id}/export")
        taking, more = anyio.Event(), stuck._send  # pyright: ignore[reportPrivateUsage]

        async def never(message: Any) -> None:
            await more(message)
            if stuck.body:
                taking.set()
                await anyio.sleep_forever()

        stuck._send = never  # pyright: ignore[reportPrivateUsage]
        await taking.wait()
        assert (await server.ask("GET", f"{STREAMS}/{stream_id}")).json()["readers"] == 1
        while not stuck.over:
            server.clock.advance(31)
            await anyio.lowlevel.checkpoint()
        assert stuck.aborted
        assert (await server.ask("GET", f"{STREAMS}/{stream_id}")).json()["readers"] == 0


async def test_an_unstored_stream_is_exported_without_its_request() -> None:
    async with serving() as server:
        body = {"model": "demo", "input": "Hi", "store": False}
        stream_id = (await server.ask("POST", "/v1/responses", body)).json()["id"]
        assert lines(await export(server, stream_id))[0]["request"] is None


async def test_there_is_no_head_of_an_export_as_of_its_neighbours() -> None:
    async with serving() as server:
        stream_id = (await server.stream(STREAMED)).stream_id
        for target in (f"{STREAMS}/{stream_id}/export", f"{STREAMS}/{stream_id}", f"{STREAMS}/{stream_id}/events"):
            refused = await server.ask("HEAD", target)
            assert (refused.status, refused.headers["allow"].split(", ")[-1]) == (405, "GET"), target
