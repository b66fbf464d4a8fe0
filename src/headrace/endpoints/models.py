"""`GET /v1/models`, in OpenAI's form: what this server answers for."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from headrace.config import Model
from headrace.endpoints import schemas
from headrace.endpoints.services import Services
from headrace.errors import NotFound


def router(services: Services) -> APIRouter:
    """The list and one model; a wildcard's models cannot be listed but can be asked for."""
    routes = APIRouter(tags=["models"])

    async def models() -> Response:
        entries = [_entry(entry) for entry in services.config.models if not entry.name.endswith("*")]
        return JSONResponse({"object": "list", "data": entries})

    async def model(name: str) -> Response:
        entry = services.model(name)
        if entry is None:
            raise NotFound(f"The model {name!r} is not served here.", code="model_not_found", param="model")
        return JSONResponse(_entry(entry))

    routes.add_api_route("/v1/models", models, methods=["GET"], **schemas.MODELS)
    routes.add_api_route("/v1/models/{name:path}", model, methods=["GET"], **schemas.MODEL)
    return routes


def _entry(entry: Model) -> dict[str, object]:
    return {"id": entry.name, "object": "model", "created": 0, "owned_by": entry.provider}
