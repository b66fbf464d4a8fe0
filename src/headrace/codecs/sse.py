"""Server-sent events (WHATWG HTML 9.2), both directions.

The decoder obeys 9.2.5 and 9.2.6 to the letter except for three things:

* `data` stays bytes. The specification decodes the whole stream with replacement; lines, fields and values are cut at
  ASCII bytes, so decoding each value on its own gives the same text, and `data.decode("utf-8", "replace")` is exactly
  what a browser shows. JSON readers take bytes and reject invalid UTF-8, which is better than repairing it unseen.
  Event names and ids are decoded with replacement here.
* Lines and events have a size limit; the specification has none.
* A `retry` with no digits or more than 15 of them is ignored: the specification leaves the first open, and every
  JSON reader holds 15 digits exactly.

The work is linear in the bytes read, however they are cut: a partial line grows in one buffer and is never searched or
joined again, and a read is searched a fixed number of times.
"""

from __future__ import annotations

import msgspec

from headrace.codecs import DEFAULT_MAX_BYTES, LineTooLong

__all__ = ["HEARTBEAT", "LineTooLong", "SSEDecoder", "SSEEvent", "encode"]

HEARTBEAT = b":\n"
"""A comment that shows life between two frames; it must not be followed by a blank line.

Measured: the official Python client of OpenAI keeps the last id for ever, as it must, but takes any blank line for the
end of an event once it has seen an id. A comment and a blank line then make an event with empty data, and parsing that
as JSON raises JSONDecodeError in the caller's loop; so do clients built on it. Without the blank line none does.
"""

MAX_ID_LENGTH = 127
"""An id comes back in the `Last-Event-ID` header, and readers keep one per stream."""

_BOM = b"\xef\xbb\xbf"
_LF, _CR, _COLON = b"\n\r:"  # as integers: looking one up in bytes is then several times cheaper
_MAX_RETRY_DIGITS = 15


class SSEEvent(msgspec.Struct, frozen=True, gc=False):
    """One dispatched event."""

    data: bytes
    """As received: UTF-8 unless the sender erred; several `data` lines are joined by LF."""
    event: str = ""
    """Empty when the frame named no type, which a browser dispatches as `message`."""
    id: str = ""
    """The last event id when the event was dispatched, not necessarily from this frame."""


class SSEDecoder:
    """Feed it bytes as they come; each read gives the events whose blank line is in it."""

    __slots__ = (
        "_after_cr",
        "_data",
        "_event",
        "_failure",
        "_head",
        "_id",
        "_line",
        "_max_event",
        "_max_line",
        "_open",
        "_unchecked",
        "last_event_id",
        "pending",
        "retry_ms",
    )

    def __init__(self, *, max_line_bytes: int = DEFAULT_MAX_BYTES, max_event_bytes: int = DEFAULT_MAX_BYTES) -> None:
        """Limit a line (field name included, line end not) and the joined data of one event."""
        self.retry_ms: int | None = None
        """The last reconnection time that the sender asked for, in milliseconds."""
        self.last_event_id = ""
        """What a reconnecting reader would send; an id counts only once its frame is complete."""
        self.pending = False
        """After `finish`: whether a frame had begun and its end was missing. A comment is not a frame."""
        self._max_line = max_line_bytes
        self._max_event = max_event_bytes
        self._unchecked = min(max_line_bytes, max_event_bytes)  # a block of this size cannot break a limit
        self._failure = ""
        self._head: bytes | None = b""  # the first bytes, until they are a BOM or are not
        self._after_cr = False
        self._line = bytearray()
        self._data: bytes | bytearray | None = None
        self._event = ""
        self._id = ""
        self._open = False  # a line of a frame was read, its blank line not yet

    def feed(self, data: bytes) -> list[SSEEvent]:
        """Return the events that this read completes; the same events come of any split of the bytes.

        Raises:
            LineTooLong: a limit is broken. Events that were complete before it are returned first, then this and every
                later call raises.
        """
        if self._head is None and not (self._line or self._open or self._after_cr or self._failure):
            # Between two frames: the read of nearly every token is one frame of one line.
            size = len(data)
            line = data.startswith(b"data: ") and data.endswith(b"\n\n") and data.find(b"\n") == size - 2
            if line and size <= self._unchecked and _CR not in data:
                return [SSEEvent(data[6:-2], "", self.last_event_id)]
        if self._failure:
            raise LineTooLong(self._failure)
        events: list[SSEEvent] = []
        try:
            self._read(self._with_lf(data), events)
        except LineTooLong as error:
            self._failure = str(error)
            self._drop()
            if not events:
                raise
        return events

    @property
    def failed(self) -> bool:
        """Whether the next call will raise: a limit is broken."""
        return bool(self._failure)

    def finish(self) -> None:
        """Take the end of input: an unfinished last frame counts as not received, and `pending` tells of it.

        Raises:
            LineTooLong: a limit was broken.
        """
        if self._failure:
            raise LineTooLong(self._failure)
        cut_field = bool(self._line) and self._line[0] != _COLON
        self.pending = self._open or cut_field or bool(self._head)
        self._drop()

    def _drop(self) -> None:
        self._line = bytearray()
        self._data = None
        self._event = ""
        self._open = False

    def _with_lf(self, data: bytes) -> bytes:
        """Drop the BOM and make every line end an LF; the LF of a CRLF may come with the next read."""
        if self._head is not None:
            data = self._without_bom(data)
        if self._after_cr and data:
            self._after_cr = False
            data = data.removeprefix(b"\n")
        if _CR in data:
            self._after_cr = data.endswith(b"\r")
            data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        return data

    def _without_bom(self, data: bytes) -> bytes:
        data = (self._head or b"") + data
        if len(data) < len(_BOM) and _BOM.startswith(data):
            self._head = data
            return b""
        self._head = None
        return data.removeprefix(_BOM)

    def _read(self, data: bytes, events: list[SSEEvent]) -> None:
        """Cut a read in three: the rest of an open frame, whole frames, the start of the next."""
        if self._line or self._open:
            end = data.find(b"\n\n") + 2
            if end == 1:
                self._read_lines(data, events)
                return
            self._read_lines(data[:end], events)
            data = data[end:]
        end = data.rfind(b"\n\n") + 2
        if end > 1:
            self._read_frames(data[:end], events)
            data = data[end:]
        if data:
            self._read_lines(data, events)

    def _read_frames(self, block: bytes, events: list[SSEEvent]) -> None:
        """Read whole frames: the two forms that model servers write in one cut, all others line by line."""
        if len(block) <= self._unchecked:
            last_id = self.last_event_id
            found = _data_frames(block, last_id) or _named_frames(block, last_id)
            if found:
                events += found
                return
        self._read_lines(block, events)

    def _read_lines(self, data: bytes, events: list[SSEEvent]) -> None:
        lines = data.split(b"\n")
        rest = lines.pop()
        if lines and self._line:
            self._line += lines[0]
            lines[0] = bytes(self._line)
            self._line = bytearray()
        for line in lines:
            if len(line) > self._max_line:
                raise LineTooLong(f"a line is longer than {self._max_line} bytes")
            if not line:
                self._dispatch(events)
            elif line.startswith(b"data: "):
                self._add_data(line[6:])
            elif line[0] != _COLON:
                self._read_field(line)
        self._line += rest
        if len(self._line) > self._max_line:
            raise LineTooLong(f"a line is longer than {self._max_line} bytes")

    def _read_field(self, line: bytes) -> None:
        self._open = True
        field, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if field == b"data":
            self._add_data(value)
        elif field == b"event":
            self._event = value.decode("utf-8", "replace")
        elif field == b"id":
            if b"\0" not in value:
                self._id = value.decode("utf-8", "replace")
        elif field == b"retry" and value.isdigit() and len(value) <= _MAX_RETRY_DIGITS:
            self.retry_ms = int(value)

    def _add_data(self, value: bytes) -> None:
        self._open = True
        if self._data is None:
            self._data = value
        else:
            if isinstance(self._data, bytes):
                self._data = bytearray(self._data)  # grows in place: many lines are not joined again and again
            self._data += b"\n"
            self._data += value
        if len(self._data) > self._max_event:
            raise LineTooLong(f"the data of an event is longer than {self._max_event} bytes")

    def _dispatch(self, events: list[SSEEvent]) -> None:
        self.last_event_id = self._id
        if self._data is not None:
            events.append(SSEEvent(bytes(self._data), self._event, self._id))
            self._data = None
        self._event = ""
        self._open = False


