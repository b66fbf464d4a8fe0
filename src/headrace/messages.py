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


class Media(msgspec.Struct, frozen=True):
    """An image, a document or a sound: its bytes, or where they are. Headrace never fetches them (P34).

    `dialects.media` turns one way to say it into another, also where the strings are stand-ins of a long body.
    """

    data: str = ""
    """The bytes in base64, as they came; empty where there is an address or a file's id instead."""
    type: str = ""
    """The media type of `data`, such as `image/png`; OpenAI's `format` for audio (`wav`, `mp3`)."""
    url: str = ""
    """An address, or a `data:` URL as it came."""
    file_id: str = ""
    """A file that was uploaded to the model server before."""
    name: str = ""
    """File name, or the title of a document."""
    detail: str = ""
    """OpenAI's `detail` of an image: `low`, `high`, `auto`."""


class Part(msgspec.Struct, frozen=True):
    """A piece of a message.

    | kind | what it has |
    |---|---|
    | `text`, `refusal` | `text` |
    | `image`, `audio`, `file` | `media` |
    | `reasoning` | `text`, `signature` where the model gave one |
    | `redacted` | reasoning that only the model can read: `signature` is all of it |
    | any other | the shape's own type name, and its JSON in `raw`: only an upstream of that shape understands it |
    """

    kind: str
    text: str = ""
    media: Media | None = None
    signature: str = ""
    raw: msgspec.Raw | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """A call that the model made in an earlier turn; `arguments` is the model's own JSON text."""

    id: str
    name: str
    arguments: str


class Message(msgspec.Struct, frozen=True):
    """One turn of the conversation. What a tool gave back is a message of its own, with the role `tool`."""

    role: Role
    parts: tuple[Part, ...] = ()
    name: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    """After the parts, in the order in which they were made."""
    call_id: str | None = None
    is_error: bool = False
    """Whether the tool failed."""

    @property
    def text(self) -> str:
        """All text parts joined."""
        return "".join(part.text for part in self.parts if part.kind == "text")


class Tool(msgspec.Struct, frozen=True):
    """A function that the model may call; `parameters` is its JSON Schema.

    A tool of another `kind` is one that the model server brings; only an upstream of the request's shape knows it.
    """

    name: str
    description: str | None = None
    parameters: dict[str, Any] = {}
    strict: bool | None = None
    kind: str = "function"


class Settings(msgspec.Struct, frozen=True, omit_defaults=True):
    """Sampling and output settings under OpenAI's names; None means the upstream's default."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    seed: int | None = None
    n: int | None = None
    presence_penalty: float | None = None
    frequency_penalty: float | None = None
    tool_choice: str | dict[str, Any] | None = None
    """`none`, `auto`, `required`, or `{"type": "function", "function": {"name": …}}`."""
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    """`{"type": "json_schema", "json_schema": {"name", "schema", "strict"}}`, `json_object` or `text`."""
    reasoning_effort: str | None = None
    """`none`, `minimal`, `low`, `medium`, `high`, or a newer word."""


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
    echo: msgspec.Raw | None = None
    """What the shape's answers repeat of the request: a JSON object, 64 KiB at most."""
    headers: tuple[tuple[str, str], ...] = ()
    """Headers that go on to an upstream of the same shape (`anthropic-beta`); never a credential (P34)."""
    background: bool = False
    """Whether the caller takes only the id, and comes back."""
    stored: bool = True
    """False: the stream is there only while it has readers, and for its grace time; its request is not kept."""
    previous: str | None = None
    """The public id of the answer that this request continues, as it came."""
    continues: bool = False
    """Whether the last message is the beginning of the answer, with which the model goes on."""
    as_sent: Body | None = None
    """What the caller sent, where `body` is more: with the conversation before it."""

    @property
    def kept(self) -> Body:
        """What a store keeps."""
        if not self.stored:
            return b""
        if self.as_sent is not None:
            return self.as_sent
        return self.body.body if isinstance(self.body, LongBody) else self.body
