"""What an API shape is: how a request is read, and how the log looks to a reader.

A view is a pure fold of the log: it reads no clock and draws no random number, so the same records give the same
frames on every machine, and frame k is the same frame for ever. That alone makes resume exact (P4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec
from msgspec import UNSET, Raw, UnsetType

from headrace.bodies import LongBody
from headrace.codecs import NOT_JSON
from headrace.errors import BadRequest, HeadraceError
from headrace.events import Answer, Cancelled, Chunk, Failed, Record, Terminal
from headrace.messages import Message, Request


class View(Protocol):
    """One reader's position in the fold; `fold` and `encode` together are `render(state, record)`.

    They are two so that a resume can `fold` its way to a position without encoding a single frame. A copy of a view
    is another fold at the same place.
    """

    plain: bool
    """Whether every frame counts one and none has a name: `size` and `event` need not be asked."""

    def fold(self, record: Record) -> list[Any]:
        """Advance by one record and return its frames, not yet encoded. Records come in order from seq 0."""
        ...

    def encode(self, frame: Any) -> bytes:
        """Return the frame's data: for JSON shapes one line of JSON, never empty, without CR and LF."""
        ...

    def size(self, frame: Any) -> int:
        """How far the frame moves a cursor: 1, or its bytes where the unit is the byte."""
        ...

    def event(self, frame: Any) -> str | None:
        """Return the SSE event name of the frame, if the shape uses names."""
        ...


class Decoder(Protocol):
    """Upstream frames of one shape to chunks of events; one instance per upstream answer."""

    closed: bool
    """True once the terminal marker was seen: whatever follows is ignored (P6)."""

    def feed(self, data: bytes) -> Chunk | None:
        """Decode one frame's data; None when it says nothing.

        Raises:
            UpstreamError: the frame is an error, in the shape's own form.
            UpstreamProtocol: the frame is not of this shape.
        """
        ...


class Place(msgspec.Struct, frozen=True):
    """Where requests of a shape have what changes when their answer has begun already."""

    turns: str = "messages"
    """The field with the conversation: a list, or a text that is one turn of the user's."""
    limits: tuple[str, ...] = ()
    """The fields with the limit of tokens, of the body or of the object `within`."""
    within: str = ""


class Dialect(Protocol):
    """One API shape, both directions."""

    name: str
    """As in `?format=` and in record 0, e.g. `openai.chat`."""
    code: str
    """The letter that starts its cursors."""
    prefix: str
    """What public ids start with, e.g. `chatcmpl-`."""
    params: str
    """The view parameter letters that this shape knows."""
    heartbeat: bytes
    """What shows life between two SSE frames; it is no frame of the view (P14)."""
    place: Place
    """Where its requests have the conversation, and the limits of the answer."""

    def parse(self, body: bytes) -> Request:
        """Read a request body.

        Raises:
            BadRequest: with `param` naming the field.
        """
        ...

    def parse_long(self, body: LongBody) -> Generator[Sequence[Message], None, Request]:
        """Read a long request body in steps of a few milliseconds at most; each gives the messages that it has read.

        Raises:
            BadRequest: as `parse`; at any step.
        """
        ...

    def unsaid(self, request: Request) -> Sequence[str]:
        """Names of what `request`, of this shape, asks for and its fields do not say.

        An upstream of another shape cannot be told of it, so the request is refused. What only concerns the caller
        and this server (`metadata`, `user`) is not among them.
        """
        ...

    def view(self, params: str) -> View:
        """A new fold at the start of the log; `params` are letters out of `Dialect.params`."""
        ...

    def clean_end(self, terminal: Terminal) -> bool:
        """Whether a body of this shape ends cleanly after this terminal; otherwise it is aborted (P5)."""
        ...

    def answer(self, answer: Answer) -> bytes:
        """The non-streaming answer."""
        ...

    def error(self, error: HeadraceError, partial: str | None = None) -> bytes:
        """An HTTP error body; `partial` is the text that was received before the failure."""
        ...


