"""What is asked: one request, whatever shape it came in.

A provider that speaks the shape of the request sends `body` on, so nothing is lost (P17); any other builds its own
request from the fields here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Literal

import msgspec

from headrace.bodies import Body, LongBody

Role = Literal["system", "developer", "user", "assistant", "tool", "function"]


class Part(msgspec.Struct, frozen=True):
    """A piece of a message. `kind` is `text`, or the shape's own type name with its JSON kept in `raw`."""

    kind: str
    text: str = ""
    raw: msgspec.Raw | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model made in an earlier turn; `arguments` is the model's own JSON text."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True):
    """One turn of the conversation."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    call_id: str | None = None

    @property
    def text(self) -> str:
        """All text parts joined."""
        return "".join(part.text for part in self.parts)


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is its JSON Schema."""

    name: str
    description: str | None = None
    parameters: dict[str, Any] = {}
    strict: bool | None = None


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sampling and output settings under OpenAI's names; None means the upstream's default."""

    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None


class LongMessages(Collection[Message]):
    """Very many messages, made of their JSON again each time: as objects they would take ten times the memory."""

    def __init__(self, length: int, batches: Callable[[], Iterator[Sequence[Message]]]) -> None:
        """`batches` gives all of them, some at a time."""
        self._length = length
        self.batches = batches

    def __len__(self) -> int:
        """How many there are."""
        return self._length

    def __iter__(self) -> Iterator[Message]:
        """One after the other."""
        for batch in self.batches():
            yield from batch

    def __contains__(self, message: object) -> bool:
        """By looking at them."""
        return any(each == message for each in self)


class Request(msgspec.Struct, frozen=True):
    """One question to one model.

    In one whose `body` is long, any string may be a stand-in: `LongBody.sample` and `LongBody.restored` know for what.
    """

    dialect: str
    """Name of the shape that `body` is in."""
    model: str
    messages: Collection[Message]
    tools: tuple[Tool, ...] = ()
    settings: Settings = Settings()
    stream: bool = False
    """Whether the caller asked for a stream; the upstream is asked for one in any case (P12)."""
    params: str = ""
    """View parameters that the request asks for, as cursor letters (`u`: usage chunk)."""
    metadata: dict[str, str] = {}
    body: bytes | LongBody = b""
    """The request as it came, without any credential."""
    input_tokens: int | None = None
    """An estimate of the prompt, where it was read in parts and would have to be again."""

    @property
    def kept(self) -> Body:
        """What a store keeps."""
        return self.body.body if isinstance(self.body, LongBody) else self.body
