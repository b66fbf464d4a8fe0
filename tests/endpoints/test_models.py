"""`/v1/models`: what this server answers for, in a form that OpenAI's and Anthropic's clients both read."""

from typing import Any

import msgspec
import pytest
from anthropic.types import ModelInfo
from openai.types import Model as OpenAIModel

from headrace.config import Model
from tests.endpoints.serving import serving

pytestmark = pytest.mark.anyio

MODELS = (
    Model(name="demo", upstream_model="x", provider="local", protocol="local"),
    Model(name="house/one", upstream_model="y", provider="vllm"),
    Model(name="groq/*", upstream_model="*", provider="groq"),
)


def entry(name: str, owner: str) -> dict[str, Any]:
    return {
        "id": name,
        "object": "model",
        "created": 0,
        "owned_by": owner,
        "type": "model",
        "display_name": name,
        "created_at": "1970-01-01T00:00:00Z",
        "lifecycle": "active",
    }


async def test_the_list_has_every_name_but_no_patterns() -> None:
    async with serving(models=MODELS) as server:
        answer = await server.ask("GET", "/v1/models")
    assert answer.status == 200
    assert answer.json() == {
        "object": "list",
        "data": [entry("demo", "local"), entry("house/one", "vllm")],
        "first_id": "demo",
        "last_id": "house/one",
        "has_more": False,
    }


async def test_a_server_that_can_list_nothing_has_an_empty_list() -> None:
    async with serving(models=MODELS[2:]) as server:
        answer = await server.ask("GET", "/v1/models")
    nothing: dict[str, Any] = {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
    assert answer.json() == nothing


async def test_a_model_is_what_both_official_clients_take_for_one() -> None:
    async with serving(models=MODELS) as server:
        found = (await server.ask("GET", "/v1/models/demo")).json()
    assert OpenAIModel.model_validate(found, strict=True).owned_by == "local"
    assert ModelInfo.model_validate_json(msgspec.json.encode(found), strict=True).display_name == "demo"


@pytest.mark.parametrize(("name", "owner"), [("demo", "local"), ("house/one", "vllm"), ("groq/llama", "groq")])
async def test_one_model_is_found_by_its_name_with_slashes_in_it_too(name: str, owner: str) -> None:
    async with serving(models=MODELS) as server:
        answer = await server.ask("GET", f"/v1/models/{name}")
    assert answer.json() == entry(name, owner)


@pytest.mark.promise("P19")
@pytest.mark.parametrize("name", ["gpt-9", "groq/", "groq/*", "%00", "demo/"])
async def test_an_unknown_model_is_404_in_openais_form(name: str) -> None:
    async with serving(models=MODELS) as server:
        answer = await server.ask("GET", f"/v1/models/{name}")
    assert answer.status == 404 and answer.error_fields()["code"] == "model_not_found"
    assert answer.error_fields()["param"] == "model"
