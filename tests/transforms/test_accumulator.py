"""One answer out of a log, at any time."""

import msgspec
import pytest
from hypothesis import given

from headrace.events import (
    ArgsDelta,
    Attrs,
    Cancelled,
    ChoiceEnd,
    ItemStart,
    Record,
    Signature,
    StepEnd,
    StepStart,
    StreamStart,
    TextDelta,
    Usage,
)
from headrace.transforms.accumulator import Accumulator
from headrace.transforms.estimate import tokens_of
from tests.dialects.rendering import START
from tests.strategies import streams


def fed(*batches: list[Record]) -> Accumulator:
    accumulator = Accumulator()
    for batch in batches:
        accumulator.feed(batch)
    return accumulator


def log(*events: object) -> list[Record]:
    return [Record(seq, 0, (event,)) for seq, event in enumerate((START, *events))]  # type: ignore[arg-type]


@given(streams())
def test_the_answer_is_every_event_in_its_place(records: list[Record]):
    answer = fed(records).answer()
    events = [event for record in records for event in record.events]
    starts = [event for event in events if isinstance(event, ItemStart)]
    ends = {event.choice: event.reason for event in events if isinstance(event, ChoiceEnd)}
    assert answer.start == events[0]
    assert {choice.index: choice.finish for choice in answer.choices if choice.finish} == ends
    for choice in answer.choices:
        mine = [start for start in starts if start.choice == choice.index]
        assert len(choice.items) == len(mine)
        for item, start in zip(choice.items, mine, strict=True):
            deltas = [event for event in events if getattr(event, "item", None) == start.item]
            pieces = [event.text for event in deltas if isinstance(event, TextDelta)]
            pieces += [event.json for event in deltas if isinstance(event, ArgsDelta)]
            signatures = [event.data for event in deltas if isinstance(event, Signature)]
            assert (item.kind, item.name, item.call_id) == (start.kind, start.name, start.call_id)
            assert item.text == "".join(pieces)
            assert item.signature == (signatures[-1] if signatures else None)
    attrs: dict[str, object] = {}
    for event in events:
        attrs |= event.values if isinstance(event, Attrs) else {}
    assert answer.attrs == attrs
    assert answer.usage == [event for event in events if isinstance(event, Usage)][-1]
    assert answer.raw == tuple(record.raw for record in records if record.raw is not None)
    assert answer.terminal == records[-1].terminal


@given(streams())
def test_batches_and_questions_in_between_change_nothing(records: list[Record]):
    whole = fed(records).answer()
    accumulator = Accumulator()
    for record in records:
        accumulator.feed([record])
        accumulator.answer()
        accumulator.estimated_output_tokens()
    assert accumulator.answer() == whole


def test_an_answer_needs_the_first_record():
    with pytest.raises(ValueError, match="record 0"):
        Accumulator().answer()


def test_a_later_signature_replaces_the_earlier_one():
    answer = fed(log(ItemStart(0, "reasoning"), Signature(0, "a"), Signature(0, "b"))).answer()
    assert answer.choices[0].items[0].signature == "b"


@pytest.mark.promise("P27")
def test_the_last_usage_counts_wherever_it_stands():
    step = StepStart("p", "m", usage=Usage(1, 0))
    assert fed(log(step)).usage == Usage(1, 0)
    assert fed(log(step, Usage(1, 2))).usage == Usage(1, 2)
    assert fed(log(step, Usage(1, 2), StepEnd("stop", Usage(1, 3)))).usage == Usage(1, 3)
    assert fed(log(Usage(1, 2), StepEnd("stop"))).usage == Usage(1, 2)


@pytest.mark.promise("P27")
def test_without_a_count_everything_that_the_model_wrote_is_estimated():
    assert fed(log()).estimated_output_tokens() == 0
    text, arguments = "The river runs to the sea.", '{"city": "Basel"}'
    spoken = log(ItemStart(0, "reasoning", name="reasoning_content"), TextDelta(0, text))
    assert fed(spoken).estimated_output_tokens() == tokens_of(text)
    called = log(ItemStart(0, "tool_call", name="weather", call_id="c"), ArgsDelta(0, arguments))
    assert fed(called).estimated_output_tokens() == tokens_of("weather" + arguments)


@pytest.mark.promise("P27")
def test_without_a_count_pieces_that_may_be_tokens_are_tokens():
    deltas = [TextDelta(0, word) for word in ("The", " river", " runs", " to", " the", " sea", ".")]
    assert fed(log(ItemStart(0, "text"), *deltas)).estimated_output_tokens() == 7


def test_the_first_choice_is_choice_0_even_if_only_another_has_spoken():
    answer = fed(log(ItemStart(0, "text", choice=1), TextDelta(0, "b"))).answer()
    assert [(choice.index, len(choice.items)) for choice in answer.choices] == [(0, 0), (1, 1)]
    assert answer.text == ""


def test_raw_frames_are_those_of_the_last_shape():
    raw = msgspec.Raw(b"{}")
    first, second = StepStart("a", "m", "one.shape"), StepStart("b", "m", "another.shape")
    records = [
        Record(0, 0, (START,)),
        Record(1, 0, (first,), raw),
        Record(2, 0, (second,), raw),
        Record(3, 0, (), raw),
        Record(4, 0, (msgspec.structs.replace(second, provider="c"),), raw),
    ]
    assert fed(records[:2]).answer().raw == (raw,)
    answer = fed(records).answer()
    assert (answer.raw_dialect, answer.raw) == ("another.shape", (raw, raw, raw))


def test_the_terminal_is_known_once_it_was_fed():
    accumulator = fed(log(ItemStart(0, "text")))
    assert accumulator.terminal is None
    accumulator.feed([Record(2, 0, (Cancelled("client"),))])
    assert accumulator.terminal == accumulator.answer().terminal == Cancelled("client")


def test_items_and_deltas_of_a_long_answer_are_joined_once():
    start: StreamStart = START
    records = [Record(0, 0, (start, ItemStart(0, "text")))]
    records += [Record(seq, 0, (TextDelta(0, "x"),)) for seq in range(1, 20_001)]
    assert fed(records).answer().text == "x" * 20_000


def test_deltas_of_an_item_that_never_began_are_no_part_of_the_answer():
    lost = log(
        TextDelta(7, "lost"), ArgsDelta(7, "lost"), Signature(7, "lost"), ItemStart(0, "text"), TextDelta(0, "a")
    )
    accumulator = fed(lost)
    assert accumulator.answer().text == "a"
    assert accumulator.estimated_output_tokens() == 1
