"""Answers that take long are sent when the router has returned, so it holds nothing while they take.

FastAPI and Starlette keep a dozen frames and three exit stacks until an answer is sent: 10 KB for each open stream and
each reader, and every wake-up goes through all of those frames.
"""

from __future__ import annotations

from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

_HANDED = "headrace.handed"


class Handover:
    """ASGI around the router; inside of what reports defects."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the router answer, or send the answer that it has handed over."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answers: list[Response] = []
        # A scope of its own, for the router puts its exit stacks into it.
        await self._app({**scope, _HANDED: answers}, receive, send)
        if answers:
            await answers.pop()(scope, receive, send)


class Handed(Response):
    """What a handler returns in place of an answer that takes long."""

    def __init__(self, answer: Response) -> None:
        self.background = None
        self._answer = answer

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Leave the answer for `Handover`."""
        scope[_HANDED].append(self._answer)
