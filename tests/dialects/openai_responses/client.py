"""The official client's own reading of a stream, fed from frames."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from openai import omit
from openai._models import construct_type_unchecked
from openai.lib.streaming.responses._responses import ResponseStreamState
from openai.types.responses import ResponseStreamEvent

Frame = dict[str, Any]


def accumulated(frames: Iterable[Frame]) -> tuple[Any, list[Any]]:
    """The answer that `responses.stream` returns at the end, and the events that it gave on the way."""
    state = ResponseStreamState[Any](input_tools=omit, text_format=omit)
    events: list[Any] = []
    for frame in frames:
        event: Any = construct_type_unchecked(type_=ResponseStreamEvent, value=frame)  # pyright: ignore[reportArgumentType]
        events += state.handle_event(event)
    return state._completed_response, events
