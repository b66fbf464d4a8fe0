"""Images and documents on their way to a model server: passed on, and never fetched."""

from __future__ import annotations

from typing import Any

import anyio
import msgspec
import pytest

from headrace.config import Model
from headrace.dialects import NATIVE, OPENAI_CHAT
from headrace.dialects.base import Dialect
from headrace.providers.model_server import ModelServer
from headrace.providers.openai import CHAT
from tests.servers.scripted import END, ScriptedServer, chat, chunk, head

pytestmark = pytest.mark.anyio


@pytest.mark.promise("P34")
@pytest.mark.parametrize(
    ("dialect", "part"),
    [
        (NATIVE, lambda url: {"type": "image", "url": url}),
        (OPENAI_CHAT, lambda url: {"type": "image_url", "image_url": {"url": url}}),
        (OPENAI_CHAT, lambda url: {"type": "video_url", "video_url": {"url": url}}),
    ],
)
async def test_an_address_is_passed_on_and_never_fetched(dialect: Dialect, part: Any) -> None:
    async with ScriptedServer() as server:
        server.script(head(), chunk(chat("A river.")), END)
        address = f"{server.url}/picture.png"
        content = [part(address)]
        request = dialect.parse(msgspec.json.encode({"model": "m", "messages": [{"role": "user", "content": content}]}))
        made = ModelServer(CHAT, Model(name="m", upstream_model="m", base_url=server.url))
        try:
            made.check(request)
            with anyio.fail_after(5):
                async for _ in made.stream(request, "m"):
                    pass
        finally:
            await made.close()
    (asked,) = server.requests
    assert (asked.method, asked.path) == ("POST", "/v1/chat/completions")
    assert address in asked.body.decode()
