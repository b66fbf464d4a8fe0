"""The frame that an upstream repeats for every token: all of it is the same but for the text.

Whatever stands before and after a value in a JSON document means the same around any other value. So once a frame was
read in full and said nothing but text, one with the same bytes around one JSON string says that string in its place:
0.4 µs to find out, where reading a frame in full takes 1.6.
"""

from __future__ import annotations

import msgspec

from headrace.codecs import NOT_JSON
from headrace.dialects.openai_chat import wire
from headrace.events import TextDelta

_FIELD = b'"content":'
_TRIES = 8
"""Frames without a pattern after which none is looked for: there are servers that put padding into each."""
_PROBE = "\x00\x7f"
"""A text to see where the text is; a frame that says it already tells nothing."""
_text = msgspec.json.Decoder(str).decode
_strict = msgspec.json.Decoder(wire.ChunkFrame).decode


class Pattern:
    """What stands before and after the text. `forget` it whenever a frame said something else."""

    __slots__ = ("_left", "after", "before", "begin", "end", "item")

    def __init__(self) -> None:
        self.item = -1
        """The item that the text belongs to."""
        self.before = self.after = b""
        self.begin = self.end = 0
        """Where the text is in a frame that begins and ends so; 0 while there is no pattern."""
        self._left = _TRIES

    def learn(self, data: bytes, delta: TextDelta) -> None:
        """Take the pattern of a frame that was read in full and says this delta, and nothing else."""
        if not self._left:
            return
        self._left -= 1
        self.forget()
        encoded = msgspec.json.encode(delta.text)
        begin = data.find(_FIELD)
        begin = data.find(encoded, begin + len(_FIELD)) if begin >= 0 else -1
        if begin < 0:
            return
        before, after = data[:begin], data[begin + len(encoded) :]
        if after and delta.text != _PROBE and _says(before + msgspec.json.encode(_PROBE) + after, _PROBE):
            self.item = delta.item
            self.before, self.after = before, after
            self.begin, self.end = len(before), -len(after)

    def forget(self) -> None:
        """No frame is of this pattern any more."""
        self.begin = 0


def text_of(data: bytes) -> str | None:
    """The text that stands where the pattern has it; None, or an empty one, where the frame must be read in full."""
    try:
        return _text(data)
    except NOT_JSON:
        return None


def _says(data: bytes, text: str) -> bool:
    """Whether the frame's text is this one."""
    try:
        choices = _strict(data).choices
    except NOT_JSON:
        return False
    return bool(choices) and choices[0].delta is not None and choices[0].delta.content == text
