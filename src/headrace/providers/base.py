"""What a provider is: a request in, batches of chunks out."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Coroutine
from typing import Any, Protocol

from headrace.events import Chunk
from headrace.messages import Request


class Provider(Protocol):
    """The only code that talks to model servers; one instance per configured model."""

    name: str
    """As people know it: `openai`, `local`, `replay`, …"""

    def stream(self, request: Request, model: str) -> AsyncGenerator[list[Chunk], None]:
        """Ask `model` (its name at the upstream) and yield what arrives, one list per socket read.

        The generator ends cleanly only after the upstream's terminal marker. Closing it (`aclose`), or cancelling the
        task that runs it, closes the upstream's transport before the call returns; only then may a cancel be answered
        (P7). The first chunk holds a `StepStart`.

        Raises:
            UpstreamError: with what went wrong; chunks that were yielded before stay valid.
            RateLimited: the upstream's 429, or a full local queue.
        """
        ...

    def check(self, request: Request) -> None:
        """Refuse a request that cannot be said to this provider, before anything is asked (P25).

        Of a long request, messages are judged only when it is sent.

        Raises:
            BadRequest: `unsupported_parameter`, naming the field.
        """
        ...

    async def start(self) -> None:
        """Open what makes the first answer fast; called once, before the server accepts."""
        ...

    async def close(self) -> None:
        """Close every connection; called once, after the last stream has ended."""
        ...


class Counting(Provider, Protocol):
    """A provider that can also say how many tokens a request has, without answering it."""

    async def count_tokens(self, request: Request, model: str) -> int:
        """Tokens of the request for `model` (its name at the upstream); nothing is kept of it.

        Raises:
            BadRequest: the request cannot be said to this provider.
            HeadraceError: as `stream` before its first chunk.
        """
        ...


Take = Callable[[list[Chunk]], Coroutine[Any, Any, None] | None]
"""Takes a batch at once; gives back what has to be awaited before the next one, if there is anything.

It raises what ends the stream.
"""


class Pushing(Provider, Protocol):
    """A provider that can also hand every batch on in the turn of the event loop in which it arrives.

    Waking the relay's task for each read costs more than all that the relay does with a token.
    """

    async def push(self, request: Request, model: str, take: Take) -> None:
        """The same as `stream` with every batch given to `take`; returns where the generator would end.

        Cancelling it closes the upstream's transport before it returns (P7); `take` is not called any more then.
        """
        ...
