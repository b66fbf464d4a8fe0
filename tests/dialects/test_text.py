import pytest
from hypothesis import given

from headrace.dialects import TEXT
from headrace.errors import BadRequest, UpstreamTimeout
from headrace.events import ItemEnd, ItemStart, Record, TextDelta
from headrace.transforms.accumulator import Accumulator
from tests.dialects.rendering import START, frames, records_of
from tests.strategies import streams


@given(streams())
def test_the_text_is_that_of_the_first_choice_as_written(records: list[Record]):
    items = [event for record in records for event in record.events if isinstance(event, ItemStart)]
    wanted = {item.item for item in items if item.kind == "text" and item.choice == 0}
    deltas = [event for record in records for event in record.events if isinstance(event, TextDelta)]
    expected = "".join(delta.text for delta in deltas if delta.item in wanted).encode()
    assert b"".join(frames(records, "text", "")) == expected
    accumulator = Accumulator()
    accumulator.feed(records)
    assert TEXT.answer(accumulator.answer()) == expected


@pytest.mark.promise("P4")
def test_an_offset_inside_a_character_is_a_position_like_any_other():
    events = (ItemStart(0, "text"), TextDelta(0, "aé"), TextDelta(0, "😀"), ItemEnd(0))
    records = [Record(0, 0, (START,)), *(Record(seq, 0, (event,)) for seq, event in enumerate(events, 1))]
    view = TEXT.view("")
    sizes = [view.size(frame) for record in records for frame in view.fold(record)]
    assert sizes == [3, 4]


def test_one_record_gives_at_most_one_frame():
    record = Record(1, 0, (ItemStart(0, "text"), TextDelta(0, "a"), TextDelta(0, "b")))
    assert TEXT.view("").fold(record) == [b"ab"]


def test_half_a_surrogate_pair_becomes_a_question_mark_rather_than_a_crash():
    record = Record(1, 0, (ItemStart(0, "text"), TextDelta(0, "a\ud800")))
    assert TEXT.view("").fold(record) == [b"a?"]


@pytest.mark.promise("P25")
def test_plain_text_is_read_never_posted():
    with pytest.raises(BadRequest):
        TEXT.parse(b"hello")


@pytest.mark.promise("P19")
def test_an_error_is_one_line_that_says_what_to_do():
    assert TEXT.error(UpstreamTimeout("No token for 120 s.")) == b"upstream_timeout: No token for 120 s.\n"


def test_a_stream_without_text_has_no_frames():
    assert frames(records_of([]), "text", "") == []
