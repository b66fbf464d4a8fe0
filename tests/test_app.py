"""The composition root: what is refused, what is shared, in which order it starts and stops; and real sockets."""

import json
import re
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import anyio
import anyio.abc
import pytest
import uvicorn

from headrace.app import Providers, create_app
from headrace.config import ApiKey, Config, Model, Secret
from headrace.dialects import native
from headrace.dialects.anthropic_messages import request as messages_request
from headrace.dialects.openai_chat import request as chat_request
from headrace.dialects.openai_chat.message import MessageFields
from headrace.dialects.openai_responses import request as responses_request
from headrace.endpoints import components, streams
from headrace.errors import ConfigError, UpstreamIncomplete
from headrace.events import Failed
from headrace.stores.memory import MemoryStore
from tests.endpoints.serving import (
    ALICE,
    ASKED,
    CHAT,
    GUARD,
    OPENING,
    STREAMED,
    STREAMS,
    TWO_KEYS,
    ScriptedProvider,
    Step,
    configured,
    running,
    serving,
    text,
)

pytestmark = pytest.mark.anyio

KEYS = (ApiKey("a", Secret("k")),)


@pytest.mark.promise("P33")
@pytest.mark.parametrize(
    "config",
    [
        Config(host="0.0.0.0"),
        Config(host="::"),
        Config(host="192.168.1.5"),
        Config(host="headrace.example"),
        Config(cors_origins=("*",)),
        Config(cors_origins=("*",), no_auth=True),
        Config(api_keys=KEYS, no_auth=True),
    ],
)
def test_a_configuration_that_lets_strangers_in_makes_no_app(config: Config) -> None:
    with pytest.raises(ConfigError):
        create_app(config)


@pytest.mark.promise("P33")
@pytest.mark.parametrize(
    "config",
    [
        Config(),
        Config(host="::1"),
        Config(host="localhost"),
        Config(host="0.0.0.0", no_auth=True),
        Config(host="0.0.0.0", api_keys=KEYS, cors_origins=("*",)),
    ],
)
def test_loopback_keys_or_a_clear_word_are_enough(config: Config) -> None:
    create_app(config)


def test_models_of_one_server_share_its_provider() -> None:
    made: list[Model] = []

    def create(model: Model, _: Config) -> ScriptedProvider:
        made.append(model)
        return ScriptedProvider()

    def upstream(name: str, **settings: Any) -> Model:
        return Model(**{"name": name, "upstream_model": name, "base_url": "http://one/v1", **settings})

    replay = {"provider": "replay", "protocol": "replay", "base_url": ""}
    models = (
        upstream("a"),
        upstream("b"),
        upstream("c/*", upstream_model="*"),
        upstream("d", base_url="http://two/v1"),
        upstream("e", api_key=Secret("x")),
        upstream("f", **replay),
        upstream("g", **replay),
    )
    providers = Providers(Config(models=models), create)
    assert [model.name for model in made] == ["a", "d", "e", "f", "g"]
    routes = {name: providers.route(name) for name in ("a", "b", "c/x", "d", "e", "f", "g")}
    assert len({id(route.provider) for route in routes.values() if route}) == 5
    assert routes["c/x"] is not None and routes["c/x"].upstream_model == "x"
    assert providers.route("nothing") is None


async def test_every_provider_is_closed_even_when_one_fails_to() -> None:
    closed: list[str] = []

    class Closing(ScriptedProvider):
        def __init__(self, label: str) -> None:
            super().__init__()
            self.label = label

        async def close(self) -> None:
            closed.append(self.label)
            if self.label == "b":
                raise OSError("gone")

    models = tuple(Model(name=name, upstream_model="x", base_url=f"http://{name}") for name in "abc")
    providers = Providers(Config(models=models), lambda model, _: Closing(model.base_url[-1]))
    with pytest.raises(OSError, match="gone"):
        await providers.close()
    assert sorted(closed) == ["a", "b", "c"]


