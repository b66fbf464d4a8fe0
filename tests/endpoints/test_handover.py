from dataclasses import dataclass, field

import anyio
import pytest
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Message, Receive, Scope, Send

from headrace.endpoints.handover import STARTED, Handed, Handover

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
        await self._app(scope, receive, send)
        self._events.append("returned")


class Broken(Response):
    """Breaks before or after the head is sent."""

    def __init__(self, early: bool) -> None:
        self.background = None
        self._early = early

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not self._early:
            await send({"type": "http.response.start", "status": 200, "headers": []})
        raise ValueError("a defect")


@dataclass
class Exchange:
    """One request and what came of it."""

    messages: list[Message] = field(default_factory=list[Message])
    reported: list[Exception] = field(default_factory=list[Exception])
    scope: Scope = field(
        default_factory=lambda: {"type": "http", "method": "GET", "path": "/", "query_string": b"", "headers": []}
    )

    async def ask(self, answer: Response, events: list[str] | None = None) -> None:
        app = FastAPI()

        @app.get("/")
        async def handler(request: Request) -> Response:  # pyright: ignore[reportUnusedFunction]
            return answer

        with anyio.fail_after(5):
            await Handover(Around(app, [] if events is None else events), self._report)(
                self.scope, self._receive, self._send
            )

    async def _report(self, request: Request, error: Exception) -> Response:
        self.reported.append(error)
        return Response(b"sorry", 500)

    async def _send(self, message: Message) -> None:
        self.messages.append(message)
        if message["type"] == "http.response.start":
            self.scope[STARTED] = True

    async def _receive(self) -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    @property
    def status(self) -> int:
        return self.messages[0]["status"]


async def test_an_answer_is_sent_when_the_router_has_returned() -> None:
    events: list[str] = []
    exchange = Exchange()
    await exchange.ask(Handed(Answer(events)), events)
    assert events == ["returned", "sent"]
    assert exchange.messages[1]["body"] == b"whole"


async def test_any_other_answer_is_sent_by_the_router() -> None:
    events: list[str] = []
    exchange = Exchange()
    await exchange.ask(Answer(events), events)
    assert events == ["sent", "returned"]
    assert len(exchange.messages) == 2


async def test_nothing_of_the_router_is_left_in_the_scope() -> None:
    exchange = Exchange()
    before = {*exchange.scope}
    await exchange.ask(Handed(Answer([])))
    assert {*exchange.scope} == before | {STARTED}


async def test_a_defect_of_the_router_that_nobody_has_answered_is_the_servers() -> None:
    with pytest.raises(ValueError, match="a defect"):
        await Exchange().ask(Broken(early=True))


@pytest.mark.parametrize(("early", "status"), [(True, 500), (False, 200)])
async def test_a_defect_in_a_handed_answer_is_reported_and_answered_unless_something_was_sent(
    early: bool, status: int
) -> None:
    exchange = Exchange()
    await exchange.ask(Handed(Broken(early)))
    assert [str(error) for error in exchange.reported] == ["a defect"]
    assert exchange.status == status
    assert len([each for each in exchange.messages if each["type"] == "http.response.start"]) == 1
