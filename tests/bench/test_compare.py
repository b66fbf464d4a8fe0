import msgspec
import pytest

from headrace.bench.compare import compare, read_document
from headrace.bench.plan import Load
from headrace.errors import ConfigError
from tests.bench.documents import made, plan


def verdicts(old, new, **options):
    return {finding.what: finding.verdict for finding in compare(old, new, **options).findings}


def test_two_runs_of_the_same_server_are_the_same():
    found = compare(made(filling=[{"seed": 1}]), made(filling=[{"seed": 2}]))
    assert {finding.verdict for finding in found.findings} == {"same"}
    assert not found.regressed
    assert found.notes == []


def test_a_slower_first_token_is_worse_and_nothing_else_is():
    old, new = made(filling=[{"seed": 1}]), made(filling=[{"seed": 2, "ttft": 0.13}])
    found = verdicts(old, new)
    assert (found["TTFT p50"], found["TTFT p99"]) == ("worse", "worse")
    assert (found["TPOT p50"], found["ITL per request p50"]) == ("same", "same")
    assert compare(old, new).regressed


def test_a_faster_one_is_better_and_no_regression():
    found = compare(made(filling=[{"gap": 0.01}]), made(filling=[{"gap": 0.008}]))
    assert {finding.what: finding.verdict for finding in found.findings}["TPOT p50"] == "better"
    assert not found.regressed


def test_a_change_below_the_threshold_is_none_however_sure():
    old, new = made(filling=[{"count": 2_000}]), made(filling=[{"count": 2_000, "ttft": 0.103}])
    assert verdicts(old, new)["TTFT p50"] == "same"
    assert verdicts(old, new, threshold=0.01)["TTFT p50"] == "worse"


def test_a_finding_has_both_values_and_the_interval_of_their_difference():
    found = compare(made(filling=[{"seed": 1}]), made(filling=[{"seed": 2, "ttft": 0.2}])).findings[0]
    assert (found.label, found.what, found.unit) == ("a · m", "TTFT p50", "ms")
    assert found.low is not None and found.high is not None
    assert found.low < found.new - found.old < found.high
    assert found.change == pytest.approx(1, abs=0.1)


def test_few_values_give_no_verdict():
    found = verdicts(made(filling=[{"count": 30}]), made(filling=[{"count": 30, "ttft": 0.5}]))
    assert (found["TTFT p50"], found["TTFT p99"]) == ("worse", "unknown")
    assert found["Chunks"] == "unknown"
    assert verdicts(made(filling=[{"count": 5}]), made(filling=[{"count": 5}]))["TTFT p50"] == "unknown"


def test_failures_count_however_few_if_they_are_no_chance():
    old, new = made(filling=[{"count": 1_000}]), made(filling=[{"count": 980, "failed": 20}])
    assert verdicts(old, new)["Failed requests"] == "worse"
    assert verdicts(new, old)["Failed requests"] == "better"
    assert verdicts(old, made(filling=[{"count": 999, "failed": 1}]))["Failed requests"] == "same"


def test_less_throughput_is_worse():
    old, new = made(), made()
    timeline = new["results"][0]["timeline"]
    timeline["chunks"] = [count * 0.8 for count in timeline["chunks"]]
    assert verdicts(old, new)["Chunks"] == "worse"
    assert verdicts(new, old)["Chunks"] == "better"


def test_series_are_held_against_their_own():
    old = made(plan("a", "b"), filling=[{"ttft": 0.1}, {"ttft": 0.2}])
    new = made(plan("b", "a", "c"), filling=[{"ttft": 0.2}, {"ttft": 0.1}, {}])
    found = compare(old, new)
    assert not found.regressed
    assert {finding.label for finding in found.findings} == {"a", "b"}
    assert found.notes == ["c: there is no such series in the old document"]


def test_one_series_in_each_is_the_same_whatever_it_is_called():
    assert compare(made(plan("old")), made(plan("new"))).findings


def test_other_settings_are_said():
    found = compare(made(plan(load=Load(seed=1))), made(plan(load=Load(num_prompts=7, seed=2))))
    assert found.notes == ["num_prompts was 100 and is 7"]


def test_a_series_without_a_success_can_be_compared():
    dead = made(filling=[{"count": 0, "failed": 200}])
    found = verdicts(made(), dead)
    assert found["Failed requests"] == "worse"
    assert "TTFT p50" not in found
    assert compare(made(filling=[]), dead).findings == []


def test_a_document_is_read_again(tmp_path):
    path = tmp_path / "old.json"
    path.write_bytes(msgspec.json.encode(made()))
    assert not compare(read_document(path), made()).regressed


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{}", "is no result"),
        (b"[", "is no result"),
        (b"\xff", "is no result"),
        (b'{"tool": "headrace bench", "format": 99, "backend": "", "load": {}, "results": []}', "another version"),
    ],
)
def test_what_is_no_document_is_said(tmp_path, content, words):
    path = tmp_path / "old.json"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=words):
        read_document(path)


def test_a_document_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_document(tmp_path / "none.json")