@pytest.mark.promise("P3", "P11")
async def test_a_stop_ends_every_stream_tells_its_readers_and_then_closes_providers_and_store() -> None:
    order: list[str] = []

    class Watched(ScriptedProvider):
        async def close(self) -> None:
            order.append("provider closed")
            assert self.closed == len(self.asked) == 2

    class Store(MemoryStore):
        async def finish(self, lease: Any, record: Any) -> None:
            order.append("terminal")
            assert isinstance(record.terminal, Failed) and record.terminal.code == "server_shutdown"
            await super().finish(lease, record)

        async def close(self) -> None:
            order.append("store closed")
            await super().close()

    provider = Watched([[OPENING], text("Hel"), anyio.Event()])
    store = Store(now=lambda: 0.0)
    async with serving(store=store, providers=lambda *_: provider) as server:
        read = await (await server.open("POST", CHAT, STREAMED)).has(b"Hel")
        made = await server.ask("POST", STREAMS, ASKED)
        assert made.status == 201
        while len(provider.asked) < 2:
            await server.ask("GET", "/health")
    assert order == ["terminal", "terminal", "provider closed", "store closed"]
    assert not read.complete and b"[DONE]" not in read.body


async def test_a_provider_that_cannot_start_stops_the_start() -> None:
    class Missing(ScriptedProvider):
        async def start(self) -> None:
            raise ConfigError("no such recording")

    app = create_app(configured(), providers=lambda *_: Missing())
    with anyio.fail_after(GUARD), pytest.raises(BaseException) as failure:
        async with running(app):
            pytest.fail("it started")
    assert "no such recording" in str(flat(failure.value))


def flat(error: BaseException) -> list[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        return [leaf for each in error.exceptions for leaf in flat(each)]
    return [error]


ROUTES = {
    "/v1/chat/completions": {"post"},
    "/v1/chat/completions/{stream_id}": {"get"},
    "/v1/messages": {"post"},
    "/v1/messages/count_tokens": {"post"},
    "/v1/messages/{stream_id}": {"get"},
    "/v1/responses": {"post"},
    "/v1/responses/{stream_id}": {"get", "delete"},
    "/v1/responses/{stream_id}/cancel": {"post"},
    "/v1/responses/{stream_id}/input_items": {"get"},
    "/v1/streams": {"get", "post"},
    "/v1/streams/cancel": {"post"},
    "/v1/streams/{stream_id}": {"get", "delete"},
    "/v1/streams/{stream_id}/events": {"get"},
    "/v1/streams/{stream_id}/cancel": {"post"},
    "/stream": {"get"},
    "/v1/models": {"get"},
    "/v1/streams/{stream_id}/token": {"post"},
    "/v1/streams/{stream_id}/export": {"get"},
    "/v1/models/{name}": {"get"},
    "/health": {"get"},
    "/health/ready": {"get"},
    "/metrics": {"get"},
}


async def test_the_openapi_document_has_every_route_and_its_parts_fit_together() -> None:
    async with serving() as server:
        answer = await server.ask("GET", "/openapi.json")
    document = answer.json()
    assert document["openapi"].startswith("3.1") and document["info"]["title"] == "Headrace"
    assert {path: set(item) for path, item in document["paths"].items()} == ROUTES
    operations = [(path, item) for path, methods in document["paths"].items() for item in methods.values()]
    assert len({item["operationId"] for _, item in operations}) == len(operations)
    for path, item in operations:
        named = {each["name"] for each in item.get("parameters", []) if each["in"] == "path"}
        assert named == set(re.findall(r"{(\w+)}", path)), path
        assert item["responses"] and all(each["description"] for each in item["responses"].values())
        assert item["summary"]
        keys = [(each["in"], each["name"]) for each in item.get("parameters", [])]
        assert len(keys) == len(set(keys))
    linked = re.findall(
        r'"parameters": {"stream_id": "\$response.body#/id"}, "operationId": "(\w+)"', json.dumps(document)
    )
    assert len(linked) == 9 and set(linked) <= {item["operationId"] for _, item in operations}
    named = set(document["components"]["schemas"])
    assert set(re.findall(r'"#/components/schemas/(\w+)"', json.dumps(document))) == named
    assert "HTTPValidationError" not in named, "nothing refers to FastAPI's own validation errors"
    assert set(document["components"]["securitySchemes"]) == {"bearer", "header"}


def test_the_documented_fields_are_those_that_are_read() -> None:
    def properties(name: str) -> dict[str, Any]:
        return components.SCHEMAS[name]["properties"]

    in_each_role = [role["properties"] for role in components.SCHEMAS["ChatMessage"]["anyOf"]]
    for documented, read in (
        (properties("ChatRequest"), chat_request._Body),
        *((each, MessageFields) for each in in_each_role),
        (properties("AnthropicRequest"), messages_request._Body),
        (properties("ResponseRequest"), responses_request._Body),
        (properties("NativeRequest"), native._Body),
        (properties("NativeRequest")["settings"]["properties"], native._Settings),
        (properties("NativeMessage"), native._Message),
        (properties("NativeTool"), native._Tool),
        (properties("CancelByKey"), streams._CancelBody),
    ):
        refused = {"api_key"}  # read only to be refused
        assert set(documented) == set(read.__struct_fields__) - refused, read
    assert streams.ROUTES == (STREAMS, CHAT, "/v1/messages", "/v1/responses", "/stream")
    assert set(properties("CancelByKey")["route"]["enum"]) == {*streams.ROUTES, None}


@pytest.mark.promise("P33")
async def test_the_document_is_behind_the_same_door_as_everything() -> None:
    async with serving(api_keys=TWO_KEYS) as server:
        assert (await server.ask("GET", "/openapi.json")).status == 401
        assert (await server.ask("GET", "/openapi.json", key=ALICE)).status == 200


@asynccontextmanager
async def listening(*scripts: list[Step], **settings: Any) -> AsyncIterator[int]:
    """The application under uvicorn on a port of loopback."""
    provider = ScriptedProvider(*scripts)
    app = create_app(configured(**settings), providers=lambda *_: provider)
    config = uvicorn.Config(app, http="httptools", ws="none", lifespan="on", log_config=None, access_log=False)
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as listener, anyio.fail_after(GUARD):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server._serve, [listener])
            yield listener.getsockname()[1]
            server.should_exit = True


