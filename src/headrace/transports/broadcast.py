"""One fold and one rendering for all readers that have caught up on the same view of a stream.

Such a reader needs no task of its own to be woken for each token: what is appended is folded, encoded once and written
to every connection in the turn of the event loop in which it arrives. A reader whose connection does not take what it
was written goes on by itself from there, and may come back when it has caught up again.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Sequence
from typing import Any

from headrace.engine.subscription import Subscription
from headrace.events import Record, Terminal
from headrace.transports.connection import Connection
from headrace.transports.framing import BATCH_BYTES, Framing
from headrace.transports.reader import Reader

_MOST = 64
"""Readers of one broadcast: writing to one takes some 10 µs, and between two broadcasts others have their turn."""


class _Seat:
    """One reader's place among the others."""

    __slots__ = ("connection", "left", "reader", "write")

    def __init__(self, reader: Reader, connection: Connection) -> None:
        self.reader = reader
        self.connection = connection
        self.write = connection.writer()
        self.left = asyncio.get_running_loop().create_future()


class Broadcast:
    """The readers of one view at one place of the log: its end."""

    __slots__ = ("_after", "_counted", "_framing", "_key", "_position", "_seats", "_shared", "_stop", "_view")

    def __init__(self, reader: Reader, framing: Framing) -> None:
        """Begin where this reader is; its view is the broadcast's from now on."""
        self._key = _key(reader, framing)
        self._framing = framing
        self._view = reader.view
        self._position = reader.position
        self._after = reader.subscription.after
        self._shared: dict[object, object] = reader.subscription.shared
        self._seats: list[_Seat] = []
        self._counted: list[Subscription] = []
        """Those of whom somebody must know how far they are."""
        self._stop = reader.subscription.follow(self)

    @classmethod
    def of(cls, reader: Reader, framing: Framing) -> Broadcast | None:
        """The broadcast that a reader can join; None when it is behind, or its store needs waiting."""
        if not reader.at_head:
            return None
        found = reader.subscription.shared.get(_key(reader, framing))
        if isinstance(found, Broadcast) and found._takes(reader):
            return found
        made = cls(reader, framing)
        if made._stop is None:
            return None
        made._shared[made._key] = made
        return made

    def _takes(self, reader: Reader) -> bool:
        return self._stop is not None and len(self._seats) < _MOST and self._after == reader.subscription.after

    async def serve(self, reader: Reader, connection: Connection) -> None:
        """Let a reader be written to until it has to go on by itself.

        Raises:
            NotFound: the stream was deleted.
        """
        seat = _Seat(reader, connection)
        self._seats.append(seat)
        if reader.subscription.on_taken is not None:
            self._counted.append(reader.subscription)
            reader.subscription.took(self._after)  # what it read by itself is written
        try:
            await seat.left
        finally:
            if seat in self._seats:
                self._leave(seat)

    def _leave(self, seat: _Seat) -> None:
        self._seats.remove(seat)
        if seat.reader.subscription in self._counted:
            self._counted.remove(seat.reader.subscription)
        if self._seats or self._stop is None:
            return
        self._stop()
        self._stop = None
        if self._shared.get(self._key) is self:
            del self._shared[self._key]

    def lost(self, problem: Exception) -> None:
        """The log is gone: see `Follower.lost`."""
        for seat in tuple(self._seats):
            self._leave(seat)
            if not seat.left.done():
                seat.left.set_exception(problem)

    def take(self, records: Sequence[Record]) -> None:
        """What was appended: see `Follower.take`."""
        view = self._view
        if len(records) == 1:
            frames = view.fold(records[0])
        else:
            frames = [frame for record in records for frame in view.fold(record)]
        last = records[-1]
        self._after = last.seq
        terminal = last.terminal
        if frames:
            self._write(frames, terminal)
        for subscription in self._counted:
            subscription.took(self._after)
        if terminal is not None:
            for seat in tuple(self._seats):
                self._release(seat, [], terminal)

    def _write(self, frames: list[Any], terminal: Terminal | None) -> None:
        view = self._view
        while frames:
            body, taken = self._framing.encode(view, frames, self._position, BATCH_BYTES)
            self._position += taken if view.plain else sum(map(view.size, frames[:taken]))
            frames = frames[taken:] if taken < len(frames) else []
            slow: list[_Seat] = []
            for seat in self._seats:
                seat.connection.wrote = True
                if not seat.write(body):
                    slow.append(seat)
            for seat in slow:
                self._release(seat, frames, terminal)

    def _release(self, seat: _Seat, frames: list[Any], terminal: Terminal | None) -> None:
        """Let a reader go on by itself: from here, with these frames still to be written."""
        self._leave(seat)
        # After the end nothing is folded any more; and the last one takes the view with it.
        view = copy.deepcopy(self._view) if self._seats and terminal is None else self._view
        seat.reader.go_on(view, self._position, self._after, frames, terminal)
        if not seat.left.done():
            seat.left.set_result(None)


def _key(reader: Reader, framing: Framing) -> object:
    return (reader.dialect.name, reader.cursor.params, framing.key)
