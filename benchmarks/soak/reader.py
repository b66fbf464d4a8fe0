"""One reader: it is cut, stalls, comes back and reads on until its view is over, and keeps what it got."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final, Protocol
from urllib.parse import quote

from benchmarks.soak.ledger import Ledger
from benchmarks.soak.plan import Plan, Reading, Resume, Segment
from benchmarks.soak.views import TEXT, Frame, Malformed
from benchmarks.soak.wire import WHOLE, Exchange, Manner, Request, begin, over

_MOST_CONNECTIONS: Final = 40
_HURRY_S: Final = 4.0
"""So long after the stream's end a reader has no more adventures: the stream is not kept for ever."""
_LOOK_S: Final = 0.5
_TO_THE_END: Final = Segment(WHOLE)


class Stream(Protocol):
    """What a reader must know of the stream that it reads."""

    plan: Plan
    address: tuple[str, int]
    ledger: Ledger
    id: str
    deleted: bool

    def report(self, what: str, detail: str, view: str = "") -> None:
        """Note a violation."""
        ...

    def given_up(self) -> bool:
        """Whether whoever does not read this stream is cut off by now, or never will be."""
        ...

    def ended_for_s(self) -> float:
        """Since when it has ended; 0 while it runs."""
        ...

    def kept_for_s(self) -> float:
        """How long it is still kept."""
        ...

    def still_held(self, port: int) -> str:
        """What the server has of the connection to this port, though it has said that it cut a reader off."""
        ...