T = TypeVar("T")
NEUTRAL = "native"
"""The shape that belongs to no vendor: a part of a type that it does not know is in the upstream's own form."""


def unsupported(field: str, why: str) -> BadRequest:
    """The caller's error for what the model's server has no words for; it is never silently dropped."""
    return BadRequest(f"{field} is not supported by this model: {why}", code="unsupported_parameter", param=field)


def in_own_words(param: str | None, message: str, names: Mapping[str, str]) -> tuple[str | None, str]:
    """An error's `param` and message with the caller's name for a field that was found wrong under that of `Request`.

    `names` has the shape's own name for each that is called otherwise. A name for `messages` takes the place of the
    whole path, because items of other shapes are not counted alike.
    """
    field = re.split(r"\W", param or "", maxsplit=1)[0]
    if param is None or field not in names:
        return param, message
    own = names[field] + ("" if field == "messages" else param[len(field) :])
    return own, own + message[len(param) :] if message.startswith(param) else message


class Told(msgspec.Struct, frozen=True):
    """What is said of a problem, in whatever form."""

    status: int
    """As an answer of its own would have it."""
    code: str
    message: str
    retryable: bool
    param: str | None


def told(problem: HeadraceError | Failed | Cancelled, names: Mapping[str, str]) -> Told:
    """What a shape says of an error, or of a stream that did not finish; `names` is as in `in_own_words`."""
    if isinstance(problem, Cancelled):
        message = f"The stream was cancelled ({problem.by}); what was received so far can still be read by its id."
        return Told(499, "cancelled", message, retryable=False, param=None)
    param, message = in_own_words(problem.param, problem.message, names)
    if isinstance(problem, Failed):
        return Told(problem.status, problem.code, message, problem.retryable, param)
    return Told(problem.status, problem.error_code, message, problem.may_retry, param)


def refuse_key(given: Raw | UnsetType) -> None:
    """Refuse a key in a body, where some gateways take the caller's own; here it would be stored (P34, P36).

    Raises:
        BadRequest: there is one.
    """
    if given is not UNSET:
        raise BadRequest("A key does not belong in the body: it would not be used.", param="api_key")


def one_line(data: bytes) -> bytes:
    """A frame that is spread over several `data:` lines as one; in JSON only white space can hold them."""
    return data.replace(b"\n", b" ").replace(b"\r", b" ")


_FIELD = re.compile(r"(?:missing required|unknown) field `(?P<name>[^`]+)`")
_PATH = re.compile(r" - at `\$\.?(?P<path>[^`]*)`$")


def read_json(decode: Callable[[bytes | msgspec.Raw], T], data: bytes | msgspec.Raw, where: str = "") -> T:
    """Decode what a caller sent; `where` is the path of the value read.

    Raises:
        BadRequest: with `param` naming the field.
    """
    try:
        return decode(data)
    except NOT_JSON as problem:
        raise invalid_json(problem, where) from problem


def check_utf8(body: bytes) -> None:
    """Refuse a body that is not UTF-8: msgspec looks only at the strings that it reads.

    Raises:
        BadRequest: always for such a body.
    """
    try:
        body.decode()
    except UnicodeDecodeError as problem:
        raise invalid_json(problem) from problem


def invalid_json(problem: Exception, where: str = "") -> BadRequest:
    """The caller's error for a body that msgspec refused, naming the field; `where` is the path of the value read."""
    if not isinstance(problem, msgspec.ValidationError):
        return BadRequest(f"The body is not valid JSON: {problem}.", code="invalid_json")
    text = str(problem)
    match = _PATH.search(text)
    path = ".".join(filter(None, (where, match["path"] if match else "")))
    if field := _FIELD.search(text):
        path = ".".join(filter(None, (path, field["name"])))
    message = _PATH.sub("", text)
    return BadRequest(f"{path}: {message}." if path else f"{message}.", param=path or None)
