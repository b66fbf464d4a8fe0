"""A request's JSON as it came: short and in one piece, or long and in parts."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

import msgspec

LARGEST_STEP = 1024 * 1024
"""Bytes of JSON that are looked at in one go: 1 to 10 ms, in which nobody's tokens move. What is longer is long."""

_MOST_OF_A_TEXT = 256 * 1024
"""Bytes of a long string that are looked at: in escape sequences 43,000 characters, more than any limit has."""


# In JSON all others stand for themselves, or are escaped already.
_ESCAPED = ((b"\\", b"\\\\"), (b'"', b'\\"'), (b"\n", b"\\n"), (b"\r", b"\\r"), (b"\t", b"\\t"))

_text_of = msgspec.json.Decoder(str).decode


class Pieces(msgspec.Struct, frozen=True):
    """Bytes that came one after the other; joining 30 MB would take longer than tokens may wait."""

    parts: Sequence[bytes]
    size: int

    def __len__(self) -> int:
        """All bytes."""
        return self.size

    def beginning(self, size: int) -> bytes:
        """The first `size` bytes."""
        return b"".join(_first(self.parts, size))[:size]


Body = bytes | Pieces
"""A request as it came."""


class Cut(msgspec.Struct, frozen=True):
    """A long list, or a long object, that was taken out of the object which it was in."""

    opening: bytes
    closing: bytes
    runs: list[bytes]
    """Its elements with the commas between them; the one between two runs is left out."""

    @property
    def size(self) -> int:
        """Bytes of all runs."""
        return sum(map(len, self.runs))

    def lists(self) -> Iterator[bytes]:
        """Each run as JSON."""
        return (self.opening + run + self.closing for run in self.runs)

    def whole(self) -> Iterator[bytes]:
        """Its JSON, in pieces."""
        yield self.opening
        for number, run in enumerate(self.runs):
            if number:
                yield b","
            yield run
        yield self.closing


class LongBody(msgspec.Struct, frozen=True, eq=False):
    """A request that is too long to be parsed in one go, in parts that are not: `codecs.long_body` makes it.

    Every string in the parts may be a stand-in for a literal. What is written from them goes through `restored`.
    """

    body: Pieces
    head: bytes
    """The JSON with nothing inside of `cuts`, and with a stand-in for each of `literals`."""
    cuts: Mapping[str, Cut]
    """Long values of the JSON object, by name."""
    literals: Mapping[str, Sequence[bytes]]
    """What is between the quotes of each long string, by its stand-in. A piece never ends inside a character."""
    mark: bytes
    """What every stand-in begins with, and nothing else in the body has."""
    _made: dict[str, Iterable[bytes]] = {}
    """Stand-ins that came later: see `changed` and `quoted`."""

    def restored(self, data: bytes, rewrite: Callable[[bytes], bytes] = bytes) -> Iterator[bytes]:
        """JSON with every string as it came, byte for byte; or with the pieces of long ones as `rewrite` makes them."""
        at = 0
        while (begin := data.find(self.mark, at)) >= 0:
            end = data.index(b'"', begin)
            yield data[at:begin]
            name = data[begin:end].decode()
            yield from map(rewrite, self.literals.get(name) or self._made[name])
            at = end
        yield data[at:]

    def changed(self, text: str, *, without: bytes = b"", before: bytes = b"") -> str:
        """A stand-in for another long string: without its beginning up to and including `without`, or after `before`.

        Both are ASCII, without quotes and backslashes, and `without` is in the first piece.
        """
        first, *rest = self.literals[text]
        if without:
            first = first[first.index(without) + len(without) :]
        name = f"{text}.{len(self._made)}"
        self._made[name] = (before + first, *rest)
        return name

    def joined(self, texts: Sequence[str], between: str) -> str:
        """A stand-in for several strings in one; `between` is ASCII, and stands for nothing."""
        name = f"{self.mark.decode()}joined.{len(self._made)}"
        pieces = [piece for text in texts for piece in (_escaped(between), *self._literal(text))]
        self._made[name] = pieces[1:]
        return name

    def _literal(self, text: str) -> Iterable[bytes]:
        """What is between the quotes of a string."""
        return self.literals.get(text) or self._made.get(text) or (_escaped(text),)

    def quoted(self, data: bytes) -> str:
        """A stand-in for the string that has this JSON for its text; it is made each time that it is written."""
        name = f"{self.mark.decode()}quoted.{len(self._made)}"
        self._made[name] = _Quoted(self, data)
        return name

    def whole(self, text: str) -> str:
        """All that a string stands for; `sample` says how much that is."""
        literal = self.literals.get(text)
        return text if literal is None else _text_of(b'"%b"' % b"".join(literal))

    def sample(self, text: str) -> tuple[str, int]:
        """What a string stands for, or the beginning of it, and about how many characters the whole has."""
        literal = self.literals.get(text)
        if literal is None:
            return text, len(text)
        if len(literal) == 1:
            text = _text_of(b'"%b"' % literal[0])
            return text, len(text)
        begun = list(_first(literal, _MOST_OF_A_TEXT))
        text = "".join(_text_of(b'"%b"' % piece) for piece in begun)
        return text, len(text) * sum(map(len, literal)) // sum(map(len, begun))


def _escaped(text: str) -> bytes:
    return msgspec.json.encode(text)[1:-1]


class _Quoted:
    """JSON of a long body as what is between the quotes of a string."""

    def __init__(self, body: LongBody, data: bytes) -> None:
        self._body = body
        self._data = data

    def __iter__(self) -> Iterator[bytes]:
        for piece in self._body.restored(self._data):
            for character, escaped in _ESCAPED:
                piece = piece.replace(character, escaped)
            yield piece


def _first(parts: Sequence[bytes], size: int) -> Iterator[bytes]:
    """As many parts as it takes."""
    for part in parts:
        if size <= 0:
            return
        yield part
        size -= len(part)
