"""One answer in the making: a thread that waits inside llama.cpp, and the event loop that reads what it brings."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable
from typing import Protocol

import anyio

# All that a C++ exception can become on its way through Cython (its documentation, "C++ exception handling").
_CPP_ERRORS = (ArithmeticError, IndexError, MemoryError, OSError, RuntimeError, TypeError, ValueError)


class ChatServer(Protocol):
    """What answers: `xllamacpp.Server`, or a stand-in."""

    def handle_chat_completions(self, prompt: bytes, callback: Callable[[bytes], bool]) -> None:
        """Answer `prompt`, the JSON body of a streaming chat completion; returns when the answer has ended.

        `callback` gets each frame's JSON, in the calling thread; when it returns True or raises, llama.cpp drops the
        answer after the step that it is in.
        """
        ...


class Generation:
    """Frames cross from thread to loop in batches.

    The thread wakes the loop once and adds to the heap until the loop comes; what lies there is taken at one go.
    """

    def __init__(self, server: ChatServer, body: bytes) -> None:
        self.error: Exception | None = None
        """Why llama.cpp gave up, if it did so by an exception; final once `read` returns nothing."""
        self._loop = asyncio.get_running_loop()
        self._frames: deque[bytes] = deque()
        self._news = asyncio.Event()
        self._ended = asyncio.Event()
        self._woken = False
        self._stopping = False
        self._thread = threading.Thread(
            target=self._run,
            args=(server, body),
            name="headrace-local",
            # The interpreter waits for threads that are no daemons before it runs the exit handler that stops them.
            daemon=True,
        )
        self._done: Callable[[], None] | None = None

    def start(self, done: Callable[[], None]) -> None:
        """Begin; `done` is called on the loop after the thread has left llama.cpp."""
        self._done = done
        self._thread.start()

    async def read(self) -> list[bytes]:
        """Everything that has arrived, at least one frame; an empty list after the last."""
        while not self._frames and not self._ended.is_set():
            await self._news.wait()
            self._news.clear()
        return [self._frames.popleft() for _ in range(len(self._frames))]

    def stop(self) -> None:
        """Ask llama.cpp to drop the answer; from any thread, and more than once."""
        self._stopping = True

    def join(self) -> None:
        """Block until the thread has left llama.cpp."""
        self._thread.join()

    async def end(self) -> None:
        """Stop, and wait until llama.cpp has let go: at most the step that it is in; no step follows.

        Cancelling the caller does not cut this wait short, unless it is done again and again; even then `done` comes.
        """
        self.stop()
        with anyio.CancelScope(shield=True):
            await self._ended.wait()

    def _run(self, server: ChatServer, body: bytes) -> None:
        try:
            server.handle_chat_completions(body, self._receive)
        except _CPP_ERRORS as error:
            self.error = error
        finally:
            self._call(self._finish)

    def _receive(self, frame: bytes) -> bool:
        if self._stopping:
            return True
        self._frames.append(frame)
        if not self._woken:
            self._woken = True
            self._call(self._wake)
        return False

    def _call(self, callback: Callable[[], None]) -> None:
        try:
            self._loop.call_soon_threadsafe(callback)
        except RuntimeError:
            # The loop was closed without closing us: nobody is left to read.
            self._stopping = True

    def _wake(self) -> None:
        # First the flag, then the reader: a frame that comes in between wakes the loop once more than needed.
        self._woken = False
        self._news.set()

    def _finish(self) -> None:
        self._thread.join()  # telling us was its last act
        self._ended.set()
        self._news.set()
        if self._done is not None:
            self._done()
