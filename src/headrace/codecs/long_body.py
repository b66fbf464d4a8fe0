"""A long JSON object to the parts that a parser can take, while it arrives."""

from __future__ import annotations

from headrace.bodies import LARGEST_STEP, LongBody, Pieces
from headrace.codecs import NOT_JSON
from headrace.codecs.cutting import RUN, Cutter, ElementTooLong
from headrace.codecs.lifting import LONGEST, Lifter


class LongBodyReader:
    """Takes a body piece by piece, in steps of about a millisecond for 64 KiB."""

    def __init__(self, token: str, *, longest: int = LONGEST, run: int = RUN) -> None:
        """`token` must be in no body: draw it. Strings over `longest` are lifted; runs have about `run` bytes."""
        self._mark = token + "."
        self._lifter = Lifter(self._mark, longest)
        self._cutter = Cutter(LARGEST_STEP, run)
        self._problem: Exception | None = None
        self._size = 0

    def feed(self, data: bytes) -> None:
        """Take the next piece. Never raises: a caller that is refused before it has sent all may not see why."""
        self._size += len(data)
        if self._problem is None:
            try:
                self._cutter.feed(self._lifter.feed(data))
            except (*NOT_JSON, ElementTooLong) as problem:
                self._problem = problem

    def finish(self) -> LongBody:
        """The parts.

        Raises:
            NOT_JSON: it is not JSON, as far as that was looked at: the parts must be parsed.
            ElementTooLong: a value in a list is longer than may be parsed in one go.
        """
        if self._problem is not None:
            raise self._problem
        self._lifter.finish()
        head = self._cutter.finish()
        body = Pieces(self._lifter.pieces, self._size)
        return LongBody(body, head, self._cutter.cuts, self._lifter.literals, self._mark.encode())
