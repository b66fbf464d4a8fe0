"""`GET /metrics`: who may read it, in which format, and what it says about streams that came over HTTP."""

import anyio
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics
from prometheus_client.parser import text_string_to_metric_families as parse_text

from headrace.config import Model
from headrace.errors import UpstreamRejected, UpstreamUnavailable
from tests.endpoints.serving import (
    ALICE,
    CHAT,
    FAR,
    HELLO,
    OPENING,
    SSE,
    STREAMED,
    STREAMS,
    TWO_KEYS,
    Server,
    serving,
    text,
)
from tests.telemetry.exposition import Samples, samples_of, value

pytestmark = pytest.mark.anyio

PROMETHEUS = "application/openmetrics-text;version=1.0.0;q=0.5,text/plain;version=0.0.4;q=0.3,*/*;q=0.1"
DEMO = {"model": "demo", "provider": "openai"}
NAMES = {
    "headrace_streams_active": "gauge",
    "headrace_stream_readers": "gauge",
    "headrace_num_requests_running": "gauge",
    "headrace_slots_in_use": "gauge",
    "headrace_tasks": "gauge",
    "headrace_archive_pending": "gauge",
    "headrace_archived": "counter",
    "headrace_streams_ended": "counter",
    "headrace_stream_resumes": "counter",
    "headrace_http_responses": "counter",
    "headrace_prompt_tokens": "counter",
    "headrace_generation_tokens": "counter",
    "headrace_upstream_retries": "counter",
    "headrace_time_to_first_token_seconds": "histogram",
    "headrace_inter_token_latency_seconds": "histogram",
    "headrace_upstream_cancel_seconds": "histogram",
}


async def families(server: Server, accept: str = "") -> list[Metric]:
    answer = await server.ask("GET", "/metrics", None, {"accept": accept} if accept else {})
    assert answer.status == 200
    openmetrics = answer.headers["content-type"].startswith("application/openmetrics-text")
    return list((parse_openmetrics if openmetrics else parse_text)(answer.body.decode()))


async def read(server: Server) -> Samples:
    return samples_of(await families(server))


async def test_with_keys_it_asks_for_one() -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        for headers in ({}, {"authorization": "Bearer wrong"}):
            refused = await server.ask("GET", "/metrics", None, headers)
            assert refused.status == 401 and refused.error_fields()["code"] == "invalid_api_key"
            assert b"headrace_" not in refused.body
        for headers in ({"authorization": f"Bearer {ALICE}"}, {"x-api-key": ALICE}):
            assert (await server.ask("GET", "/metrics", None, headers)).status == 200


@pytest.mark.promise("P33")
async def test_without_keys_no_foreign_page_reads_it() -> None:
    async with serving() as server:
        for headers in ({"origin": "https://evil.example"}, {"host": "evil.example"}, {"sec-fetch-site": "cross-site"}):
            assert (await server.ask("GET", "/metrics", None, headers)).status == 403


@pytest.mark.parametrize(
    ("accept", "content_type"),
    [
        ("", "text/plain; version=0.0.4"),
        ("*/*", "text/plain; version=0.0.4"),
        ("text/plain", "text/plain; version=0.0.4"),
        ("application/openmetrics-text", "application/openmetrics-text; version="),
        (PROMETHEUS, "application/openmetrics-text; version=1.0.0"),
    ],
)
async def test_the_format_is_the_one_that_is_accepted(accept: str, content_type: str) -> None:
    async with serving() as server:
        await server.stream()
        answer = await server.ask("GET", "/metrics", None, {"accept": accept} if accept else {})
        found = {family.name: family.type for family in await families(server, accept)}
    assert answer.headers["content-type"].startswith(content_type)
    assert NAMES.items() <= found.items()
    assert {name for name in found if name.startswith("headrace_")} == NAMES.keys()
    assert {"python_info", "python_gc_collections"} <= found.keys()


