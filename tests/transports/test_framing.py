"""However few bytes a write may have, the frames of all writes joined are the same bytes."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.dialects import DIALECTS
from headrace.dialects.base import View
from headrace.events import Record
from headrace.transports.framing import NDJSON, SSE, Framing, PlainText
from tests.dialects.rendering import folded
from tests.strategies import streams

FRAMINGS: list[tuple[str, str, Callable[[], Framing]]] = [
    ("native", "", lambda: SSE(ids="n1.", retry=True)),
    ("native", "", NDJSON),
    ("openai.chat", "u", lambda: SSE(ids="c1u.")),
    ("openai.chat", "u", SSE),
    ("openai.chat", "", NDJSON),
    ("text", "", lambda: SSE(ids="t1.", retry=True, quote=True)),
    ("text", "", lambda: NDJSON(quote=True)),
    ("text", "", PlainText),
]
EVERYTHING = 2**40


def writes(framing: Framing, view: View, frames: Sequence[Any], limit: int) -> list[tuple[bytes, Sequence[Any]]]:
    """The bodies that the frames are sent in, each with its frames."""
    found: list[tuple[bytes, Sequence[Any]]] = []
    position = 0
    while frames:
        body, taken = framing.encode(view, frames, position, limit)
        assert taken
        position += sum(map(view.size, frames[:taken]))
        found.append((body, frames[:taken]))
        frames = frames[taken:]
    return found


@pytest.mark.promise("P4", "P23")
@given(records=streams(), choice=st.sampled_from(FRAMINGS), limit=st.integers(0, 2000))
def test_a_write_is_bounded_and_all_of_them_joined_are_the_one_without_a_bound(
    records: list[Record], choice: tuple[str, str, Callable[[], Framing]], limit: int
) -> None:
    name, params, framing = choice
    view = DIALECTS[name].view(params)
    frames = folded(view, records)
    bounded = writes(framing(), view, frames, limit)
    assert len(writes(framing(), view, frames, EVERYTHING)) == bool(frames)
    assert b"".join(body for body, _ in bounded) == b"".join(
        body for body, _ in writes(framing(), view, frames, EVERYTHING)
    )
    for _, taken in bounded:
        assert len(taken) == 1 or sum(len(view.encode(frame)) for frame in taken) <= limit


class Named:
    """A view whose frames have names, as Anthropic's and OpenAI's Responses."""

    plain = False

    def fold(self, record: Record) -> list[Any]:
        return []

    def encode(self, frame: Any) -> bytes:
        return frame

    def size(self, frame: Any) -> int:
        return 1

    def event(self, frame: Any) -> str | None:
        return None if frame == b"unnamed" else "delta"


@pytest.mark.promise("P14")
@pytest.mark.parametrize("ids", [None, "a1."])
def test_one_frame_with_a_name_is_the_same_bytes_alone_and_among_others(ids: str | None) -> None:
    frames = [b"one", b"unnamed", b"three"]
    alone = b"".join(SSE(ids=ids).encode(Named(), [frame], at, EVERYTHING)[0] for at, frame in enumerate(frames))
    together, taken = SSE(ids=ids).encode(Named(), frames, 0, EVERYTHING)
    assert (alone, taken) == (together, 3)
    plain = together.replace(b"id: a1.1\n", b"").replace(b"id: a1.2\n", b"").replace(b"id: a1.3\n", b"")
    assert plain == b"event: delta\ndata: one\n\ndata: unnamed\n\nevent: delta\ndata: three\n\n"
