"""The JSON of Responses frames.

Those that come with every token are read strictly: one that says more than is modelled is noticed while it is parsed,
and keeps its own JSON. All others keep it anyway.
"""

from __future__ import annotations

from typing import Any

import msgspec
from msgspec import Raw

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


class RawFrame(msgspec.Struct, gc=False):
    """Any frame, as far as it says where it belongs."""

    type: str
    item_id: str | None = None
    output_index: int = 0
    content_index: int | None = None
    summary_index: int | None = None
    item: dict[str, Any] | None = None
    part: dict[str, Any] | None = None
    response: dict[str, Raw] | None = None
    delta: Raw = NULL

    @property
    def index(self) -> int:
        """Which part of the item."""
        return (self.content_index if self.summary_index is None else self.summary_index) or 0


read_frame = msgspec.json.Decoder(RawFrame).decode
"""Any frame. Raises `codecs.NOT_JSON`."""
