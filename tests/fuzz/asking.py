"""Targets: what callers send."""

from __future__ import annotations

import json
from typing import Any

import msgspec
from starlette.requests import Request as HttpRequest

from headrace.config import ApiKey, Config, Secret
from headrace.dialects import BY_CODE, DIALECTS, NATIVE, OPENAI_CHAT, OPENAI_RESPONSES, cursor, openai_responses
from headrace.dialects.base import Dialect, read_json
from headrace.dialects.openai_chat import write_request
from headrace.dialects.openai_responses.input_items import Page, batches
from headrace.endpoints import attach, streams
from headrace.endpoints import body as request_body
from headrace.engine.idempotency import IdempotencyKey
from headrace.errors import BadRequest, HeadraceError, InvalidCursor
from headrace.messages import Request
from headrace.policy import disconnect
from headrace.policy.auth import ANONYMOUS, Access, checked_token
from headrace.providers.local.question import ask
from headrace.transforms.estimate import input_tokens_of
from tests.dialects.rendering import START
from tests.fuzz.inputs import head_and_body

_decode: Any = msgspec.json.Decoder().decode


def chat_request(data: bytes) -> None:
    """A body is a request that can be sent on with all that it says, or a 400 that names the field."""
    request = _parsed(OPENAI_CHAT, data)
    if request is not None:
        _check_sent_on(request)
        kept = msgspec.json.decode(write_request(request, "up", stream=False), type=dict[str, msgspec.Raw])
        given = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
        rewritten = ("model", "stream", "stream_options")
        assert {name: bytes(given[name]) for name in given if name not in rewritten} == {
            name: bytes(kept[name]) for name in kept if name not in rewritten
        }


def native_request(data: bytes) -> None:
    """The same in our own shape, where a model server is asked in its words for what ours says, or not at all."""
    request = _parsed(NATIVE, data)
    if request is not None:
        _check_sent_on(request)


def responses_request(data: bytes) -> None:
    """The same of the Responses API: whatever can be asked goes on as it came, and its items can be listed."""
    try:
        request = OPENAI_RESPONSES.parse(data)
    except BadRequest as error:
        assert error.status == 400
        assert msgspec.json.decode(OPENAI_RESPONSES.error(error))
        return
    assert 0 <= input_tokens_of(request) <= 2 * len(data) + 4
    assert request.echo is None or len(bytes(request.echo)) <= 64 * 1024
    OPENAI_RESPONSES.unsaid(request)
    page = Page(limit=100, after=None, newest_first=True)
    for batch in batches(data, "id"):
        page.add(batch)
    _decode(page.json(data))
    kept = msgspec.json.decode(openai_responses.write_request(request, "up", stream=True), type=dict[str, msgspec.Raw])
    given = msgspec.json.decode(data, type=dict[str, msgspec.Raw])
    rewritten = ("model", "stream", "background")
    assert {name: bytes(given[name]) for name in given if name not in rewritten} == {
        name: bytes(kept[name]) for name in kept if name not in rewritten
    }


def _parsed(dialect: Dialect, body: bytes) -> Request | None:
    try:
        request = dialect.parse(body)
    except BadRequest as error:
        assert error.status == 400
        assert len(error.message) <= 400 + 2 * len(body)
        assert msgspec.json.decode(dialect.error(error))
        return None
    assert request.model and request.messages
    assert 0 <= input_tokens_of(request) <= 2 * len(body) + 4
    return request


def _check_sent_on(request: Request) -> None:
    assert isinstance(request.body, bytes)
    _check_key(request.body)
    for stream in (True, False):
        try:
            sent = msgspec.json.decode(write_request(request, "up", stream=stream), type=dict[str, msgspec.Raw])
        except BadRequest as refusal:  # what that shape has no word for
            assert (refusal.error_code, request.dialect) == ("unsupported_parameter", NATIVE.name)
            return
        assert bytes(sent["model"]) == b'"up"'
        assert bytes(sent["stream"]) == (b"true" if stream else b"false")
    try:
        question = ask(request, lambda schema: json.dumps(sorted(schema)))
    except BadRequest:
        return
    assert _decode(question.body)["messages"]


def _check_key(body: bytes) -> None:
    try:
        key = read_json(lambda data: IdempotencyKey.of("o", "r", "k", bytes(data)), body)
        turned = msgspec.json.encode(_turned(_decode(body)))
    except (BadRequest, RecursionError):  # the second is of `_turned`
        return
    assert IdempotencyKey.of("o", "r", "k", turned) == key, "the order of the fields counts"