def _data_frames(block: bytes, last_id: str) -> list[SSEEvent]:
    """Cut a block of frames that are one `data: ` line each; nothing when it holds anything else."""
    if not block.startswith(b"data: "):
        return []
    payloads = block[6:-2].split(b"\n\ndata: ")
    events = [SSEEvent(payload, "", last_id) for payload in payloads if _LF not in payload]
    return events if len(events) == len(payloads) else []


def _named_frames(block: bytes, last_id: str) -> list[SSEEvent]:
    """Cut a block of frames that are an `event: ` and a `data: ` line each; nothing when it holds anything else."""
    events: list[SSEEvent] = []
    for frame in block[:-2].split(b"\n\n"):
        name, found, payload = frame.partition(b"\ndata: ")
        if not found or not name.startswith(b"event: ") or _LF in name or _LF in payload:
            return []
        events.append(SSEEvent(payload, name[7:].decode("utf-8", "replace"), last_id))
    return events


def encode(data: bytes, *, event: str | None = None, id: str | None = None, retry_ms: int | None = None) -> bytes:
    """Return one frame: LF only, the fields in the order retry, id, event, data.

    There is no frame without data, because clients exist that crash on one; an empty `event` is left out, an empty
    `id`, which would take the reader's position away, is refused.

    Raises:
        ValueError: `data` is empty or holds CR or LF; `id` is not 1 to 127 printable ASCII characters; `event` has a
            control character; `retry_ms` is negative.
    """
    if not data or _LF in data or _CR in data:
        raise ValueError("the data of a frame is one line that is not empty, without CR and LF")
    if event is None and id is None and retry_ms is None:
        return b"data: " + data + b"\n\n"
    parts: list[bytes] = []
    if retry_ms is not None:
        parts += (b"retry: ", _retry_field(retry_ms), b"\n")
    if id is not None:
        parts += (b"id: ", _id_field(id), b"\n")
    if event:
        parts += (b"event: ", _event_field(event), b"\n")
    parts += (b"data: ", data, b"\n\n")
    return b"".join(parts)


def _retry_field(retry_ms: int) -> bytes:
    if retry_ms < 0:
        raise ValueError("retry_ms is not negative")
    return str(retry_ms).encode()


def _id_field(id: str) -> bytes:
    if not (0 < len(id) <= MAX_ID_LENGTH and id.isascii() and id.isprintable()):
        raise ValueError(f"an id is 1 to {MAX_ID_LENGTH} printable ASCII characters")
    return id.encode()


def _event_field(event: str) -> bytes:
    if not event.isprintable():
        raise ValueError("an event name holds no control characters")
    return event.encode()
