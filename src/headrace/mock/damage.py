"""Faults as changes to the steps of an answer."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable
from typing import Final

from headrace.mock.faults import Fault
from headrace.mock.shapes.base import Shape
from headrace.mock.steps import Cut, End, Frame, Hang, Pause, Step, Steps

_BOM: Final = b"\xef\xbb\xbf"
_GZIP: Final = 16 + zlib.MAX_WBITS
Damage = Callable[[Steps, Fault], Steps]


def damaged(steps: Steps, fault: Fault, shape: Shape) -> Steps:
    """The steps of the body as the fault changes them; a fault that concerns no body changes nothing."""
    if fault.name in _SHAPED:
        return _SHAPED[fault.name](steps, fault, shape)
    damage = _DAMAGES.get(fault.name)
    return steps if damage is None else damage(steps, fault)


def _insert(steps: Steps, reached: Callable[[int, Frame], bool], make: Callable[[Frame], Iterable[Step]]) -> Steps:
    """Put steps before the first frame for which `reached(parts of the answer before it, frame)` holds."""
    parts, done = 0, False
    for step in steps:
        if isinstance(step, Frame):
            if not done and reached(parts, step):
                done = True
                yield from make(step)
            parts += step.part == "content"
        yield step


def _after(make: Callable[[Fault, Frame], Iterable[Step]]) -> Damage:
    """A damage that puts steps after N parts of the answer, or after the last one if there are fewer."""

    def damage(steps: Steps, fault: Fault) -> Steps:
        count: int = fault["after"]
        return _insert(
            steps,
            lambda parts, frame: frame.part != "structure" and (parts >= count or frame.part in ("finish", "done")),
            lambda frame: make(fault, frame),
        )

    return damage


def _cut(fault: Fault) -> Cut:
    return Cut(fault.name, fault["how"])


def _garbage(steps: Steps, fault: Fault, shape: Shape) -> Steps:
    return _after(lambda _fault, _frame: [Frame(shape.garbage, part="structure")])(steps, fault)


def _long_line(steps: Steps, fault: Fault, shape: Shape) -> Steps:
    def line(fault: Fault, _: Frame) -> Iterable[Step]:
        opening, ending = shape.padding
        around = len(opening) - (opening.find(b"\n") + 1) + len(ending)
        padding = b"x" * max(0, fault["size"] - around)
        return [Frame(opening + padding + ending + b"\n\n", part="structure")]

    return _after(line)(steps, fault)


def _error_frame(steps: Steps, fault: Fault, shape: Shape) -> Steps:
    first = b""

    def remembered() -> Steps:
        nonlocal first
        for step in steps:
            if isinstance(step, Frame):
                first = first or step.data
            yield step

    def error(fault: Fault, frame: Frame) -> Iterable[Step]:
        return [Frame(shape.failure(first, frame.data, fault["form"]), part="structure"), End(fault.name)]

    return _after(error)(remembered(), fault)


def _stopped(make: Callable[[Fault], Step]) -> Damage:
    """A damage that stops after N parts of the answer."""
    return _after(lambda fault, _: [make(fault)])


def _in_frame(fault: Fault, frame: Frame) -> Iterable[Step]:
    return [Frame(frame.data[: len(frame.data) // 2]), _cut(fault)]


def _in_character(steps: Steps, fault: Fault) -> Steps:
    def make(frame: Frame) -> Iterable[Step]:
        place = next(place for place, byte in enumerate(frame.data) if byte >= 0xC0)
        return [Frame(frame.data[: place + 1]), _cut(fault)]

    return _insert(steps, lambda parts, frame: parts >= fault["after"] and not frame.data.isascii(), make)


def _duplicate(steps: Steps, fault: Fault) -> Steps:
    number = 0
    for step in steps:
        yield step
        if isinstance(step, Frame):
            number += 1
            if number % fault["every"] == 0:
                yield step


def _no_done(steps: Steps, fault: Fault) -> Steps:
    for step in steps:
        if isinstance(step, Frame) and step.part == "done":
            continue
        yield End(fault.name) if isinstance(step, End) else step


def _keep_open(steps: Steps, fault: Fault) -> Steps:
    for step in steps:
        yield Hang(fault.name, over=True) if isinstance(step, End) else step


def _hang_first(_: Steps, fault: Fault) -> Steps:
    yield Hang(fault.name)


def _rewritten(change: Callable[[bytes], bytes]) -> Damage:
    def damage(steps: Steps, _: Fault) -> Steps:
        for step in steps:
            yield Frame(change(step.data), step.tokens, step.part) if isinstance(step, Frame) else step

    return damage


def _bom(steps: Steps, _: Fault) -> Steps:
    before = _BOM
    for step in steps:
        if isinstance(step, Frame) and before:
            step = Frame(before + step.data, step.tokens, step.part)
            before = b""
        yield step


def _gzip(steps: Steps, _: Fault) -> Steps:
    packer = zlib.compressobj(wbits=_GZIP)
    for step in steps:
        if isinstance(step, Frame):
            data = packer.compress(step.data) + packer.flush(zlib.Z_SYNC_FLUSH)
            yield Frame(data, step.tokens, step.part)
            continue
        if isinstance(step, End) or (isinstance(step, Hang) and step.over):
            yield Frame(packer.flush(), part="done")
        yield step


def _cut_bytes(steps: Steps, fault: Fault) -> Steps:
    left: int = fault["bytes"]
    for step in steps:
        if isinstance(step, Frame):
            if len(step.data) > left:
                yield Frame(step.data[:left])
                yield _cut(fault)
            left -= len(step.data)
        yield step


def _slow_drip(steps: Steps, fault: Fault) -> Steps:
    size: int = fault["bytes"]
    for step in steps:
        if not isinstance(step, Frame):
            yield step
            continue
        for start in range(0, len(step.data), size):
            piece = step.data[start : start + size]
            yield Frame(piece, step.tokens if start + size >= len(step.data) else 0, step.part)
            yield Pause(fault["gap"], always=True)


_DAMAGES: Final[dict[str, Damage]] = {
    "hang-before-first-token": _hang_first,
    "duplicate-frames": _duplicate,
    "hang-between-tokens": _stopped(lambda fault: Hang(fault.name)),
    "no-terminal": _stopped(lambda fault: End(fault.name)),
    "no-done": _no_done,
    "keep-open": _keep_open,
    "cut-frames": _stopped(_cut),
    "cut-in-frame": _after(_in_frame),
    "cut-in-character": _in_character,
    "comments": _rewritten(lambda data: b": a comment\n" + data),
    "crlf": _rewritten(lambda data: data.replace(b"\n", b"\r\n")),
    "cr": _rewritten(lambda data: data.replace(b"\n", b"\r")),
    "bom": _bom,
    "gzip": _gzip,
    "cut-bytes": _cut_bytes,
    "slow-drip": _slow_drip,
}
# What a shape writes in its own way.
_SHAPED: Final[dict[str, Callable[[Steps, Fault, Shape], Steps]]] = {
    "garbage": _garbage,
    "long-line": _long_line,
    "error-frame": _error_frame,
}