def _turned(value: Any) -> Any:
    """The same JSON with the fields of every object the other way round."""
    if isinstance(value, dict):
        return {name: _turned(value[name]) for name in reversed(value)}
    return [_turned(element) for element in value] if isinstance(value, list) else value


_OPEN = Access(Config(allowed_hosts=("headrace.lan",), cors_origins=("https://app.example.com",)))
_KEYS = (ApiKey("alice", Secret("alice-key")), ApiKey("bob", Secret("bob=key")))
_CLOSED = Access(Config(api_keys=_KEYS))
_SECRETS = {"alice": "alice-key", "bob": "bob=key"}


def headers(data: bytes) -> None:
    """First line and headers of a request: what each rule makes of them, or a refusal."""
    target, fields, _ = head_and_body(data)
    request = _request(target, fields)
    _check_page(request)
    try:
        owner = _CLOSED.owner(request.headers.get("authorization"), request.headers.get("x-api-key"))
        assert any(_SECRETS[owner] in value for _, value in fields)
    except HeadraceError as error:
        assert error.status == 401
    for read in (_read_policy, _read_token, _read_place, _read_page, request_body.check_media_type):
        try:
            read(request)
        except HeadraceError as error:
            assert 400 <= error.status < 500
            assert len(error.message) < 500
            assert NATIVE.error(error)
    assert request_body.has_body(request) in (True, False)


def _request(target: str, fields: list[tuple[str, str]]) -> HttpRequest:
    path, _, query = target.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": query.encode("latin-1"),
        "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in fields],
    }
    return HttpRequest(scope)


def _check_page(request: HttpRequest) -> None:
    """Without keys, who names an origin or a host is let in only if it is this server's or a configured one."""
    host, origin = request.headers.get("host"), request.headers.get("origin")
    try:
        _OPEN.check_page(host, origin, request.headers.get("sec-fetch-site"))
    except HeadraceError as error:
        assert error.status == 403
        return
    assert _OPEN.owner(None, None) == ANONYMOUS
    lowered = _without_breaks(host or "")
    assert any(name in lowered for name in ("localhost", "127.", "::1", "headrace.lan", "0:1"))
    assert origin is None or origin == "https://app.example.com" or lowered in _without_breaks(origin)


def _without_breaks(text: str) -> str:
    """As Python's URLs: no browser sends these."""
    return text.translate({9: None, 10: None, 13: None}).lower()


def _read_policy(request: HttpRequest) -> None:
    policy = disconnect.decide(request.headers.get(disconnect.HEADER), None, disconnect.GRACE)
    assert 0 <= policy.seconds <= 86_400
    assert disconnect.decide(str(policy), None, disconnect.CANCEL).mode == policy.mode


def _read_token(request: HttpRequest) -> None:
    text = request.headers.get("idempotency-key", "")
    assert checked_token(text, "key") == text
    assert text.isascii() and text.isprintable() and " " not in text


def _read_place(request: HttpRequest) -> None:
    assert len(attach.stream_of(request.scope["path"].rpartition("/")[2])) == 32
    wanted = attach.asked_format(request)
    dialect, at = attach.position(request, wanted, START)
    assert wanted in (None, dialect)
    assert BY_CODE[at.code] is dialect
    assert not set(at.params) - set(dialect.params)
    framing = attach.framing_for(request, dialect, at.prefix)
    assert framing.media_type


def _read_page(request: HttpRequest) -> None:
    assert 1 <= attach.page_size(request.query_params.get("limit")) <= 100


def cursors(data: bytes) -> None:
    """A position is the one that was given out, or refused."""
    text = data.decode("utf-8", "replace")
    try:
        found = cursor.parse(text)
        assert str(found) == text
        for dialect in (None, *DIALECTS.values()):
            owner, kept = attach.resume_cursor(text, dialect)
            assert dialect in (None, owner)
            assert kept == found
    except InvalidCursor as error:
        assert (error.status, error.param) == (400, "last_event_id")


def cancel_body(data: bytes) -> None:
    """The body of a cancel by key."""
    try:
        body = read_json(streams._decode_cancel, data)
    except BadRequest as error:
        assert error.status == 400
        return
    assert isinstance(body.idempotency_key, str)