class Reader:
    """Reads one view of one stream, over any number of connections."""

    def __init__(self, stream: Stream, reading: Reading) -> None:
        self.stream = stream
        self.reading = reading
        self.view = reading.view
        self.frames: list[Frame] = []
        self.position = 0
        """Units of the cursor."""
        self.end = ""
        """`finished`, `failed`, `cancelled`; `over`: it had everything already; `refused`: an HTTP error; `gone`: there
        is no such stream; `left`: it never came back."""
        self.status = 0
        self.code = ""
        """Of the refusal."""
        self.replayed = False
        self._last_id = ""

    async def run(self, first: Request | None = None, on_head: Callable[[Exchange], None] | None = None) -> None:
        """Read until the view is over; `first` is the request that makes the stream."""
        self._count(readers=1)
        segments = iter(self.reading.segments)
        request = first or self._resumption("skip")
        for _ in range(_MOST_CONNECTIONS):
            hurry = self.stream.ended_for_s() > _HURRY_S
            segment = _TO_THE_END if hurry else next(segments, _TO_THE_END)
            exchange = await self._exchange(request, segment.manner, on_head)
            on_head = None
            self._take(exchange)
            if self.end:
                break
            if self.stream.plan.ending == "leave":
                self.end = "left"
                break
            await asyncio.sleep(segment.rest_s)
            self._count(resumes=1)
            request = self._resumption(segment.resume)
        else:
            self._report("a reader does not come to an end", f"after {_MOST_CONNECTIONS} connections")
        self._count(**{f"ended {self.end}": 1}, frames=len(self.frames))

    async def _exchange(self, request: Request, manner: Manner, on_head: Callable[[Exchange], None] | None) -> Exchange:
        exchange = await begin(self.stream.address, request, manner)
        self.stream.ledger.readers_now += 1
        try:
            if on_head is not None:
                await exchange.headed
                on_head(exchange)
            if manner.stall_at is not None and manner.stall_s is None:
                await self._wait_stuck(exchange)
            await over(exchange)
        except TimeoutError:
            self._report("a body does not end", f"{len(exchange.body)} bytes so far")
            exchange.leave()
        finally:
            self.stream.ledger.readers_now -= 1
        return exchange

    async def _wait_stuck(self, exchange: Exchange) -> None:
        """Read nothing until the server has cut this reader off, then look whether its socket is gone there."""
        while not exchange.ended.done() and not self.stream.given_up():
            await asyncio.wait([exchange.ended], timeout=_LOOK_S)
        if exchange.stalled and exchange.is_open and (held := self.stream.still_held(exchange.port)):
            self._report("a reader that was cut off for not reading still has its socket", held)
        exchange.go_on()

    def _resumption(self, resume: Resume) -> Request:
        """The request for what is missing, as a browser, by hand, or by counting."""
        headers, query = dict(self.view.accept), f"?{self.view.query}"
        if ":" in self._last_id:  # the stream's own id is in it
            path, query = "/stream", f"?prompt={quote(self.stream.plan.prompt)}&model={self.stream.plan.model}"
        elif self.reading.chat_route:
            path, query = f"/v1/chat/completions/chatcmpl-{self.stream.id}", ""
        else:
            path = f"/v1/streams/{self.stream.id}/events"
        place = self._last_id or ("" if resume == "skip" else f"{self.view.cursor}{self.position}")
        if path == "/stream" or (place and resume == "header"):
            headers["last-event-id"] = place
        else:
            word = f"last_event_id={place}" if place and resume == "query" else f"skip={self.position}"
            query = f"{query}&{word}" if query else f"?{word}"
        return Request("GET", path + query, headers=headers)

    def _take(self, exchange: Exchange) -> None:
        """What a connection has brought, and whether the view is over with it."""
        self.status = exchange.status
        self.replayed |= "idempotent-replayed" in exchange.headers
        self._count(bytes=len(exchange.body), cuts=int(exchange.cut), stalls=int(exchange.stalled))
        if exchange.status != 200:
            self._refused(exchange)
            return
        try:
            frames = self.view.frames(bytes(exchange.body))
            self._check_ids(frames)
        except Malformed as problem:
            self._report("a body is malformed", str(problem))
            self.end = "malformed"
            return
        self.frames += frames
        self.end = self._ended(exchange, frames)

    def _refused(self, exchange: Exchange) -> None:
        """Any other status than 200: of a reader that came too late, or of a stream that failed before its head."""
        status = exchange.status
        if exchange.cut:
            return
        if status == 204:
            self.end = "over"
        elif status == 404 and (self.stream.deleted or self.stream.kept_for_s() <= 0):
            self.end = "gone"
        elif status >= 400 and exchange.clean:
            self.end, self.code = "refused", _code(exchange)
        else:
            self._report("an answer is not whole", f"status {status}, {bytes(exchange.body[:200])!r}")
            self.end = "malformed"

    def _check_ids(self, frames: list[Frame]) -> None:
        """Every id is the place after its frame (P4)."""
        for frame in frames:
            self.position += self.view.size(frame)
            if not frame.id:
                continue
            self._last_id = frame.id
            wanted = f"{self.view.cursor}{self.position}"
            if frame.id.rpartition(":")[2] != wanted:
                self._report("an id is not its frame's place", f"{frame.id} instead of {wanted}")

    def _ended(self, exchange: Exchange, frames: list[Frame]) -> str:
        """The state that the view is over with; empty when there is more. A body must end as P5 wants."""
        state = self.view.terminal(frames[-1]) if frames else ""
        if self.view.format == TEXT and exchange.clean:
            state = "finished"
        if not state:
            self._broke_off(exchange)
            return ""
        interrupted = exchange.cut or exchange.stalled
        if exchange.clean and not self.view.ends_cleanly(state):
            self._report("a body of a stream that did not finish ended cleanly (P5)", f"{state}: {frames[-1].data!r}")
        if not exchange.clean and self.view.ends_cleanly(state) and not interrupted:
            self._report("a body was aborted after its terminal frame", f"{state}: {frames[-1].data!r}")
        return state

    def _broke_off(self, exchange: Exchange) -> None:
        """The body stopped before the view was over: by this reader, for its not reading, or by the stream's end."""
        if exchange.clean:
            self._report("a body without a terminal frame ended cleanly (P5)", f"{bytes(exchange.body[-200:])!r}")
        elif not exchange.cut:
            self._count(**{"cut off": 1})
            # In a text the abort is the only word for a failure; the next read has the failure itself.
            if self.view.format != TEXT and not self.stream.deleted:
                self.stream.ledger.cut_off.add(self.stream.id)

    def _count(self, **counts: int) -> None:
        self.stream.ledger.reader(f"{self.reading.kind}, {self.view.name}", **counts)

    def _report(self, what: str, detail: str) -> None:
        self.stream.report(what, f"{self.reading.kind} at {self.position}: {detail}", self.view.name)

    @property
    def content(self) -> list[bytes]:
        """What is compared: frames, or the text's bytes as one."""
        if self.view.format == TEXT:
            return [b"".join(map(self.view.content, self.frames))]
        return [frame.data for frame in self.frames]


def _code(exchange: Exchange) -> str:
    """Of an error, which is JSON, or a line where text was asked for."""
    if exchange.headers.get("content-type", "").startswith("text/plain"):
        return exchange.body.decode().partition(":")[0]
    return exchange.json()["error"]["code"]
