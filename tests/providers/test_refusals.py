"""Every row of the error map, and every form that model servers give their errors."""

from __future__ import annotations

import json
from typing import Any

import pytest

from headrace.errors import (
    HeadraceError,
    RateLimited,
    UpstreamAuth,
    UpstreamModelNotFound,
    UpstreamProtocol,
    UpstreamRejected,
    UpstreamUnavailable,
)
from headrace.providers.refusals import Refusal, error_of, not_a_stream, retry_after

NOW = 1_795_262_400.0  # 2026-11-21 12:00:00 GMT
OPENAI = {"error": {"message": "said so", "type": "invalid_request_error", "param": "messages", "code": "too_odd"}}


def refusal(status: int, body: Any = OPENAI, **headers: str) -> Refusal:
    fields = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    return Refusal(status, fields, body if isinstance(body, bytes) else json.dumps(body).encode())


def error(status: int, body: Any = OPENAI, **headers: str) -> HeadraceError:
    return error_of(refusal(status, body, **headers), NOW)


@pytest.mark.promise("P19")
@pytest.mark.parametrize(
    ("status", "kind", "ours", "code", "retryable"),
    [
        (300, UpstreamProtocol, 502, "upstream_protocol", False),
        (302, UpstreamProtocol, 502, "upstream_protocol", False),
        (304, UpstreamProtocol, 502, "upstream_protocol", False),
        (399, UpstreamProtocol, 502, "upstream_protocol", False),
        (400, UpstreamRejected, 400, "too_odd", False),
        (401, UpstreamAuth, 502, "upstream_auth", False),
        (402, UpstreamRejected, 402, "too_odd", False),
        (403, UpstreamAuth, 502, "upstream_auth", False),
        (404, UpstreamModelNotFound, 502, "upstream_model_not_found", False),
        (408, UpstreamRejected, 408, "too_odd", True),
        (409, UpstreamRejected, 409, "too_odd", True),
        (413, UpstreamRejected, 413, "too_odd", False),
        (422, UpstreamRejected, 422, "too_odd", False),
        (429, RateLimited, 429, "upstream_rate_limited", True),
        (499, UpstreamRejected, 499, "too_odd", False),
        (500, UpstreamUnavailable, 502, "upstream_unavailable", True),
        (502, UpstreamUnavailable, 502, "upstream_unavailable", True),
        (503, UpstreamUnavailable, 503, "upstream_unavailable", True),
        (504, UpstreamUnavailable, 502, "upstream_unavailable", True),
        (529, UpstreamUnavailable, 503, "upstream_unavailable", True),
        (599, UpstreamUnavailable, 502, "upstream_unavailable", True),
        (201, UpstreamProtocol, 502, "upstream_protocol", True),
        (204, UpstreamProtocol, 502, "upstream_protocol", True),
        (600, UpstreamProtocol, 502, "upstream_protocol", True),
    ],
)
def test_each_status_has_its_error(status: int, kind: type[HeadraceError], ours: int, code: str, retryable: bool):
    found = error(status)
    assert type(found) is kind
    assert (found.status, found.error_code, found.may_retry) == (ours, code, retryable)


@pytest.mark.promise("P19", "P36")
@pytest.mark.parametrize("status", [401, 403])
def test_a_wrong_key_of_the_operator_is_not_described_to_the_caller(status: int):
    found = error(status, {"error": {"message": "Incorrect API key provided: sk-abcdefgh", "code": "invalid_api_key"}})
    assert found.message == "The model server refused the credentials that this server is configured with."
    assert found.param is None


@pytest.mark.promise("P19")
def test_a_rejection_keeps_message_param_and_code():
    found = error(400)
    assert (found.message, found.param, found.error_code) == ("said so", "messages", "too_odd")


def test_a_rejection_without_a_code_has_ours():
    found = error(400, {"error": {"message": "said so", "type": "invalid_request_error", "param": None, "code": None}})
    assert (found.error_code, found.param) == ("upstream_rejected", None)


@pytest.mark.parametrize(
    "body",
    [
        OPENAI,
        [OPENAI],  # Google
        {"error": "said so"},  # Ollama
        {"object": "error", "message": "said so", "type": "BadRequestError", "param": None, "code": 400},  # vLLM
        {"detail": "said so"},  # FastAPI
        {"detail": [{"loc": ["body", "messages"], "msg": "said so", "type": "missing"}]},
        {"errors": [{"message": "said so"}]},
        {"message": "said so"},
        {"message": "said so", "error": "Bad Request"},
        "said so",
    ],
)
def test_the_message_is_found_in_every_form(body: Any):
    assert error(400, body).message == "said so"


