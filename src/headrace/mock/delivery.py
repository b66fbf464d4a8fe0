"""How an answer is told: as a stream, whose tokens have their times, or as a whole."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator
from itertools import repeat

import msgspec

from headrace.mock.answer import Answer
from headrace.mock.shapes.base import Piece, Writer
from headrace.mock.steps import End, Frame, Pause, Step, Steps

_encode = msgspec.json.encode


def streamed(answer: Answer, writer: Writer) -> Steps:
    """The body of a stream."""
    settings = answer.settings
    if settings.ttft:
        yield Pause(settings.ttft)
    yield from writer.begin()
    yield from _stamped(answer, writer) if settings.stamp else _paced(answer, _said(answer, writer))
    yield from writer.end()
    yield End()


def whole(answer: Answer, writer: Writer) -> Steps:
    """The body of an answer that is not streamed; it comes when the last token of a stream would."""
    seconds = sum(step.seconds for step in streamed(answer, writer) if isinstance(step, Pause))
    if seconds:
        yield Pause(seconds)
    yield Frame(writer.body(), answer.usage.output)
    yield End()


def _said(answer: Answer, writer: Writer) -> Iterator[Frame]:
    size = answer.settings.chunk_words
    if answer.reasoning:
        yield from writer.reasoning(_pieces(answer.reasoning, size))
    if answer.content:
        yield from writer.text(_pieces(answer.content, size))
    for call in answer.calls:
        yield from writer.call(call)


def _pieces(words: list[str], size: int) -> Iterable[Piece]:
    """Nearly every frame is one word, so there no Python runs between two frames."""
    if size == 1:
        return zip(map(_encode, words), repeat(1), strict=False)
    groups = (words[start : start + size] for start in range(0, len(words), size))
    return ((_encode("".join(group)), len(group)) for group in groups)


def _paced(answer: Answer, frames: Iterable[Frame]) -> Iterator[Step]:
    draw = answer.settings.gap.drawer(f"{answer.settings.seed}/{answer.sha256}")
    if draw is None:
        yield from frames
        return
    first = True
    for frame in frames:
        if frame.part == "content":
            # The first token comes with the first frame: the time to it has passed.
            if not first:
                yield Pause(draw())
            first = False
        yield frame


def _stamped(answer: Answer, writer: Writer) -> Iterator[Step]:
    """A token is made when it is written, so this is apart from `_paced`, which holds a frame while it waits."""
    draw = answer.settings.gap.drawer(f"{answer.settings.seed}/{answer.sha256}")
    left = len(answer.content)
    for frame in writer.text(_stamps(left)):
        yield frame
        left -= frame.tokens
        if draw is not None and frame.tokens and left:
            yield Pause(draw())


def _stamps(count: int) -> Iterator[Piece]:
    digest = hashlib.sha256()
    for index in range(count):
        # The clock that all processes of a machine share.
        text = f"{index}:{time.monotonic_ns()} ".encode()
        digest.update(text)
        yield b'"%b"' % text, 1
    yield b'"sha256:%b"' % digest.hexdigest().encode(), 0
