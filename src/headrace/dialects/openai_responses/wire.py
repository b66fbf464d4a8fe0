"""The JSON of Responses frames.

Those that come with every token are read strictly: one that says more than is modelled is noticed while it is parsed,
and keeps its own JSON. All others keep it anyway.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

from headrace.codecs import NOT_JSON

NAME = "openai.responses"
PREFIX = "resp_"
ENDS = ("response.completed", "response.incomplete")
"""Types of the frames that end an answer which did not fail."""
NULL = Raw(b"null")


class DeltaFrame(msgspec.Struct, gc=False, forbid_unknown_fields=True, tag_field="type"):
    """More of one part. `obfuscation` is padding against traffic analysis and is dropped."""

    delta: str
    item_id: str = ""
    output_index: int = 0
    sequence_number: int = 0
    obfuscation: str | None = None


class TextFrame(DeltaFrame, gc=False, forbid_unknown_fields=True, tag="response.output_text.delta"):
    """Text of a message."""

    content_index: int = 0
    logprobs: Raw = NULL


class RefusalFrame(DeltaFrame, gc=False, forbid_unknown_fields=True, tag="response.refusal.delta"):
    """A refusal."""

    content_index: int = 0


class ThoughtFrame(DeltaFrame, gc=False, forbid_unknown_fields=True, tag="response.reasoning_text.delta"):
    """What the model thinks."""

    content_index: int = 0


class SummaryFrame(DeltaFrame, gc=False, forbid_unknown_fields=True, tag="response.reasoning_summary_text.delta"):
    """A summary of what it thinks."""

    summary_index: int = 0


class ArgumentsFrame(DeltaFrame, gc=False, forbid_unknown_fields=True, tag="response.function_call_arguments.delta"):
    """More of a call's arguments."""


AnyDelta = TextFrame | RefusalFrame | ThoughtFrame | SummaryFrame | ArgumentsFrame
read_delta = msgspec.json.Decoder(AnyDelta).decode
"""A frame that adds to a part and says nothing else. Raises `codecs.NOT_JSON` for any other."""


class CachedDetails(msgspec.Struct, gc=False):
    """The part of `input_tokens_details` that the event model knows."""

    cached_tokens: int | None = None
    cache_write_tokens: int | None = None


class ReasoningDetails(msgspec.Struct, gc=False):
    """The part of `output_tokens_details` that the event model knows."""

    reasoning_tokens: int | None = None


class UsageBlock(msgspec.Struct, gc=False):
    """Token counts; cached ones are part of the input's, reasoning of the output's."""

    input_tokens: int | None = None
    output_tokens: int | None = None
    input_tokens_details: CachedDetails | None = None
    output_tokens_details: ReasoningDetails | None = None


class Details(msgspec.Struct, gc=False):
    """Why an answer is incomplete."""

    reason: str | None = None


class Response(msgspec.Struct, gc=False):
    """What a decoder reads of a response object."""

    id: str | None = None
    model: str | None = None
    usage: UsageBlock | None = None
    incomplete_details: Details | None = None
    output: list[dict[str, Any]] | None = None


class RawFrame(msgspec.Struct, gc=False):
    """Any frame, as far as it says where it belongs."""

    type: str
    item_id: str | None = None
    output_index: int = 0
    content_index: int | None = None
    summary_index: int | None = None
    item: dict[str, Any] | None = None
    part: dict[str, Any] | None = None
    response: Response | None = None
    delta: str = ""
    text: str | None = None
    refusal: str | None = None
    arguments: str | None = None

    @property
    def index(self) -> int:
        """Which part of the item."""
        return (self.content_index if self.summary_index is None else self.summary_index) or 0


class _Typed(msgspec.Struct, gc=False):
    type: str


_MODELLED = (
    *("response.output_item.", "response.content_part.", "response.output_text.", "response.refusal."),
    *("response.reasoning_", "response.function_call_arguments.", "response.created", *ENDS),
)
"""How types begin whose frames must have the fields above as they are there."""
_frame = msgspec.json.Decoder(RawFrame).decode
_typed = msgspec.json.Decoder(_Typed).decode


def read_frame(data: bytes | Raw) -> RawFrame:
    """Any frame.

    Raises:
        codecs.NOT_JSON: it is none, or one that must be understood and is not.
    """
    try:
        return _frame(data)
    except msgspec.ValidationError:
        frame = RawFrame(_typed(data).type)
        if frame.type.startswith(_MODELLED):
            raise
        return frame


def is_kept_frame(raw: Raw) -> bool:
    """Whether a record's raw frame is one that the decoder keeps: folds take it apart without asking again."""
    try:
        frame = read_frame(raw)
    except NOT_JSON:
        return False
    return frame.type not in ENDS or frame.response is not None
