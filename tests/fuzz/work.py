"""How much work a call is, in a unit that no machine and no load changes: the byte code of Headrace that it runs."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

import headrace

_OURS = str(Path(headrace.__file__).parent)


def work(call: Callable[[], object]) -> int:
    """The operations that the call runs in Headrace's own code. What C code does for one operation is not seen."""
    count = 0

    def operation(frame: FrameType, event: str, argument: Any) -> Any:
        nonlocal count
        count += event == "opcode"
        return operation

    def entered(frame: FrameType, event: str, argument: Any) -> Any:
        if not frame.f_code.co_filename.startswith(_OURS):
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False
        return operation

    before = sys.gettrace()
    sys.settrace(entered)
    try:
        call()
    finally:
        sys.settrace(before)
    return count
