"""The views of a stream that are read: how each is asked for, and what its bytes say."""

from __future__ import annotations

import json
import re
from typing import Final, Literal, NamedTuple

from headrace.events import ItemStart, Record, TextDelta, decode_record

NATIVE: Final = "native"
CHAT: Final = "openai.chat"
TEXT: Final = "text"
DONE: Final = b"[DONE]"
_ERROR: Final = b'{"error":'
_ACCEPT: Final = {"sse": "text/event-stream", "ndjson": "application/x-ndjson", "plain": "text/plain"}
_LETTERS: Final = {NATIVE: "n1", CHAT: "c1", TEXT: "t1"}
_LINE: Final = re.compile(rb"id: [!-~]{1,127}|retry: 2000|data: [^\r\n]+")


class Malformed(Exception):
    """Bytes that the format does not allow."""


class Frame(NamedTuple):
    """One complete frame; `id` is empty where there was none."""

    data: bytes
    id: str = ""


class View(NamedTuple):
    """One way to see a stream: the same bytes for every reader, for ever."""

    format: str
    body: Literal["sse", "ndjson", "plain"]
    usage: bool = False
    """Whether the chat shape shows the usage."""

    @property
    def accept(self) -> dict[str, str]:
        """The header that asks for the body."""
        return {"accept": _ACCEPT[self.body]}

    @property
    def query(self) -> str:
        """What asks for the format."""
        usage = f"&include_usage={'1' if self.usage else '0'}" if self.format == CHAT else ""
        return f"format={self.format}{usage}"

    @property
    def cursor(self) -> str:
        """What an id of this view has before its number."""
        return f"{_LETTERS[self.format]}{'u' if self.usage else ''}."

    @property
    def name(self) -> str:
        """For tables."""
        return f"{self.format} {self.body}"

    def frames(self, body: bytes) -> list[Frame]:
        """The complete frames of a body; what is cut at its end was not received.

        Raises:
            Malformed: the format does not allow these bytes.
        """
        if self.body == "sse":
            *blocks, _ = body.split(b"\n\n")
            return [_sse_frame(block) for block in blocks]
        if self.body == "ndjson":
            *lines, _ = body.split(b"\n")
            return [Frame(DONE if line == b'"[DONE]"' else line) for line in lines if line]
        return [Frame(body)] if body else []

    def size(self, frame: Frame) -> int:
        """How far the frame moves a cursor."""
        return len(self.content(frame)) if self.format == TEXT else 1

    def content(self, frame: Frame) -> bytes:
        """What the frame brings: its text, or its data."""
        return json.loads(frame.data).encode() if self.format == TEXT and self.body != "plain" else frame.data

    def terminal(self, frame: Frame) -> str:
        """The state that the frame ends a stream with; empty for any other frame, and for all of text."""
        if self.format == CHAT:
            return "finished" if frame.data == DONE else "failed" if frame.data.startswith(_ERROR) else ""
        if self.format == NATIVE:
            terminal = decode_record(frame.data).terminal
            return "" if terminal is None else type(terminal).__name__.lower()
        return ""

    def ends_cleanly(self, state: str) -> bool:
        """Whether a body of this view ends cleanly after this end (P5)."""
        return self.format == NATIVE or state == "finished"

    def text(self, frames: list[Frame]) -> str:
        """The text of the answer that the frames hold."""
        if self.format == TEXT:
            return b"".join(map(self.content, frames)).decode("utf-8", "ignore")
        if self.format == NATIVE:
            return text_of_log([decode_record(frame.data) for frame in frames])
        chunks = [json.loads(frame.data) for frame in frames if not self.terminal(frame)]
        deltas = [choice["delta"] for chunk in chunks for choice in chunk["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)


def _sse_frame(block: bytes) -> Frame:
    frame_id, data = "", None
    for line in block.split(b"\n"):
        if line == b":":
            continue
        if not _LINE.fullmatch(line):
            raise Malformed(f"a line that P14 does not allow: {line[:100]!r}")
        if line.startswith(b"data: "):
            if data is not None:
                raise Malformed(f"two data lines in one frame: {block[:100]!r}")
            data = line[6:]
        elif line.startswith(b"id: "):
            frame_id = line[4:].decode()
    if data is None:
        raise Malformed(f"a frame without data: {block[:100]!r}")
    return Frame(data, frame_id)


def text_of_log(records: list[Record], kind: str = "text") -> str:
    """The text of all items of a kind."""
    events = [event for record in records for event in record.events]
    items = {event.item for event in events if isinstance(event, ItemStart) and event.kind == kind}
    return "".join(event.text for event in events if isinstance(event, TextDelta) and event.item in items)
