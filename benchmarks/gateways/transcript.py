"""What a client read, judged afterwards: each token an event of its own, once, in order, and the hash of all."""

from __future__ import annotations

import hashlib
from typing import Final

import httptools
import msgspec

_LONGEST_EXCERPT: Final = 200
_DONE: Final = b"[DONE]"


class Record(msgspec.Struct):
    """One answer as it came: the bytes of each read of the socket, and when that was."""

    asked: int
    """When the request was written; all times are nanoseconds of the monotonic clock."""
    times: list[int]
    reads: list[bytes]


class Transcript(msgspec.Struct):
    """The tokens of an answer."""

    asked: int
    arrivals: list[int]
    """When the end of each token's event was read."""
    stamps: list[int]
    """When the mock wrote it."""
    problem: str
    """What is wrong with the answer; empty if nothing is."""


class _Delta(msgspec.Struct):
    content: str | None = None


class _Choice(msgspec.Struct):
    delta: _Delta | None = None


class _Chunk(msgspec.Struct):
    choices: list[_Choice] = []


_decode = msgspec.json.Decoder(_Chunk).decode


class _Body:
    """Takes HTTP apart."""

    def __init__(self) -> None:
        self.pieces: list[bytes] = []
        self.complete = False

    def on_body(self, body: bytes) -> None:
        self.pieces.append(body)

    def on_message_complete(self) -> None:
        self.complete = True


class _Events:
    """Takes SSE apart; a text is what an event with one chunk says."""

    def __init__(self) -> None:
        self._rest = b""
        self.done = False

    def feed(self, data: bytes) -> list[str]:
        """The texts of the events that are whole now.

        Raises:
            ValueError: something comes after the end, an event has no JSON, or several lines of data.
        """
        # JSON has no raw CR, so those that are there end lines.
        *frames, self._rest = (self._rest + data.replace(b"\r", b"")).split(b"\n\n")
        return [text for frame in frames if (text := self._text(frame))]

    def _text(self, frame: bytes) -> str:
        # Heartbeats and ids stand before the data.
        data = frame if frame.startswith(b"data:") and b"\n" not in frame else _data_line(frame)
        if not data:
            return ""
        if self.done:
            raise ValueError("an event after the end")
        payload = data[5:].strip()
        if payload == _DONE:
            self.done = True
            return ""
        return "".join(each.delta.content or "" for each in _decode(payload).choices if each.delta is not None)


def _data_line(frame: bytes) -> bytes:
    lines = [line for line in frame.split(b"\n") if line.startswith(b"data:")]
    if len(lines) > 1:
        raise ValueError("an event with several lines of data")
    return lines[0] if lines else b""


def body_of(record: Record) -> bytes:
    """The body of an answer.

    Raises:
        ValueError: it is not complete, or its status is not 200.
    """
    body = _Body()
    parser = httptools.HttpResponseParser(body)
    for data in record.reads:
        parser.feed_data(data)
    if not body.complete or parser.get_status_code() != 200:
        raise ValueError(f"not a whole answer: {_excerpt(record)}")
    return b"".join(body.pieces)


def read(record: Record, tokens: int) -> Transcript:
    """Judge an answer that should have so many tokens."""
    found = Transcript(record.asked, [], [], "")
    body, events = _Body(), _Events()
    parser = httptools.HttpResponseParser(body)
    texts: list[str] = []
    try:
        for at, data in zip(record.times, record.reads, strict=True):
            parser.feed_data(data)
            new = [text for piece in body.pieces for text in events.feed(piece)]
            body.pieces.clear()
            texts += new
            found.arrivals += [at] * len(new)
        found.problem = _refused(parser, record) or _judge(texts, tokens, found.stamps)
    except (ValueError, msgspec.DecodeError, httptools.HttpParserError) as error:
        found.problem = f"{type(error).__name__}: {error}; {_excerpt(record)}"
    if not found.problem and not (events.done and body.complete):
        found.problem = "it does not end with [DONE] and the end of the body"
    del found.arrivals[tokens:]  # the hash is none
    return found


def _refused(parser: httptools.HttpResponseParser, record: Record) -> str:
    if not record.reads:
        return "no answer"
    status = parser.get_status_code()
    return "" if status == 200 else f"status {status}: {_excerpt(record)}"


def _excerpt(record: Record) -> str:
    return repr(b"".join(record.reads[-3:])[-_LONGEST_EXCERPT:])


def _judge(texts: list[str], tokens: int, stamps: list[int]) -> str:
    """Whether the texts are what the mock says; the times that they say go to `stamps`."""
    *said, ending = texts or [""]
    for index, text in enumerate(said):
        number, colon, rest = text.partition(":")
        if number != str(index) or not colon or not rest.endswith(" ") or not rest[:-1].isdigit():
            return f"event {index} of {len(texts)} says {text!r}"
        stamps.append(int(rest))
    if len(said) != tokens:
        return f"{len(said)} tokens, not {tokens}"
    if ending != f"sha256:{hashlib.sha256(''.join(said).encode()).hexdigest()}":
        return "the hash is not that of the text"
    return ""
