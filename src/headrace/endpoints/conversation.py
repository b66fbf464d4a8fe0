"""`previous_response_id`: a request that continues an earlier answer, with what was said before it.

Where the model server that gave the earlier answer keeps it, it is told its own id of it. Any other is told the whole
conversation, which is put together from the stored requests and answers, so all model servers can continue all answers.
"""

from __future__ import annotations

import msgspec
from msgspec import Raw

from headrace.bodies import Body, LongBody, Pieces
from headrace.config import Model
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
from headrace.endpoints.services import Services
from headrace.engine.reading import gathered, stepwise
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
        try:
            return await self._continued(asked, previous, owner)
        except NotFound as error:
            text = "A response of the conversation that previous_response_id continues is not here, or was not stored."
            raise NotFound(text, code="previous_response_not_found", param=PREVIOUS) from error

    async def _continued(self, asked: Asked, previous: str, owner: str) -> bytes | LongBody:
        model = self._services.model(asked.model)
        stream_id, body = await self._found(previous, owner)
        upstream_id = await self._kept_upstream(model, stream_id)
        if upstream_id is not None:
            return continuing(asked.body, upstream_id)
        links: list[Link] = []
        left = self._services.config.max_request_bytes - _size_of(asked.body)
        while True:
            left -= len(body)
            link = await self._link(model, stream_id, body) if left >= 0 else None
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
        stream_id = attach.stream_of(public_id)
        state = (await self._engine.info(stream_id, owner)).state
        dialect = (await self._engine.first(stream_id)).dialect
        body = await self._engine.request(stream_id)
        if dialect != OPENAI_RESPONSES.name or not body:
            raise NotFound(f"There is no response {stream_id}, or it was not stored.")
        if state == "running":
            text = "The response of previous_response_id still runs: wait for its end, or cancel it."
            raise BadRequest(text, code="previous_response_running", param=PREVIOUS)
        return stream_id, body

    async def _link(self, model: Model | None, stream_id: str, body: Body) -> Link:
        asked = await gathered(stepwise(body.parts if isinstance(body, Pieces) else (body,)))
        answer = await self._engine.answer(stream_id)
        return Link(asked, _output(answer, reasoning=self._same_server(model, answer.start.model)))

    async def _kept_upstream(self, model: Model | None, stream_id: str) -> str | None:
        """The id under which the model server that is asked now keeps an answer that it gave before."""
        step, frame = await self._begun(stream_id)
        if model is None or step is None or model.protocol != _PROTOCOL or step.dialect != OPENAI_RESPONSES.name:
            return None
        same = self._same_server(model, (await self._engine.first(stream_id)).model)
        return step.upstream_id or None if same and says_stored(frame) else None

    def _same_server(self, model: Model | None, earlier: str) -> bool:
        """Whether the model server that is asked now is the one that an earlier model's requests go to."""
        before = self._services.model(earlier)
        if model is None or before is None:
            return False
        return (model.provider, model.base_url, model.api_key) == (before.provider, before.base_url, before.api_key)

    async def _begun(self, stream_id: str) -> tuple[StepStart | None, Raw | None]:
        """How a model server began to answer, and its own frame that said so."""
        record = await self._engine.beginning(stream_id)
        if record is None:
            return None, None
        return next(event for event in record.events if isinstance(event, StepStart)), record.raw

    def _too_long(self) -> BadRequest:
        most = self._services.config.max_request_bytes
        text = (
            f"The conversation before this request is over {_MOST_LINKS} responses, or over {most} bytes with it "
            "(max_request_bytes): begin a new one with a summary."
        )
        return BadRequest(text, code="context_length_exceeded", param=PREVIOUS)


def _output(answer: Answer, *, reasoning: bool) -> list[bytes]:
    """What a model goes on from, as JSON; reasoning only where the server that signed it is asked again.

    Of an answer that broke off it is only what it said: a model server refuses a call whose arguments end in the
    middle, and one that nobody has answered.
    """
    terminal = answer.terminal
    whole = isinstance(terminal, Finished) and terminal.reason not in _BROKEN_OFF
    return [
        msgspec.json.encode(item)
        for item in output_items(answer)
        if item["type"] == "message" or (whole and (reasoning or item["type"] != "reasoning"))
    ]


def _size_of(body: bytes | LongBody) -> int:
    return len(body.body if isinstance(body, LongBody) else body)
