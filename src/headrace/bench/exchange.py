"""One request and what came back for it, without a socket and without a clock."""

from __future__ import annotations

import errno
import ssl
from array import array
from typing import Final

import msgspec

from headrace.bench.outcome import Outcome
from headrace.bench.shapes.base import Reading, reason
from headrace.codecs.http_response import ProtocolError, Response
from headrace.codecs.sse import LineTooLong, SSEDecoder

# Of the body of an error; the rest is not kept.
_LONGEST_ERROR: Final = 65_536
_LONGEST_MESSAGE: Final = 300
# Declared so, a body is surely no stream. Anything else is read: there are servers that declare a stream as plain text.
_NO_STREAMS: Final = ("application/json", "text/html", "application/problem+json", "application/xml")


class Live(msgspec.Struct):
    """What can be seen while requests run."""

    chunks: int = 0
    """Events with content."""
    reads: int = 0
    """Reads of a socket that had any."""


class Exchange:
    """Turns bytes with their times of arrival into an `Outcome`.

    Every time is in seconds of one monotonic clock, which the caller reads once per read of the socket.
    """

    def __init__(self, reading: Reading, started: float, live: Live) -> None:
        """`started` is when the request was begun, before there was a connection."""
        self.outcome: Outcome | None = None
        """Set at the terminal event, or at the failure."""
        self.sent = False
        """Whether there is a connection that the request went out on."""
        self._reading = reading
        self._started = started
        self._live = live
        self._response = Response()
        self._decoder = SSEDecoder()
        self._error_body = b""
        self._checked = False
        self._gaps = array("d")
        self._ttft = self._last = 0.0
        self._chunks = self._together = 0

    @property
    def over(self) -> bool:
        """Whether nothing more is expected: the response is whole too, or there was a failure."""
        return self.outcome is not None and (self._response.complete or bool(self.outcome.failure))

    @property
    def reusable(self) -> bool:
        """Once over: whether the connection can take another request."""
        return self._response.complete and self._response.reusable

    def take(self, now: float, data: bytes) -> None:
        """Take what was read from the socket at this time."""
        try:
            body = self._response.feed(data)
            if self.outcome is not None:
                return
            if self._response.status == 200:
                self._read(now, body)
            else:
                self._error_body = (self._error_body + body)[:_LONGEST_ERROR]
        except (ProtocolError, LineTooLong) as error:
            self._fail(now, "protocol", str(error))
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            self._fail(now, "protocol", f"an event is not of this shape: {error}")
        if self._response.complete and self.outcome is None:
            self._finish(now, "the body ended cleanly")

    def _check_headers(self, now: float) -> None:
        headers = self._response.headers
        encoding = headers.get("content-encoding", "identity")
        if encoding != "identity":
            raise ProtocolError(f"the stream is compressed ({encoding}), which was not asked for")
        declared = headers.get("content-type", "").partition(";")[0].strip().lower()
        if declared in _NO_STREAMS:
            self._fail(now, "not_a_stream", f"the answer is declared as {declared}; does the server stream?")

    def _read(self, now: float, body: bytes) -> None:
        if not self._checked:
            self._checked = True
            self._check_headers(now)
        events = self._decoder.feed(body)
        if not events or self.outcome is not None:
            return
        reading = self._reading
        count = reading.take(events)
        if count:
            if self._chunks:
                self._gaps.append(now - self._last)
            else:
                self._ttft = now - self._started
            self._last = now
            self._chunks += count
            self._together += count - 1
            self._live.chunks += count
            self._live.reads += 1
        if reading.error:
            self._fail(now, "error_event", reading.error)
        elif reading.ended:
            self._succeed(now)

    def closed(self, now: float, error: Exception | None) -> None:
        """Take the end of the connection, with the error that it ended with."""
        if self.outcome is not None:
            return
        reset = isinstance(error, ConnectionError)
        if self._response.finish():
            self._finish(now, "the body ended with the connection")
        elif self._response.status == 200:
            how = "reset" if reset else "closed"
            self._fail(now, "incomplete", f"the connection was {how} in the middle of the body")
        elif reset:
            self._fail(now, "reset", "the server reset the connection before it answered")
        else:
            self._fail(now, "closed", "the server closed the connection before it answered")

    def no_connection(self, now: float, error: OSError) -> None:
        """There was no connection to send the request on."""
        self._fail(now, *connection_failure(error))

    def time_is_up(self, now: float) -> None:
        """The caller waits no longer."""
        if self.outcome is not None:
            return
        if not self.sent:
            phase, words = "connect", "no connection"
        elif not self._response.status:
            phase, words = "headers", "no answer"
        elif not self._chunks:
            phase, words = "first_token", "headers and no content"
        else:
            phase, words = "stream", f"{self._chunks} events with content and no end"
        self._fail(now, f"timeout_{phase}", f"{words} after {now - self._started:.1f} s (--timeout)")

    def _finish(self, now: float, how: str) -> None:
        """The response is whole and its terminal event was not among it."""
        if self._response.status != 200:
            self._fail(now, f"http_{self._response.status}", self._refusal())
        elif self._reading.needs_end:
            self._fail(now, "incomplete", f"{how} without the terminal event")
        else:
            self._succeed(now)

    def _refusal(self) -> str:
        """What the server says about its status."""
        response = self._response
        if location := response.headers.get("location"):
            return f"redirects are not followed; ask {location[:_LONGEST_MESSAGE]} itself"
        try:
            error = msgspec.json.decode(self._error_body, type=_ErrorBody).error
            text = reason(bytes(error))
        except (msgspec.DecodeError, UnicodeDecodeError):
            text = self._error_body.decode("utf-8", "replace").strip().partition("\n")[0]
        return text[:_LONGEST_MESSAGE]

    def _succeed(self, now: float) -> None:
        if not self._chunks:
            self._fail(now, "empty", "the stream ended well and had no content")
            return
        self.outcome = self._outcome(now)

    def _fail(self, now: float, failure: str, message: str) -> None:
        self.outcome = self._outcome(now)
        self.outcome.failure, self.outcome.message = failure, message[:_LONGEST_MESSAGE]

    def _outcome(self, now: float) -> Outcome:
        return Outcome(
            ttft=self._ttft,
            e2el=now - self._started,
            gaps=self._gaps,
            together=self._together,
            chunks=self._chunks,
            input_tokens=self._reading.input_tokens,
            output_tokens=self._reading.output_tokens,
        )


class _ErrorBody(msgspec.Struct):
    error: msgspec.Raw


def connection_failure(error: OSError) -> tuple[str, str]:
    """The kind of a connection that could not be made, and what to say about it."""
    if isinstance(error, ssl.SSLError):
        return "tls", f"no secure connection: {getattr(error, 'verify_message', '') or error}"
    if isinstance(error, ConnectionRefusedError):
        return "refused", "nothing listens there"
    if isinstance(error, ConnectionResetError):
        return "reset", "the server reset the connection before it answered"
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return "files", "too many open connections for this machine: raise `ulimit -n`, or lower --max-concurrency"
    return "unreachable", error.strerror or str(error)
