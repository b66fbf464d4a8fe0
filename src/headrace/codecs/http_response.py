"""One HTTP/1.1 response without a socket: bytes in, body out."""

from __future__ import annotations

import httptools


class ProtocolError(ValueError):
    """What came is not HTTP."""


class Response:
    """Reads the response to one request, however its body is delimited: by chunks, a length or the end."""

    __slots__ = (
        "_between_chunks",
        "_bodiless",
        "_chunk_ended",
        "_delimited",
        "_parser",
        "_pieces",
        "complete",
        "headers",
        "reusable",
        "status",
    )

    def __init__(self, *, bodiless: bool = False) -> None:
        """`bodiless`: the request was a HEAD, whose answer ends with its headers, whatever they say (RFC 9112 6.3)."""
        self.status = 0
        """0 until the headers are whole; interim responses (1xx) are passed over."""
        self.headers: dict[str, str] = {}
        """Names in lower case."""
        self.complete = False
        self.reusable = False
        """Once complete: whether the connection can take another request."""
        self._bodiless = bodiless
        self._delimited = False
        """Whether the head says where the body ends."""
        self._chunk_ended = False
        self._between_chunks = False
        """Whether all that was fed ends with a chunk, so that the next byte begins one."""
        self._parser = httptools.HttpResponseParser(self)
        self._pieces: list[bytes] = []

    def feed(self, data: bytes) -> bytes:
        """Return what of the body is in this read.

        Raises:
            ProtocolError: it is not HTTP.
        """
        if self._between_chunks:
            end = data.find(b"\r\n")
            body = data[end + 2 : -2]
            if body and data.endswith(b"\r\n") and data[:end] == b"%x" % len(body):
                return body  # one chunk, as nearly every token comes: the parser is where it was
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self.reusable = False
            if not self.complete:
                raise ProtocolError(f"the server does not speak HTTP/1.1: {error}") from None
        # After a chunk's end the parser has nothing begun, unless the beginning of a line follows.
        self._between_chunks = self._chunk_ended and data.endswith(b"\n")
        pieces = self._pieces
        if not pieces:
            return b""
        body = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        return body

    def finish(self) -> bool:
        """Take the end of the connection; return whether the response ends with it as it should."""
        ends_so = bool(self.status) and not self._delimited
        self.complete = self.complete or ends_so
        return self.complete

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        self.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        """Status and headers are whole."""
        status = self._parser.get_status_code()
        if status >= 200:
            self.status = status
            self._delimited = not self.headers.keys().isdisjoint(("content-length", "transfer-encoding"))
            if self._bodiless:
                self.complete = True
                self.reusable = self._parser.should_keep_alive()

    def on_chunk_header(self) -> None:
        """A chunk begins."""
        self._chunk_ended = False

    def on_chunk_complete(self) -> None:
        """A chunk is whole."""
        self._chunk_ended = True

    def on_body(self, body: bytes) -> None:
        """A piece of the body, without its framing."""
        self._pieces.append(body)

    def on_message_complete(self) -> None:
        """The response is whole, or it was an interim one."""
        self._chunk_ended = False
        if self.status:
            self.complete = True
            self.reusable = self._parser.should_keep_alive()
        else:
            self.headers.clear()
