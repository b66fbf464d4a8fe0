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
_text = msgspec.json.Decoder(str).decode
_strict = msgspec.json.Decoder(wire.ChunkFrame).decode


class Pattern:
    """What stands before and after the text. `forget` it whenever a frame said something else."""

    __slots__ = ("_after", "_before", "_begin", "_end", "_left", "item")

    def __init__(self) -> None:
        self.item = -1
        """The item that the text belongs to."""
        self._left = _TRIES
        self._before = self._after = b""
        self._begin = self._end = 0

    def text_in(self, data: bytes) -> str | None:
        """The text of a frame of this pattern; None, or an empty one, where the frame must be read in full."""
        if self._begin and data.startswith(self._before) and data.endswith(self._after):
            try:
                return _text(data[self._begin : self._end])
            except NOT_JSON:
                return None
        return None

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
        if after and _says(before + msgspec.json.encode(_PROBE) + after, _PROBE):
            self.item = delta.item
            self._before, self._after = before, after
            self._begin, self._end = len(before), -len(after)

    def forget(self) -> None:
        """No frame is of this pattern any more."""
        self._begin = 0


def _says(data: bytes, text: str) -> bool:
    """Whether the frame's text is this one."""
    try:
        choices = _strict(data).choices
    except NOT_JSON:
        return False
    return bool(choices) and choices[0].delta is not None and choices[0].delta.content == text
