"""What the numbers count, and that nobody outside the configuration can make up a series."""

import random
import re
from pathlib import Path

import msgspec
import pytest
from prometheus_client import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from headrace.engine.engine import Load
from headrace.engine.observer import Ended, Source
from headrace.events import Cancelled, Failed, Finished, StreamStart, Terminal, Usage
from headrace.telemetry.metrics import Metrics
from tests.telemetry.exposition import Samples, samples_of, value

SOURCE = Source("gpt-*", "openai")
LABELS = {"model": "gpt-*", "provider": "openai"}
USAGE = Usage(30, 20)
ENDED = Ended(
    start=StreamStart("0" * 32, "alice", 1, "gpt-made-up", "openai.chat"),
    source=SOURCE,
    upstream_model="made-up",
    request_id="r",
    terminal=Finished("stop"),
    at=1.0,
    duration=2.0,
    ttft=1.0,
    usage=USAGE,
    retries=0,
    readers=1,
    resumes=0,
    records=3,
    bytes=300,
)


def ended(terminal: Terminal = ENDED.terminal, usage: Usage = USAGE, retries: int = 0) -> Ended:
    return msgspec.structs.replace(ENDED, terminal=terminal, usage=usage, retries=retries)


def read(metrics: Metrics) -> Samples:
    return samples_of(text_string_to_metric_families(generate_latest(metrics.registry).decode()))


@pytest.mark.parametrize(
    ("terminal", "state", "code"),
    [
        (Finished("length"), "finished", "length"),
        (Failed("upstream_incomplete", "It said: my secret."), "failed", "upstream_incomplete"),
        (Cancelled("disconnect"), "cancelled", "disconnect"),
    ],
)
def test_ends_are_counted_by_state_and_code(terminal: Terminal, state: str, code: str) -> None:
    metrics = Metrics()
    for _ in range(2):
        metrics.ended(ended(terminal))
    assert value(read(metrics), "headrace_streams_ended_total", state=state, code=code, **LABELS) == 2
    assert b"secret" not in generate_latest(metrics.registry)


@pytest.mark.promise("P27")
def test_tokens_are_counted_by_where_their_number_comes_from() -> None:
    metrics = Metrics()
    for usage in (Usage(3, 5), Usage(4, 6), Usage(10, 20, source="estimated"), Usage(1, 0, source="partial")):
        metrics.ended(ended(usage=usage))
    samples = read(metrics)
    for source, prompt, generated in (("provider", 7, 11), ("estimated", 10, 20), ("partial", 1, 0)):
        assert value(samples, "headrace_prompt_tokens_total", source=source, **LABELS) == prompt
        assert value(samples, "headrace_generation_tokens_total", source=source, **LABELS) == generated


def test_retries_resumes_and_answers_are_counted() -> None:
    metrics = Metrics()
    assert value(read(metrics), "headrace_stream_resumes_total") == 0
    metrics.ended(ended(retries=2))
    metrics.ended(ended())
    metrics.resumed()
    for status in (200, 200, 404):
        metrics.responded(status)
    samples = read(metrics)
    assert value(samples, "headrace_upstream_retries_total", **LABELS) == 2
    assert value(samples, "headrace_stream_resumes_total") == 1
    assert value(samples, "headrace_http_responses_total", status="200") == 2
    assert value(samples, "headrace_http_responses_total", status="404") == 1


@pytest.mark.promise("P26")
def test_times_are_where_they_belong() -> None:
    metrics = Metrics()
    metrics.first_content(SOURCE, 0.3)
    metrics.content(SOURCE, [0.04], 0)
    metrics.content(SOURCE, [0.06], 2)
    metrics.upstream_closed(SOURCE, 0.002)
    samples = read(metrics)
    for name, count, total in (
        ("headrace_time_to_first_token_seconds", 1, 0.3),
        ("headrace_inter_token_latency_seconds", 4, 0.1),
        ("headrace_upstream_cancel_seconds", 1, 0.002),
    ):
        assert value(samples, f"{name}_count", **LABELS) == count
        assert value(samples, f"{name}_sum", **LABELS) == pytest.approx(total)
    gaps = "headrace_inter_token_latency_seconds_bucket"
    assert [value(samples, gaps, le=le, **LABELS) for le in ("0.01", "0.05", "0.075")] == [2, 3, 4]


def test_codes_that_an_upstream_makes_up_end_as_other() -> None:
    metrics = Metrics()
    draw = random.Random(1)
    known = [Finished("stop"), Failed("upstream_timeout", "x")]
    for terminal in known:
        metrics.ended(ended(terminal))
    for _ in range(1000):
        metrics.ended(ended(Finished(f"reason-{draw.random()}")))
        metrics.ended(ended(Failed(f"{draw.random()}" * 1000, "x")))
    for terminal in known:
        metrics.ended(ended(terminal))
    samples = read(metrics)
    ends = {labels: count for (name, labels), count in samples.items() if name == "headrace_streams_ended_total"}
    codes = {dict(labels)["code"] for labels in ends}
    assert len(codes) == 100 and "other" in codes
    assert max(map(len, codes)) <= 64
    assert sum(ends.values()) == 2004
    for state, code in (("finished", "stop"), ("failed", "upstream_timeout")):
        assert value(samples, "headrace_streams_ended_total", state=state, code=code, **LABELS) == 2


def test_two_servers_of_one_process_do_not_mix() -> None:
    one, other = Metrics(), Metrics()
    one.resumed()
    assert value(read(other), "headrace_stream_resumes_total") == 0


@pytest.mark.anyio
async def test_gauges_are_what_runs_when_they_are_read() -> None:
    metrics = Metrics()
    load = Load(1, 2, 3, 4, 5)
    metrics.watch(lambda: load)
    names = ("streams_active", "num_requests_running", "stream_readers", "slots_in_use", "archive_pending")
    assert [value(read(metrics), f"headrace_{name}") for name in names] == [1, 2, 3, 4, 5]
    load = Load(0, 0, 0, 0)
    assert [value(read(metrics), f"headrace_{name}") for name in names] == [0, 0, 0, 0, 0]
    assert value(read(metrics), "headrace_tasks") >= 1


@pytest.mark.anyio
async def test_the_manual_lists_every_metric_with_its_type_and_labels() -> None:
    metrics = Metrics()
    metrics.watch(lambda: Load(0, 0, 0, 0))
    metrics.ended(ended())
    metrics.responded(200)
    metrics.archived("lost")
    metrics.first_content(SOURCE, 1)
    metrics.content(SOURCE, [1], 1)
    metrics.upstream_closed(SOURCE, 1)
    served: dict[str, tuple[str, frozenset[str]]] = {}
    for family in text_string_to_metric_families(generate_latest(metrics.registry).decode()):
        if family.name.startswith("headrace_"):
            name = family.name + ("_total" if family.type == "counter" else "")
            labels = frozenset(label for sample in family.samples for label in sample.labels) - {"le"}
            served[name] = (family.type, labels)
    manual = (Path(__file__).parents[2] / "docs/operations.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(headrace_\w+)` \| (\w+) \|(.*?)\|", manual, re.MULTILINE)
    assert {name: (kind, frozenset(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows} == served
