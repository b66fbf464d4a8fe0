"""`previous_response_id`: a request that continues an earlier answer, with what was said before it.

Where the model server that gave the earlier answer keeps it, it is told its own id of it. Any other is told the whole
conversation, which is put together from the stored requests and answers, so all model servers can continue all answers.
"""

from __future__ import annotations

import msgspec

from headrace.bodies import Body, LongBody, Pieces
from headrace.dialects import OPENAI_RESPONSES
from headrace.dialects.openai_responses import output_items
from headrace.dialects.openai_responses.chain import (
    PREVIOUS,
    Link,
    continuing,
    joined,
    previous_of,
    says_stored,
)
from headrace.endpoints import attach
from headrace.endpoints.body import gathered, stepwise
from headrace.endpoints.services import Services
from headrace.errors import BadRequest, NotFound
from headrace.events import Answer, Finished, StepStart
from headrace.messages import Request as Asked

_PROTOCOL = "openai-responses"
_MOST_LINKS = 100
_BROKEN_OFF = ("length", "content_filter")


class Conversations:
    """The answers of this server that requests may continue."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self._engine = services.engine

    async def continued(self, asked: Asked, previous: str, owner: str) -> bytes | LongBody:
        """The body of a request that continues `previous`, in which that is said in full, or as the model server's id.

        Raises:
            NotFound: an answer of the conversation is unknown, expired, was not stored, or is another owner's (P32).
            BadRequest: the last answer still runs, or the conversation is too long.
        """
        stream_id, body = await self._found(previous, owner)
        upstream_id = await self._kept_upstream(asked.model, stream_id)
        if upstream_id is not None:
            return continuing(asked.body, upstream_id)
        links: list[Link] = []
        left = self._services.config.max_request_bytes - _size_of(asked.body)
        while True:
            left -= len(body)
            link = await self._link(stream_id, body) if left >= 0 else None
            left -= sum(map(len, link.output)) if link is not None else 0
            if link is None or left < 0 or len(links) == _MOST_LINKS:
                raise self._too_long()
            links.append(link)
            earlier = previous_of(link.asked)
            if earlier is None:
                return await gathered(stepwise(joined(asked.body, reversed(links))))
            stream_id, body = await self._found(earlier, owner)

    async def _found(self, public_id: str, owner: str) -> tuple[str, Body]:
        """The stream of an answer, and its request."""
        try:
            stream_id = attach.stream_of(public_id)
            state = (await self._engine.info(stream_id, owner)).state
            dialect = (await self._engine.first(stream_id)).dialect
            body = await self._engine.request(stream_id)
        except NotFound as error:
            raise _unknown() from error
        if dialect != OPENAI_RESPONSES.name or not body:
            raise _unknown()
        if state == "running":
            text = "The response of previous_response_id still runs: wait for its end, or cancel it."
            raise BadRequest(text, code="previous_response_running", param=PREVIOUS)
        return stream_id, body

    async def _link(self, stream_id: str, body: Body) -> Link:
        asked = await gathered(stepwise(body.parts if isinstance(body, Pieces) else (body,)))
        try:
            answer = await self._engine.answer(stream_id)
        except NotFound as error:  # it expired meanwhile
            raise _unknown() from error
        return Link(asked, _output(answer))

    async def _kept_upstream(self, model: str, stream_id: str) -> str | None:
        """The id under which the model server that is asked now keeps an answer that it gave before."""
        entry = self._services.model(model)
        begun = await self._engine.beginning(stream_id)
        if entry is None or begun is None or entry.protocol != _PROTOCOL:
            return None
        step = next(event for event in begun.events if isinstance(event, StepStart))
        same = (step.provider, step.dialect) == (entry.provider, OPENAI_RESPONSES.name)
        return step.upstream_id or None if same and says_stored(begun.raw) else None

    def _too_long(self) -> BadRequest:
        most = self._services.config.max_request_bytes
        text = (
            f"The conversation before this request is over {_MOST_LINKS} responses, or over {most} bytes with it "
            "(max_request_bytes): begin a new one with a summary."
        )
        return BadRequest(text, code="context_length_exceeded", param=PREVIOUS)


def _unknown() -> NotFound:
    text = "A response of the conversation that previous_response_id continues is not here, or was not stored."
    return NotFound(text, code="previous_response_not_found", param=PREVIOUS)


def _output(answer: Answer) -> list[bytes]:
    """What a model goes on from, as JSON. Of an answer that broke off only what it said.

    A model server refuses a call whose arguments end in the middle, and one that nobody has answered.
    """
    terminal = answer.terminal
    whole = isinstance(terminal, Finished) and terminal.reason not in _BROKEN_OFF
    return [msgspec.json.encode(item) for item in output_items(answer) if whole or item["type"] == "message"]


def _size_of(body: bytes | LongBody) -> int:
    return len(body.body if isinstance(body, LongBody) else body)