@pytest.mark.promise("P26", "P27")
async def test_streams_are_counted_with_what_they_took() -> None:
    async with serving(HELLO, [UpstreamUnavailable("Down.")], HELLO) as server:
        for _ in range(3):
            await server.stream()
        samples = await read(server)
    ended = "headrace_streams_ended_total"
    assert value(samples, ended, state="finished", code="stop", **DEMO) == 2
    assert value(samples, ended, state="failed", code="upstream_unavailable", **DEMO) == 1
    assert value(samples, "headrace_time_to_first_token_seconds_count", **DEMO) == 2
    assert value(samples, "headrace_inter_token_latency_seconds_count", **DEMO) == 2
    assert value(samples, "headrace_prompt_tokens_total", source="provider", **DEMO) == 6
    assert value(samples, "headrace_generation_tokens_total", source="provider", **DEMO) == 4
    assert value(samples, "headrace_http_responses_total", status="200") == 2
    assert value(samples, "headrace_http_responses_total", status="503") == 1


async def test_gauges_follow_what_runs_and_go_back_to_nothing() -> None:
    names = ("streams_active", "num_requests_running", "stream_readers", "slots_in_use")
    async with serving([[OPENING], text("Hel"), anyio.Event()]) as server:

        async def now() -> list[float]:
            samples = await read(server)
            return [value(samples, f"headrace_{name}") for name in names]

        assert await now() == [0, 0, 0, 0]
        first = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        second = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        reader = await server.open("GET", f"{STREAMS}/{first.stream_id}/events")
        assert await now() == [2, 2, 3, 2]
        await reader.leave()
        assert await now() == [2, 2, 2, 2]
        for made in (first, second):
            await server.ask("POST", f"{STREAMS}/{made.stream_id}/cancel")
            await made.end()
        assert await now() == [0, 0, 0, 0]
        samples = await read(server)
    assert value(samples, "headrace_upstream_cancel_seconds_count", **DEMO) == 2
    assert value(samples, "headrace_streams_ended_total", state="cancelled", code="client", **DEMO) == 2


async def test_a_resume_is_a_reader_that_goes_on_from_a_position() -> None:
    async with serving() as server:
        made = await server.stream()
        path = f"{CHAT}/{made.stream_id}"
        for target, headers in (
            (path, {}),
            (f"{path}?skip=0", {}),
            (f"{path}?skip=1", {}),
            (path, {"last-event-id": "c1.2"}),
        ):
            assert (await server.ask("GET", target, None, SSE | headers)).status == 200
        everything = len((await server.ask("GET", path, None, SSE)).frames())
        for skip, status in ((everything, 204), (everything + 1, 400)):
            assert (await server.ask("GET", f"{path}?skip={skip}", None, SSE)).status == status
        assert value(await read(server), "headrace_stream_resumes_total") == 2


WILDCARD = Model(name="gpt-*", upstream_model="*", provider="openai", retries=0, **FAR)


async def test_a_model_that_a_caller_makes_up_is_no_label() -> None:
    async with serving(models=(WILDCARD,)) as server:
        before = (await server.ask("GET", "/metrics")).body.count(b"\n")
        series = list[int]()
        for number in range(20):
            body = {**STREAMED, "model": f"gpt-my-secret-{number}"}
            assert (await server.ask("POST", CHAT, body)).status == 200
            assert (await server.ask("POST", CHAT, {**body, "model": f"other-{number}"})).status == 404
            answer = await server.ask("GET", "/metrics")
            assert b"secret" not in answer.body and b"other-" not in answer.body
            series.append(answer.body.count(b"\n"))
        samples = await read(server)
    assert before < series[0] and len(set(series)) == 1
    labels = {"model": "gpt-*", "provider": "openai"}
    assert value(samples, "headrace_streams_ended_total", state="finished", code="stop", **labels) == 20


async def test_codes_that_a_model_server_makes_up_are_capped() -> None:
    refusals = [[UpstreamRejected("No.", code=f"made-up-{number}", status=422)] for number in range(110)]
    async with serving(*refusals) as server:
        for _ in refusals:
            assert (await server.stream()).status == 422
        samples = await read(server)
    codes = {dict(labels)["code"] for name, labels in samples if name == "headrace_streams_ended_total"}
    assert len(codes) == 100
    assert value(samples, "headrace_streams_ended_total", state="failed", code="other", **DEMO) == 11
