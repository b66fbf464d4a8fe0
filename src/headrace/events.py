"""What a stream says: events, and the records of the log that carry them.

One upstream frame becomes one `Record`; its events are provider-neutral. docs/protocol.md is the specification.

Every struct has `gc=False`: events hold no cycles, and a log of a million tracked objects is what the collector
would otherwise walk (that walk, not the work, was the tail of the added latency: 53-74 ms p99 against 3.9 ms).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

if TYPE_CHECKING:
    OptionalRaw = msgspec.Raw | None
else:
    # msgspec reads `Raw | None` as null only. As `Raw` with None for a default, a value is read and None never written.
    OptionalRaw = msgspec.Raw

ItemKind = Literal["text", "reasoning", "refusal", "tool_call", "source", "file", "data"]
UsageSource = Literal["provider", "estimated", "partial"]
# msgspec checks these where it reads a record.
Number = Annotated[int, Meta(ge=0)]
FailureStatus = Annotated[int, Meta(ge=400, le=599)]
Delay = Annotated[float, Meta(ge=0)]

RENDER_VERSION = 1
"""Version of all views: a cursor carries it, so a later release never resumes a stream with other frames."""


class _Event(msgspec.Struct, frozen=True, gc=False, omit_defaults=True, tag_field="type"):
    """Base of all events: immutable, tagged by `type`, defaults left out of the JSON."""


class StreamStart(_Event, frozen=True, tag="stream.start"):
    """Record 0: everything that a view may need later, so that rendering reads no clock and draws no number."""

    id: str
    owner: str
    created: int
    """Unix time in seconds; every `created` in every shape is this one."""
    model: str
    """The model as the caller named it; every `model` in every shape is this one."""
    dialect: str
    """Name of the shape that created the stream; its default view."""
    params: str = ""
    """View parameters as the letters that the cursor carries, e.g. `u` for include_usage."""
    version: int = RENDER_VERSION
    input_tokens: int = 0
    """Estimated prompt tokens, used until the upstream reports its own count."""
    meta: dict[str, str] = {}
    echo: OptionalRaw = None
    """What the shape's answers repeat of the request (OpenAI Responses: tools, instructions, …): a JSON object."""


class ItemStart(_Event, frozen=True, tag="item.start"):
    """A part of the answer begins; `item` is dense over the stream, `choice` counts from 0."""

    item: Number
    kind: ItemKind
    choice: Number = 0
    name: str | None = None
    """Tool name; for reasoning the vendor's field name (`reasoning_content` or `reasoning`), or `redacted`; for `data`
    the shape's own type name."""
    call_id: str | None = None


class ItemEnd(_Event, frozen=True, tag="item.end"):
    """No more deltas for this item."""

    item: int


class TextDelta(_Event, frozen=True, tag="text.delta"):
    """A piece of text, reasoning or refusal; which one is said by the item."""

    item: int
    text: str
    logprobs: OptionalRaw = None
    """The shape's own logprobs JSON of this piece, verbatim."""


class ArgsDelta(_Event, frozen=True, tag="args.delta"):
    """A fragment of a tool call's arguments, exactly as the model wrote it (P18)."""

    item: int
    json: str


class Signature(_Event, frozen=True, tag="signature"):
    """Opaque proof of a reasoning item; replaces an earlier one, byte for byte."""

    item: int
    data: str


class ToolResult(_Event, frozen=True, tag="tool.result"):
    """What a tool that ran on the server gave back."""

    call_id: str
    output: Any
    is_error: bool = False


class ObjectValue(_Event, frozen=True, tag="object"):
    """Structured output so far; `complete` lists the paths whose values are final."""

    item: int
    value: Any
    complete: tuple[str, ...] = ()


class Usage(_Event, frozen=True, tag="usage"):
    """Token totals of the stream so far; the last one counts."""

    input: int
    """All of the prompt, `cached` and `cache_write` included."""
    output: int
    """All that was written, `reasoning` included."""
    cached: int = 0
    """Read from the model server's cache."""
    reasoning: int = 0
    source: UsageSource = "provider"
    cache_write: int = 0
    """Written to the model server's cache."""


