"""Answers that take long are sent when the router has returned, so it holds nothing while they take.

FastAPI and Starlette keep a dozen frames and three exit stacks until an answer is sent: 11 KiB for each open stream and
each reader, and every wake-up and every write goes through them.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

ANSWERED = "headrace.answered"
"""Set in the scope of a request whose handler failed by a defect, once that is logged and answered."""

STARTED = "headrace.started"
"""Set in the scope of a request once the head of its answer has been sent."""

_HANDED = "headrace.handed"


class Handover:
    """ASGI around the router."""

    def __init__(self, app: ASGIApp, defect: Callable[[Request, Exception], Awaitable[Response]]) -> None:
        """`defect` reports one of an answer that was handed over, and says what to answer if nothing was sent yet."""
        self._app = app
        self._defect = defect

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the router answer, or send the answer that it has handed over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = await self._routed(scope, receive, send)
        if answer is None:
            return
        try:
            await answer(scope, receive, send)
        except Exception as error:  # noqa: BLE001 - the request's edge: it is logged there, and nobody else waits for it
            refusal = await self._defect(Request(scope), error)
            if STARTED not in scope:
                await refusal(scope, receive, send)

    async def _routed(self, scope: Scope, receive: Receive, send: Send) -> Response | None:
        answers: list[Response] = []
        own = {**scope, _HANDED: answers}  # the router leaves its exit stacks in there
        try:
            await self._app(own, receive, send)
        except Exception:  # Starlette raises a defect again, for servers that would not log it
            if ANSWERED not in own:
                raise
        return answers[0] if answers else None


class Handed(Response):
    """What a handler returns in place of an answer that takes long."""

    def __init__(self, answer: Response) -> None:
        self.background = None
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave the answer for `Handover`."""
        scope[_HANDED].append(self._answer)
