"""How an answer goes on whose model server is not heard of any more: the same request with the text so far at its end.

The model server sees the beginning of its own answer and writes the rest; in the log both are one answer.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing

import msgspec

from headrace.bodies import Body, Pieces
from headrace.dialects import DIALECTS
from headrace.dialects.prefill import prefilled
from headrace.engine.outcomes import lost
from headrace.engine.reading import gathered, parsed, stepwise
from headrace.errors import BadRequest, UpstreamError, UpstreamRejected
from headrace.events import Chunk, Event, Status
from headrace.messages import Request, Settings
from headrace.providers.base import Provider
from headrace.transforms.seam import CONTINUED, Draft, Seam

MOST = 3
"""Times that one answer is continued: a request on which servers die is not handed from one to the next for ever."""

NOT_CONTINUED = "not_continued"


async def request_of(draft: Draft, body: Body) -> Request:
    """What is asked so that the answer of which `draft` is the beginning goes on; `body` is the request as it came.

    Where nothing has been said it is the request itself.

    Raises:
        BadRequest: the answer cannot be continued; the message says why.
    """
    if draft.start is None or not body:
        raise BadRequest("the request was not stored")
    if draft.continued >= MOST:
        raise BadRequest(f"it was continued {MOST} times already")
    dialect = DIALECTS[draft.start.dialect]
    pieces = body.parts if isinstance(body, Pieces) else (body,)
    asked = await parsed(await gathered(stepwise(pieces)), dialect)
    if asked.previous is not None:
        raise BadRequest("the request continues another answer")
    if draft.silent:
        return asked
    if not draft.textual or not _takes_text(asked.settings):
        raise BadRequest("only text can be continued")
    written = draft.whole.estimated_output_tokens()
    pieces = prefilled(asked.body, dialect.place, draft.text.rstrip(), written)
    return msgspec.structs.replace(await parsed(await gathered(stepwise(pieces)), dialect), continues=True)


def _takes_text(settings: Settings) -> bool:
    """Whether the answer is one text, and not one of several or a value that would begin anew."""
    kind = (settings.response_format or {}).get("type", "text")
    return (settings.n or 1) == 1 and kind == "text"


def opening(draft: Draft) -> tuple[Event, ...]:
    """What stands in the log between the two."""
    what = "The model goes on with the text above." if draft.text else "The model is asked again."
    return (Status(CONTINUED, f"The server that produced this answer stopped. {what}"),)


class Continuing:
    """A `Provider` whose answers go on with a draft."""

    def __init__(self, provider: Provider, draft: Draft) -> None:
        """`provider` is asked."""
        self.name = provider.name
        self._provider = provider
        self._draft = draft

    async def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        """See `Provider.stream`.

        A model server that refuses to go on has not refused what the caller asked: that is `producer_lost`.
        """
        seam = Seam(self._draft)
        try:
            async with aclosing(self._provider.stream(request, model)) as batches:
                async for batch in batches:
                    chunks = seam.joined(batch)
                    if chunks:
                        yield chunks
        except (BadRequest, UpstreamRejected) as error:
            if seam.begun:
                raise
            refused = error
        else:
            return
        # Something of this attempt is in the log then, so it is not tried again.
        yield [Chunk((Status(NOT_CONTINUED, refused.message),))]
        end = lost()
        raise UpstreamError(end.message, code=end.code, status=end.status, retryable=True) from refused

    def check(self, request: Request) -> None:
        """See `Provider.check`."""
        self._provider.check(request)

    async def start(self) -> None:
        """It has been started."""

    async def close(self) -> None:
        """It belongs to others."""
