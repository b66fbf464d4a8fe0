import anyio
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from headrace.endpoints.handover import Handed, Handover

pytestmark = pytest.mark.anyio


class Answer(Response):
    """Notes what was there when it was sent."""

    def __init__(self, events: list[str]) -> None:
        super().__init__(b"whole", 200)
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._events.append("sent")
        await super().__call__(scope, receive, send)


class Around:
    """Notes when what is below it has returned."""

    def __init__(self, app: FastAPI, events: list[str]) -> None:
        self._app = app
        self._events = events

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._app({**scope}, receive, send)
        self._events.append("returned")


async def asked(handed: bool) -> tuple[list[str], list[Message]]:
    events: list[str] = []
    app = FastAPI()

    @app.get("/")
    async def answer(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
        made = Answer(events)
        return Handed(made) if handed else made

    messages: list[Message] = []

    async def send(message: Message) -> None:
        messages.append(message)

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    scope = {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    with anyio.fail_after(5):
        await Handover(Around(app, events))(scope, receive, send)
    return events, messages


async def test_an_answer_is_sent_when_the_router_has_returned() -> None:
    events, messages = await asked(handed=True)
    assert events == ["returned", "sent"]
    assert [message["type"] for message in messages] == ["http.response.start", "http.response.body"]
    assert messages[1]["body"] == b"whole"


async def test_any_other_answer_is_sent_by_the_router() -> None:
    events, messages = await asked(handed=False)
    assert events == ["sent", "returned"]
    assert len(messages) == 2