async def exchange(port: int, request: bytes) -> tuple[bytes, bytes]:
    """Head and body of an answer, to the end of the connection."""
    async with await anyio.connect_tcp("127.0.0.1", port) as connection:
        await connection.send(request)
        data = b""
        try:
            while True:
                data += await connection.receive()
        except (anyio.EndOfStream, anyio.BrokenResourceError):
            pass
    head, _, body = data.partition(b"\r\n\r\n")
    return head.lower(), body


def posted(body: Any, *headers: bytes) -> bytes:
    data = json.dumps(body).encode()
    lines = [b"POST /v1/chat/completions HTTP/1.1", b"Host: localhost", b"Connection: close", *headers]
    lines += [b"Content-Type: application/json", b"Content-Length: %d" % len(data)]
    return b"\r\n".join(lines) + b"\r\n\r\n" + data


@pytest.mark.promise("P5", "P16")
async def test_on_a_socket_a_whole_stream_ends_its_body_and_a_failed_one_does_not() -> None:
    failing: list[Step] = [[OPENING], text("Hel"), UpstreamIncomplete("Cut.")]
    whole: list[Step] = [[OPENING], text("Hel"), *ScriptedProvider().scripts[0][2:]]
    async with listening(whole, failing) as port:
        head, body = await exchange(port, posted(STREAMED, b"Accept-Encoding: gzip, br"))
        assert head.startswith(b"http/1.1 200") and b"transfer-encoding: chunked" in head
        assert b"content-encoding" not in head and b"content-length" not in head
        assert body.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        head, body = await exchange(port, posted(STREAMED))
        assert head.startswith(b"http/1.1 200") and b"upstream_incomplete" in body
        assert not body.endswith(b"0\r\n\r\n") and b"[DONE]" not in body


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    "header",
    [b"Idempotency-Key: a\x01b", b"Idempotency-Key: \xc3\xa9", b"X-Odd: \x00", b"Headrace-On-Disconnect: \xff"],
)
async def test_on_a_socket_odd_header_bytes_are_400_without_a_trace(
    header: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    async with listening() as port:
        head, body = await exchange(port, posted(STREAMED, header))
    assert head.startswith(b"http/1.1 400") and b"Traceback" not in body
    assert "Traceback" not in caplog.text


@pytest.mark.promise("P24", "P25")
async def test_on_a_socket_a_body_over_the_limit_is_413() -> None:
    async with listening(max_request_bytes=1000) as port:
        head, body = await exchange(port, posted({**STREAMED, "user": "x" * 2000}))
        assert head.startswith(b"http/1.1 413") and b"request_too_large" in body


def test_an_archive_without_its_package_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    monkeypatch.delitem(sys.modules, "headrace.stores.objects", raising=False)
    with pytest.raises(ConfigError, match=r"pip install 'headrace\[archive\]'"):
        create_app(configured(archive_url=Secret("file:///nowhere")))
