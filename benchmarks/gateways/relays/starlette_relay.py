"""Bytes handed on by an ordinary asynchronous Python server: Starlette in front, aiohttp behind.

UPSTREAM is the address of the model server, with `/v1`.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import aiohttp
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

UPSTREAM = os.environ["UPSTREAM"]


@asynccontextmanager
async def lifespan(application: Starlette) -> AsyncIterator[None]:
    """One session for all requests."""
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=None)) as session:
        application.state.session = session
        yield


async def completions(request: Request) -> StreamingResponse:
    """Hand the stream on."""
    response = await request.app.state.session.post(
        f"{UPSTREAM}/chat/completions", data=await request.body(), headers={"content-type": "application/json"}
    )

    async def pieces() -> AsyncIterator[bytes]:
        async with response:
            async for piece in response.content.iter_any():
                yield piece

    return StreamingResponse(pieces(), status_code=response.status, media_type=response.content_type)


app = Starlette(routes=[Route("/v1/chat/completions", completions, methods=["POST"])], lifespan=lifespan)
