"""What a connection is told to do: an answer is an iterator of steps, and a fault changes that iterator.

`Hang`, `Cut` and `End` are the last step that a connection takes; what an iterator has after them is never asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import msgspec

Part = Literal["structure", "content", "finish", "done"]
"""What a frame is of an answer: a part of what is said, what stands around that, the finish, or the terminal marker."""


class Head(msgspec.Struct, frozen=True):
    """Status line and headers; the frames after it are sent as chunks if `chunked`, else as they are."""

    data: bytes
    chunked: bool
    closes: bool
    """Whether the connection ends with the answer."""


class Frame(msgspec.Struct, frozen=True, gc=False):
    """Bytes of the body."""

    data: bytes
    tokens: int = 0
    part: Part = "content"


class Pause(msgspec.Struct, frozen=True, gc=False):
    """Seconds from the time at which the step before was due, not from when it was done: so no lateness adds up."""

    seconds: float
    always: bool = False
    """Counted from now, and what is before it leaves before what is after it, however late it is."""


class Hang(msgspec.Struct, frozen=True):
    """Nothing more comes until the client leaves; `over` when the answer was whole before."""

    fault: str
    over: bool = False


class Cut(msgspec.Struct, frozen=True):
    """The connection ends here: closed in the middle of the answer, or `reset`."""

    fault: str
    reset: bool = False


class End(msgspec.Struct, frozen=True):
    """The body ends as HTTP says that a complete one ends; `fault` is why it says less than it should."""

    fault: str = ""


Step = Head | Frame | Pause | Hang | Cut | End
Steps = Iterator[Step]
