import json

import msgspec
import pytest

from headrace.bench.plan import Load
from headrace.bench.result import KEPT, Selection
from tests.bench.documents import made, plan

# What `vllm bench serve --save-result --percentile-metrics ttft,tpot,itl,e2el` writes and a reader of its files needs.
VLLM = {
    *("duration", "completed", "failed", "total_input_tokens", "total_output_tokens", "model_id", "max_concurrency"),
    *("request_throughput", "request_goodput", "output_throughput", "total_token_throughput", "request_rate"),
    *("max_concurrent_requests",),
    *(
        f"{statistic}_{metric}_ms"
        for statistic in ("mean", "median", "std", "p99")
        for metric in ("ttft", "tpot", "itl", "e2el")
    ),
}


def result(**options):
    return made(**options)["results"][0]


def test_figures_have_the_names_of_vllm():
    assert set(result(found=plan(goodput={"ttft": 1.0}))) >= VLLM


def test_figures_are_those_of_the_requests():
    found = result()
    assert (found["completed"], found["failed"], found["total_output_tokens"], found["total_chunks"]) == (
        200,
        0,
        4_000,
        4_000,
    )
    assert found["duration"] == 2
    assert (found["request_throughput"], found["output_throughput"], found["chunk_throughput"]) == (100, 2_000, 2_000)
    assert found["total_token_throughput"] == 2_500
    assert found["mean_ttft_ms"] == pytest.approx(100, rel=0.05)
    assert found["mean_tpot_ms"] == pytest.approx(10, rel=0.05)
    assert found["mean_itl_ms"] == pytest.approx(10, rel=0.05)
    assert found["mean_tps"] == pytest.approx(100, rel=0.05)
    assert found["p99_ttft_ms"] > found["p90_ttft_ms"] > found["median_ttft_ms"] == found["p50_ttft_ms"]


def test_a_series_without_a_success_has_none():
    found = result(filling=[{"count": 0, "failed": 4}])
    assert (found["completed"], found["failed"], found["incomplete"]) == (0, 4, 4)
    assert found["mean_ttft_ms"] is None and found["p99_itl_ms"] is None
    assert found["errors"] == {"incomplete": {"count": 4, "message": "cut <here> & there"}}


def test_a_series_that_never_ran_is_there_too():
    found = result(filling=[])
    assert (found["duration"], found["request_throughput"], found["timeline"]) == (0, 0, {})


def test_only_what_was_wanted_is_said():
    found = result(selection=Selection(("e2el",), (99.9,)))
    figures = {name for name in found if name.endswith("_ms") and name != "client_late_ms"}
    assert figures == {f"{each}_e2el_ms" for each in ("mean", "median", "std", "min", "max", "p99.9")}


def test_a_document_is_json_that_any_reader_takes():
    found = made(plan(load=Load(burstiness=float("inf"))))
    read = json.loads(msgspec.json.encode(found), parse_constant=lambda name: pytest.fail(name))
    assert (read["load"]["request_rate"], read["load"]["burstiness"]) == ("inf", "inf")
    assert read["results"][0]["request_rate"] == "inf"


def test_the_values_that_are_kept_are_few_and_in_order():
    found = result(filling=[{"count": 5_000}])["samples"]
    assert {name: len(values) for name, values in found.items()} == dict.fromkeys(
        ("ttft_ms", "tpot_ms", "itl_ms", "e2el_ms"), KEPT
    )


def test_the_histogram_has_every_gap_that_was_kept():
    histogram = result()["itl_histogram"]
    assert sum(each["count"] for each in histogram["counts"]) == 200 * 19
    starts = [each["from_ms"] for each in histogram["counts"]]
    assert starts == sorted(starts)
    assert all(5 < start < 15 for start in starts)


def test_the_time_line_is_of_columns_that_belong_together():
    timeline = result()["timeline"]
    assert {len(column) for column in timeline.values()} == {20}
    assert sum(timeline["chunks"]) == 4_000


@pytest.mark.parametrize(
    ("names", "levels", "labels"),
    [
        (("a",), (10,), ["a · m"]),
        (("a",), (1, 10), ["1 at a time", "10 at a time"]),
        (("a", "b"), (10,), ["a", "b"]),
        (("a", "b"), (1, None), ["a · 1 at a time", "a · ∞ at a time", "b · 1 at a time", "b · ∞ at a time"]),
    ],
)
def test_a_label_says_what_tells_the_series_apart(names, levels, labels):
    assert [each["label"] for each in made(plan(*names, levels=levels))["results"]] == labels
