"""One connection to a server: commands in the order of the calls, replies to whoever asked."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Any, Final, cast

import hiredis

Argument = str | bytes | int
Reply = Any
"""What hiredis makes of a reply: bytes, int, None, list, dict, or `hiredis.ReplyError`, which is not raised."""

_MORE: Final = object()

# hiredis' own types say that a command has one part.
_pack = cast("Callable[[tuple[Argument, ...]], bytes]", hiredis.pack_command)  # pyright: ignore[reportUnknownMemberType]


class Disconnected(Exception):
    """The connection is gone, and with it the replies that were awaited: their commands may have been carried out."""

    def __init__(self, *, silent: bool = False) -> None:
        """`silent`: the server said nothing for too long."""
        super().__init__()
        self.silent = silent


class Connection(asyncio.Protocol):
    """What is asked in one turn of the event loop goes out in one write, and nobody waits for another's reply.

    A server that owes replies and says nothing for `patience` seconds is taken for gone.
    """

    def __init__(
        self, *, patience: float, told: Callable[[str, bytes], None], unsubscribed: Callable[[str], None]
    ) -> None:
        """`told` gets a channel and a message, `unsubscribed` a channel that the server took away."""
        self._patience = patience
        self._told = told
        self._unsubscribed = unsubscribed
        self._loop = asyncio.get_running_loop()
        self._reader = hiredis.Reader(notEnoughData=_MORE)
        self._transport: asyncio.Transport | None = None
        self._out: list[bytes] = []
        # Each with the channel, if it is a subscription's: that is answered by a push, or by an error.
        self._awaited: deque[tuple[asyncio.Future[Reply], str]] = deque()
        self._progress = 0.0
        self._silent = False
        self._timer: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        """Whether commands can be sent."""
        return self._transport is not None

    def send(self, *command: Argument) -> asyncio.Future[Reply]:
        """Send a command; the future gives its reply. Raises `Disconnected`, and so may the future."""
        return self._send(command, "")

    def subscribe(self, channel: str, *, on: bool = True) -> asyncio.Future[Reply]:
        """Begin or end to be told what is said on a channel of this server's slots."""
        return self._send(("SSUBSCRIBE" if on else "SUNSUBSCRIBE", channel), channel)

    def _send(self, command: tuple[Argument, ...], channel: str) -> asyncio.Future[Reply]:
        if self._transport is None:
            raise Disconnected
        if not self._out:
            self._loop.call_soon(self._flush)
        self._out.append(_pack(command))
        if not self._awaited:
            self._progress = self._loop.time()
        future = self._loop.create_future()
        self._awaited.append((future, channel))
        return future

    def _flush(self) -> None:
        if self._transport is not None:
            self._transport.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
        self._out.clear()

    def close(self) -> None:
        """Let go of it; whoever awaits a reply gets `Disconnected`."""
        if self._transport is not None:
            self._transport.abort()
        self.connection_lost(None)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """It stands."""
        self._transport = cast("asyncio.Transport", transport)
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is gone."""
        self._transport = None
        if self._timer is not None:
            self._timer.cancel()
        while self._awaited:
            future, _ = self._awaited.popleft()
            if not future.done():
                future.set_exception(Disconnected(silent=self._silent))
                future.exception()  # who awaits it hears of it; nobody else has to

    def data_received(self, data: bytes) -> None:
        """Some replies, or parts of them."""
        self._progress = self._loop.time()
        try:
            self._reader.feed(data)
            while (reply := self._reader.gets()) is not _MORE:
                self._take(reply)
        except hiredis.ProtocolError:  # whatever this is, it is no Redis
            self.close()

    def _take(self, reply: Reply) -> None:
        if isinstance(reply, hiredis.PushNotification):
            self._take_push(cast("list[Any]", reply))
            return
        if not self._awaited:
            self.close()
            return
        future, _ = self._awaited.popleft()
        if not future.done():
            future.set_result(reply)

    def _take_push(self, push: list[Any]) -> None:
        kind = push[0]
        if kind == b"smessage":
            self._told(push[1].decode(), push[2])
        elif kind in (b"ssubscribe", b"sunsubscribe"):
            channel = push[1].decode()
            if self._awaited and self._awaited[0][1] == channel:
                future, _ = self._awaited.popleft()
                if not future.done():
                    future.set_result(None)
            elif kind == b"sunsubscribe":  # its slot has moved to another server
                self._unsubscribed(channel)

    def _watch(self) -> None:
        if self._awaited and self._loop.time() - self._progress > self._patience:
            self._silent = True
            self.close()
            return
        self._timer = self._loop.call_later(self._patience / 2, self._watch)