def test_one_line_of_plain_text_is_a_message():
    assert error(500, b"no slot\n", content_type="text/plain").message == (
        "The model server failed with status 500: no slot"
    )


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"<html><body>nginx</body></html>", "text/html"),
        (b"<html>nginx</html>", "text/plain"),
        (b"x" * 301, "text/plain"),
        (b"", "application/json"),
        (b'{"error":{"message":"cut', "application/json"),
        (b"\xff\xfe", "application/octet-stream"),
        (b'{"error":{"message":7}}', "application/json"),
        (b"[]", "application/json"),
        (b"{}", "application/json"),
        (b"null", "application/json"),
        (b"17", "application/json"),
    ],
)
@pytest.mark.parametrize("status", [400, 404, 429, 500])
def test_what_is_no_message_is_left_out(body: bytes, content_type: str, status: int):
    found = error(status, body, content_type=content_type)
    assert found.message.endswith(".")
    assert "nginx" not in found.message
    assert "xxx" not in found.message


def test_a_message_is_bounded():
    assert len(error(400, {"error": {"message": "x" * 10_000}}).message) == 2000


@pytest.mark.parametrize("code", ["two words", "x" * 65, "é", 7, None, {"a": 1}])
def test_a_code_that_is_no_code_is_left_out(code: Any):
    assert error(400, {"error": {"message": "m", "code": code}}).error_code == "upstream_rejected"


@pytest.mark.promise("P21")
@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "2"}, 2.0),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "-3"}, 0.0),
        ({"retry-after": "Sat, 21 Nov 2026 12:00:30 GMT"}, 30.0),
        ({"retry-after": "Sat, 21 Nov 2026 11:00:00 GMT"}, 0.0),
        ({"retry-after": "Saturday, 21-Nov-26 12:00:30 GMT"}, 30.0),
        ({"retry-after-ms": "1500"}, 1.5),
        ({"retry-after-ms": "1500", "retry-after": "9"}, 1.5),
        ({"retry-after-ms": "soon", "retry-after": "9"}, 9.0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "nan"}, None),
        ({"retry-after": "inf"}, None),
        ({"retry-after": ""}, None),
        ({"retry-after": "Sat, 99 Nov 2026 12:00:30 GMT"}, None),
        ({}, None),
    ],
)
def test_retry_after_is_read_in_every_form(headers: dict[str, str], seconds: float | None):
    assert retry_after(headers, NOW) == seconds


@pytest.mark.promise("P21")
@pytest.mark.parametrize("status", [429, 500, 503, 529])
def test_the_wait_goes_with_the_error(status: int):
    assert error(status, retry_after="4").retry_after == 4.0


@pytest.mark.parametrize("code", ["insufficient_quota", "billing_hard_limit_reached"])
def test_an_empty_account_is_not_worth_a_retry(code: str):
    found = error(429, {"error": {"message": "no money", "code": code}})
    assert (found.error_code, found.may_retry) == ("upstream_rate_limited", False)


@pytest.mark.parametrize("status", [400, 409, 429, 500])
@pytest.mark.parametrize(("word", "retryable"), [("true", True), ("false", False)])
def test_the_servers_own_word_on_retries_outweighs_the_rule(status: int, word: str, retryable: bool):
    assert error(status, x_should_retry=word).may_retry is retryable


@pytest.mark.promise("P19")
@pytest.mark.parametrize("opening", [b"[", b'{"error":'])
@pytest.mark.parametrize("depth", [900, 30_000])
def test_a_body_that_is_nested_without_end_is_an_error_like_any_other(opening: bytes, depth: int):
    assert isinstance(error(500, opening * depth), UpstreamUnavailable)
    closing = b"]" if opening == b"[" else b"}"
    assert isinstance(error(500, opening * depth + b'"x"' + closing * depth), UpstreamUnavailable)


# 200, but not a stream


def test_a_web_page_is_named():
    found = not_a_stream(refusal(200, b"<html>", content_type="text/html; charset=utf-8"), "text/event-stream", NOW)
    assert isinstance(found, UpstreamProtocol)
    assert found.message.startswith("The model server sent text/html instead of text/event-stream: base_url")
    assert not found.may_retry


def test_a_server_that_does_not_stream_is_told_about_force():
    found = not_a_stream(refusal(200, {"object": "chat.completion", "choices": []}), "text/event-stream", NOW)
    assert isinstance(found, UpstreamProtocol)
    assert "stream: force" in found.message


def test_an_error_that_hides_behind_200_is_shown():
    found = not_a_stream(refusal(200, {"error": {"message": "said so"}}), "text/event-stream", NOW)
    assert (type(found), found.message) == (
        UpstreamProtocol,
        "The model server answered 200 with an error: said so",
    )


def test_an_error_behind_200_that_names_its_status_is_that_error():
    body = {"error": {"message": "slow down", "code": 429}}
    found = not_a_stream(refusal(200, body, retry_after="3"), "text/event-stream", NOW)
    assert (type(found), found.message, found.retry_after) == (RateLimited, "slow down", 3.0)


@pytest.mark.parametrize(("content_type", "named"), [("image/png", "image/png"), ("\x1b[31m", "something else")])
def test_other_content_is_named_where_it_has_a_name(content_type: str, named: str):
    found = not_a_stream(refusal(200, b"", content_type=content_type), "text/event-stream", NOW)
    assert found.message == f"The model server sent {named} instead of text/event-stream: check base_url."
