"""`GET /v1/models`, in a form that OpenAI's and Anthropic's clients both read: what this server answers for."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from headrace.config import Model
from headrace.endpoints import schemas
from headrace.endpoints.services import Services
from headrace.errors import NotFound

_UNKNOWN_TIME = "1970-01-01T00:00:00Z"
"""What Anthropic says of a model whose release is not known; `created` is 0 then."""


def router(services: Services) -> APIRouter:
    """The list and one model; a wildcard's models cannot be listed but can be asked for."""
    routes = APIRouter(tags=["models"])

    async def models() -> Response:
        entries = [_entry(entry) for entry in services.config.models if not entry.name.endswith("*")]
        ids = [entry["id"] for entry in entries] or [None]
        return JSONResponse(
            {"object": "list", "data": entries, "first_id": ids[0], "last_id": ids[-1], "has_more": False}
        )

    async def model(name: str) -> Response:
        entry = services.model(name)
        if entry is None:
            raise NotFound(f"The model {name!r} is not served here.", code="model_not_found", param="model")
        return JSONResponse(_entry(entry))

    routes.add_api_route("/v1/models", models, methods=["GET"], **schemas.MODELS)
    routes.add_api_route("/v1/models/{name:path}", model, methods=["GET"], **schemas.MODEL)
    return routes


def _entry(entry: Model) -> dict[str, object]:
    of_openai = {"object": "model", "created": 0, "owned_by": entry.provider}
    of_anthropic = {"type": "model", "display_name": entry.name, "created_at": _UNKNOWN_TIME, "lifecycle": "active"}
    return {"id": entry.name, **of_openai, **of_anthropic}
