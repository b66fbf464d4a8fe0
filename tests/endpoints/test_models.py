"""`/v1/models`: what this server answers for, in OpenAI's form."""

import pytest

from headrace.config import Model
from tests.endpoints.serving import serving

pytestmark = pytest.mark.anyio

MODELS = (
    Model(name="demo", upstream_model="x", provider="local", protocol="local"),
    Model(name="house/one", upstream_model="y", provider="vllm"),
    Model(name="groq/*", upstream_model="*", provider="groq"),
)


async def test_the_list_has_every_name_but_no_patterns() -> None:
    async with serving(models=MODELS) as server:
        answer = await server.ask("GET", "/v1/models")
    assert answer.status == 200
    assert answer.json() == {
        "object": "list",
        "data": [
            {"id": "demo", "object": "model", "created": 0, "owned_by": "local"},
            {"id": "house/one", "object": "model", "created": 0, "owned_by": "vllm"},
        ],
    }


@pytest.mark.parametrize(("name", "owner"), [("demo", "local"), ("house/one", "vllm"), ("groq/llama", "groq")])
async def test_one_model_is_found_by_its_name_with_slashes_in_it_too(name: str, owner: str) -> None:
    async with serving(models=MODELS) as server:
        answer = await server.ask("GET", f"/v1/models/{name}")
    assert answer.json() == {"id": name, "object": "model", "created": 0, "owned_by": owner}


@pytest.mark.promise("P19")
@pytest.mark.parametrize("name", ["gpt-9", "groq/", "groq/*", "%00", "demo/"])
async def test_an_unknown_model_is_404_in_openais_form(name: str) -> None:
    async with serving(models=MODELS) as server:
        answer = await server.ask("GET", f"/v1/models/{name}")
    assert answer.status == 404 and answer.error_fields()["code"] == "model_not_found"
    assert answer.error_fields()["param"] == "model"
