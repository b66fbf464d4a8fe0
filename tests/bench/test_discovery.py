import socket

import pytest

from headrace.bench.discovery import first_model, reach
from headrace.bench.target import parse_target
from headrace.errors import HeadraceError
from headrace.mock import MockServer, Settings
from tests.servers.scripted import Close, ScriptedServer, head, whole

pytestmark = pytest.mark.anyio

CHAT = "/v1/chat/completions"


async def test_a_server_that_is_there_is_known_by_its_address():
    async with MockServer() as server:
        url = server.url.replace("127.0.0.1", "localhost")
        found = await reach(parse_target(url, CHAT))
        assert (found.address, found.host) == ("127.0.0.1", "localhost")
        assert found.url == f"{url}{CHAT}"


async def test_a_server_that_is_not_there_is_said_once_and_what_to_do():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(HeadraceError, match="nothing listens there; is the server running"):
        await reach(parse_target(f"http://127.0.0.1:{port}", CHAT))


async def test_a_name_without_an_address_is_said():
    with pytest.raises(HeadraceError, match=r"there is no address for 'nowhere\.invalid'"):
        await reach(parse_target("http://nowhere.invalid", CHAT))


async def test_a_server_without_tls_is_no_secure_one():
    async with MockServer() as server:
        target = parse_target(server.url.replace("http:", "https:"), CHAT)
        with pytest.raises(HeadraceError, match=r"no secure connection: .*--insecure"):
            await reach(target)


async def test_the_first_model_is_the_first_that_the_server_names():
    async with MockServer(Settings(models=("b", "a"))) as server:
        assert await first_model(parse_target(f"{server.url}/v1", CHAT), {}) == "b"


async def test_models_are_asked_for_beside_the_endpoint_and_with_the_key():
    async with ScriptedServer() as server:
        server.choose = lambda _: [whole(b'{"data": [{"id": "x"}]}')]
        await first_model(
            parse_target(f"{server.url}/api/v1/chat/completions".replace("/v1/api", "/api"), CHAT),
            {"authorization": "k"},
        )
        (request,) = server.requests
        assert (request.method, request.path) == ("GET", "/api/v1/models")
        assert request.headers["authorization"] == "k"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ((whole(b'{"error": {"message": "bad key"}}', 401),), "status 401: bad key; name the model with --model"),
        ((whole(b"nothing here", 404),), "status 404: nothing here"),
        ((whole(b'{"data": []}'),), "names no model"),
        ((whole(b"<html>"),), "names no model"),
        ((b"SSH-2.0-OpenSSH\r\n",), "does not speak HTTP"),
        ((head(), Close()), "cut off"),
    ],
)
async def test_a_server_that_names_no_model_is_said_and_what_to_do(answer, words):
    async with ScriptedServer() as server:
        server.choose = lambda _: answer
        with pytest.raises(HeadraceError) as caught:
            await first_model(parse_target(server.url, CHAT), {})
        assert words in caught.value.message
        assert "--model" in caught.value.message