class StepStart(_Event, frozen=True, tag="step.start"):
    """One model round begins: written with the first frame of the upstream that answers it."""

    provider: str
    model: str
    """The model's name at the upstream."""
    dialect: str = ""
    """The shape that the upstream speaks: raw records of this step are in it."""
    upstream_id: str = ""
    usage: Usage | None = None


class StepEnd(_Event, frozen=True, tag="step.end"):
    """One model round ended."""

    finish: str
    usage: Usage | None = None


class ChoiceEnd(_Event, frozen=True, tag="choice.end"):
    """One of `n` alternatives ended; `reason` in OpenAI's words (`stop`, `length`, `tool_calls`, …) or the vendor's."""

    choice: Number
    reason: str


class Attrs(_Event, frozen=True, tag="attrs"):
    """Vendor fields that are constant over a stream; written when a value changes."""

    values: dict[str, Any]


class Status(_Event, frozen=True, tag="status"):
    """Something a person may want to know (`retrying`, `queued`, `switched`); strict shapes never show it."""

    code: str
    message: str


class Finished(_Event, frozen=True, tag="finished"):
    """Terminal: the answer is whole; `length` and `content_filter` are reasons too."""

    reason: str


class Failed(_Event, frozen=True, tag="failed"):
    """Terminal: the answer stopped short."""

    code: str
    message: str
    retryable: bool = False
    status: FailureStatus = 502
    """HTTP status of the same failure before the commit point."""
    retry_after: Delay | None = None
    """Seconds, when the upstream said so."""
    param: str | None = None
    """The request's field that is wrong, where the upstream names one."""


class Cancelled(_Event, frozen=True, tag="cancelled"):
    """Terminal: somebody, or the disconnect policy, stopped it. `by` is `client`, `disconnect` or `shutdown`."""

    by: str


Terminal = Finished | Failed | Cancelled
Event = (
    StreamStart
    | ItemStart
    | ItemEnd
    | TextDelta
    | ArgsDelta
    | Signature
    | ToolResult
    | ObjectValue
    | StepStart
    | StepEnd
    | ChoiceEnd
    | Attrs
    | Status
    | Usage
    | Finished
    | Failed
    | Cancelled
)
TERMINAL = (Finished, Failed, Cancelled)


class Chunk(msgspec.Struct, frozen=True, gc=False):
    """One upstream frame, decoded, before it has a place in the log."""

    events: tuple[Event, ...]
    raw: OptionalRaw = None
    """The frame's JSON, kept only where `events` cannot say all that it says (P17)."""


class Record(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """One entry of the log; `seq` is dense from 0, `at_ms` is Unix time in milliseconds."""

    seq: Number
    at_ms: Number
    events: tuple[Event, ...]
    raw: OptionalRaw = None

    @property
    def terminal(self) -> Terminal | None:
        """The terminal event, if this record ends the stream."""
        last = self.events[-1] if self.events else None
        return last if isinstance(last, TERMINAL) else None


decode_record = msgspec.json.Decoder(Record).decode
"""One record from its JSON, as the native shape and stores write it. Raises `codecs.NOT_JSON`."""


class AnswerItem(msgspec.Struct, frozen=True):
    """One item with all its deltas joined."""

    kind: ItemKind
    text: str
    """Text, or a tool call's arguments."""
    name: str | None = None
    call_id: str | None = None
    signature: str | None = None
    logprobs: tuple[msgspec.Raw, ...] = ()


class AnswerChoice(msgspec.Struct, frozen=True):
    """One alternative; `finish` is None while it runs or when the upstream never said."""

    index: int
    items: tuple[AnswerItem, ...]
    finish: str | None


class Answer(msgspec.Struct, frozen=True):
    """A log folded into one value: what a non-streaming caller gets."""

    start: StreamStart
    choices: tuple[AnswerChoice, ...]
    usage: Usage | None
    attrs: dict[str, Any]
    raw: tuple[msgspec.Raw, ...]
    """Raw frames in order, each in the shape that `raw_dialect` names."""
    raw_dialect: str
    terminal: Terminal | None

    @property
    def text(self) -> str:
        """The text of the first choice."""
        items = self.choices[0].items if self.choices else ()
        return "".join(item.text for item in items if item.kind == "text")
