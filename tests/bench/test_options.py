import math

import pytest

from headrace.bench import options
from headrace.errors import ConfigError


@pytest.mark.parametrize(("text", "value"), [("10", 10), ("0.5", 0.5), ("inf", math.inf), ("1e3", 1000)])
def test_a_rate_is_a_number_above_zero(text, value):
    assert options.parse_rate(text) == value


@pytest.mark.parametrize("text", ["0", "-1", "nan", "fast", ""])
def test_what_is_no_rate_is_said(text):
    with pytest.raises(ConfigError, match="--request-rate: expected a number above zero"):
        options.parse_rate(text)
    with pytest.raises(ConfigError, match="--burstiness"):
        options.parse_burstiness(text)


def test_several_numbers_of_requests_are_a_sweep():
    assert options.parse_concurrency("10") == [10]
    assert options.parse_concurrency("1, 10,50,10") == [1, 10, 50]


@pytest.mark.parametrize("text", ["0", "1,,2", "a", "-1", "1.5", ""])
def test_what_is_no_number_of_requests_is_said(text):
    with pytest.raises(ConfigError, match="--max-concurrency: expected whole numbers above zero"):
        options.parse_concurrency(text)


@pytest.mark.parametrize("texts", [["ttft:200", "e2el:2000"], ["ttft:200 e2el:2000"], ["ttft:200,e2el:2000"]])
def test_limits_of_good_requests_are_read_in_every_way(texts):
    assert options.parse_goodput(texts) == {"ttft": 0.2, "e2el": 2.0}


@pytest.mark.parametrize("text", ["ttft", "itl:5", "ttft:soon"])
def test_what_is_no_limit_is_said(text):
    with pytest.raises(ConfigError, match="--goodput: expected such as ttft:200"):
        options.parse_goodput([text])


def test_metrics_and_percentiles_are_lists():
    assert options.parse_metrics("ttft, client_queue_time") == ("ttft", "client_queue_time")
    assert options.parse_percentiles("50,99.9") == (50, 99.9)


def test_an_unknown_metric_names_those_that_there_are():
    with pytest.raises(ConfigError, match="there are ttft, tpot, itl, e2el"):
        options.parse_metrics("ttfb")


@pytest.mark.parametrize("text", ["", "101", "-1", "p99", "nan"])
def test_what_is_no_percentile_is_said(text):
    with pytest.raises(ConfigError, match="numbers from 0 to 100"):
        options.parse_percentiles(text)


def test_headers_are_parted_at_the_first_colon():
    assert options.parse_headers(["X-A: b:c", "y:"]) == {"X-A": "b:c", "y": ""}


@pytest.mark.parametrize("text", ["no-colon", ": x", "a b: c", "x: a\r\nevil: 1", "x: é"])
def test_what_is_no_header_is_said(text):
    with pytest.raises(ConfigError, match="--header: expected NAME:VALUE"):
        options.parse_headers([text])


def test_a_key_is_for_all_targets_or_for_one():
    assert options.parse_keys(["k=1"], ["a", "b"]) == {"a": "k=1", "b": "k=1"}
    assert options.parse_keys(["a=x", "y"], ["a", "b"]) == {"a": "x", "b": "y"}
    assert options.parse_keys(["a=x"], ["a", "b"]) == {"a": "x"}
    assert options.parse_keys([], ["a"]) == {}


def test_a_key_that_no_header_can_have_is_refused_unseen():
    with pytest.raises(ConfigError) as caught:
        options.parse_keys(["secret\n"], ["a"])
    assert "secret" not in caught.value.message


def test_further_fields_are_a_json_object():
    assert options.parse_body('{"a": null}') == {"a": None}
    with pytest.raises(ConfigError, match="--extra-body: expected a JSON object"):
        options.parse_body("[1]")
