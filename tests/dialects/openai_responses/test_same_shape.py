"""P17: what a Responses server says reaches a Responses client."""

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.codecs.sse import SSEDecoder
from headrace.dialects.openai_responses import ResponsesDecoder
from headrace.events import Cancelled, Chunk, Failed, Finished
from tests.dialects.openai_responses.wire import FIXTURES, WHOLE, Frame, decoded, encoded, ended, fixture, shown
from tests.dialects.rendering import START, frames, records_of
from tests.strategies import json_values, texts

OURS = ("id", "created_at", "model", "previous_response_id", "background", "store")


def comparable(frame: Frame) -> Frame:
    """The frame without what may differ: padding, its number, and what is ours in the response object."""
    kept = {name: value for name, value in frame.items() if name not in ("obfuscation", "sequence_number")}
    if "response" in kept:
        kept["response"] = {name: value for name, value in kept["response"].items() if name not in OURS}
    return kept


@pytest.mark.promise("P17")
@pytest.mark.parametrize("name", WHOLE)
def test_every_frame_arrives_as_it_was_sent(name: str):
    sent = [json.loads(frame) for frame in fixture(name)]
    chunks = decoded(fixture(name))
    got = shown(chunks, ended(chunks))
    assert list(map(comparable, got)) == list(map(comparable, sent))
    assert [frame["sequence_number"] for frame in got] == list(range(len(sent)))


@pytest.mark.promise("P17")
@pytest.mark.parametrize("name", WHOLE)
def test_ids_and_times_are_ours_and_what_the_caller_said_to_us_stays(name: str):
    echo = msgspec.Raw(b'{"store":false,"previous_response_id":"resp_before","background":true}')
    got = shown(decoded(fixture(name)), start=msgspec.structs.replace(START, echo=echo))
    objects = [frame["response"] for frame in got if "response" in frame]
    assert len(objects) == 3
    for response in objects:
        assert (response["id"], response["created_at"], response["model"]) == (
            "resp_" + START.id,
            START.created,
            "demo",
        )
        assert (response["store"], response["previous_response_id"], response["background"]) == (
            False,
            "resp_before",
            True,
        )


@pytest.mark.promise("P17")
@pytest.mark.parametrize("name", WHOLE)
def test_frames_of_tokens_keep_no_raw_copy_and_all_others_do(name: str):
    for frame, chunk in zip(map(json.loads, fixture(name)), decoded(fixture(name)), strict=True):
        assert (chunk.raw is None) == frame["type"].endswith(".delta")


@pytest.mark.promise("P17")
@pytest.mark.parametrize("name", WHOLE)
def test_what_a_reader_gets_is_decoded_to_the_same_events(name: str):
    """A Headrace behind a Headrace sees what the first one saw."""
    first = decoded(fixture(name))
    second = decoded(frames(records_of(first, terminal=ended(first)), "openai.responses", ""))
    assert [chunk.events[1:] for chunk in second[:1]] == [chunk.events[1:] for chunk in first[:1]]
    assert [chunk.events for chunk in second[1:]] == [chunk.events for chunk in first[1:]]
    assert [chunk.raw is None for chunk in second] == [chunk.raw is None for chunk in first]


@pytest.mark.parametrize("name", WHOLE)
@settings(max_examples=15)
@given(data=st.data())
def test_every_split_of_the_bytes_gives_the_same_events(name: str, data: st.DataObject):
    whole = (FIXTURES / f"{name}.sse").read_bytes()
    cut = data.draw(st.integers(0, len(whole)))
    reader, decoder = SSEDecoder(), ResponsesDecoder("server", "model")
    events = [event for piece in (whole[:cut], whole[cut:]) for event in reader.feed(piece)]
    chunks = [decoder.feed(event.data) for event in events]
    assert [chunk for chunk in chunks if chunk is not None] == decoded(fixture(name))


def opened(**added: Any) -> list[Frame]:
    """The beginning of an answer with one message."""
    item = {"id": "msg_1", "type": "message", "status": "in_progress", "role": "assistant", "content": []}
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return [
        {"type": "response.created", "response": {"id": "resp_up", "model": "big", "status": "in_progress"}},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **place, "part": {"type": "output_text", "text": ""}, **added},
    ]


def delta(text: str, **more: Any) -> Frame:
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    return {"type": "response.output_text.delta", **place, "delta": text, "logprobs": [], **more}


COMPLETED: Frame = {"type": "response.completed", "response": {"id": "resp_up", "status": "completed", "output": []}}
unknown = st.fixed_dictionaries({"type": st.just("response.new.thing"), "x": json_values})


@pytest.mark.promise("P17")
@settings(max_examples=100)
@given(
    st.lists(
        st.builds(lambda text, more: delta(text, **({"x": more} if more else {})), texts, json_values) | unknown,
        max_size=8,
    )
)
def test_frames_with_unknown_fields_and_of_unknown_types_arrive_as_they_were_sent(middle: list[Frame]):
    sent = [*opened(), *middle, COMPLETED]
    got = shown(decoded(encoded(*sent)))
    assert list(map(comparable, got)) == list(map(comparable, json.loads(json.dumps(sent))))


@pytest.mark.promise("P17")
def test_numbers_and_strings_of_unknown_fields_stay_byte_for_byte():
    odd = b'{"big":123456789012345678901234567890,"small":1.50e-7,"zero":-0.0,"text":"\\u00e9\\/"}'
    data = encoded(*opened())
    data += [b'{"type":"response.new","x":%b}' % odd, b'{"type":"response.in_progress","response":{"x":%b}}' % odd]
    body = b"".join(frames(records_of(decoded(data)), "openai.responses", ""))
    assert body.count(odd) == 2


@pytest.mark.promise("P17")
def test_logprobs_and_encrypted_reasoning_stay_byte_for_byte():
    odd = b'[{"token":"a","logprob":-1.50e-7,"bytes":null,"top_logprobs":[]}]'
    text = b'{"type":"response.output_text.delta","item_id":"msg_1","output_index":0,"content_index":0,"delta":"a",'
    chunks = decoded([*encoded(*opened()), text + b'"logprobs":%b}' % odd])
    assert chunks[-1].raw is None
    assert b'"logprobs":' + odd in frames(records_of(chunks), "openai.responses", "")[3]
    body = b"".join(frames(records_of(decoded(fixture("reasoning"))), "openai.responses", ""))
    assert body.count(b"gAAAAABo+r/5Zk3Qx7==") == 2


@pytest.mark.promise("P17")
def test_deltas_that_interleave_keep_their_places():
    place = {"item_id": "msg_1", "output_index": 0}
    second = {"type": "response.content_part.added", **place, "content_index": 1, "part": {"type": "refusal"}}
    refused = {"type": "response.refusal.delta", **place, "content_index": 1, "delta": "no"}
    sent = [*opened(), delta("a"), second, delta("b"), refused, delta("c"), refused]
    chunks = decoded(encoded(*sent))
    assert [comparable(frame) for frame in shown(chunks)[: len(sent)]] == [comparable(frame) for frame in sent]
    assert all(chunk.raw is None for chunk in chunks[5:])


@pytest.mark.promise("P17")
def test_paragraphs_of_a_thought_that_interleave_keep_their_places():
    item = {"id": "rs_1", "type": "reasoning", "summary": []}
    sent: list[Frame] = [
        *opened()[:1],
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        *(paragraph(0, "part.added", part={"type": "summary_text", "text": ""}),),
        *(paragraph(0, "text.delta", delta="a"), paragraph(0, "text.delta", delta="b")),
        *(paragraph(1, "part.added", part={"type": "summary_text", "text": ""}),),
        *(paragraph(0, "text.delta", delta="c"), paragraph(1, "text.delta", delta="d")),
        *(paragraph(1, "text.delta", delta="e"), paragraph(0, "text.delta", delta="f")),
    ]
    chunks = decoded(encoded(*sent))
    assert [comparable(frame) for frame in shown(chunks)[: len(sent)]] == [comparable(frame) for frame in sent]
    assert [chunk.raw is None for chunk in chunks[3:]] == [True, True, False, False, False, True, False]


@pytest.mark.promise("P17")
def test_what_comes_after_the_end_of_its_part_still_arrives():
    item = {"id": "rs_1", "type": "reasoning", "summary": []}
    thought: list[Frame] = [
        *opened()[:1],
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        paragraph(0, "part.added", part={"type": "summary_text", "text": ""}),
        *(paragraph(0, "text.delta", delta="a"), paragraph(0, "part.done", part={"type": "summary_text", "text": "a"})),
        *(paragraph(0, "text.delta", delta="b"), paragraph(0, "text.delta", delta="c")),
    ]
    place = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    done = {"type": "response.content_part.done", **place, "part": {"type": "output_text", "text": "a"}}
    for sent in (thought, [*opened(), delta("a"), done, delta("b"), delta("c")]):
        got = shown(decoded(encoded(*sent)))
        assert [comparable(frame) for frame in got[: len(sent)]] == [comparable(frame) for frame in sent]


def paragraph(index: int, kind: str, **fields: Any) -> Frame:
    place = {"item_id": "rs_1", "output_index": 0, "summary_index": index}
    return {"type": "response.reasoning_summary_" + kind, **place, **fields}


@pytest.mark.promise("P17")
def test_a_delta_for_a_place_that_nobody_named_is_kept_as_it_came():
    sent = [*opened()[:1], delta("a"), delta("b"), delta("c", item_id="msg_renamed"), delta("d")]
    chunks = decoded(encoded(*sent))
    assert [chunk.raw is None for chunk in chunks] == [False, False, True, False, True]
    assert [comparable(frame) for frame in shown(chunks)[: len(sent)]] == [comparable(frame) for frame in sent]


@pytest.mark.promise("P5")
def test_a_terminal_frame_is_shown_only_once_the_log_has_ended_so():
    chunks = decoded(encoded(*opened(), delta("a"), COMPLETED))
    for terminal, last in (
        (Finished("stop"), "response.completed"),
        (Cancelled("client"), "response.incomplete"),
        (Failed("log_full", "Full."), "error"),
    ):
        kinds = [frame["type"] for frame in shown(chunks, terminal)]
        assert kinds[-1] == last
        assert kinds.count("response.completed") == (last == "response.completed")


@pytest.mark.promise("P5", "P19")
@pytest.mark.parametrize("terminal", [Failed("upstream_incomplete", "It stopped."), Cancelled("client")])
def test_what_a_server_left_open_ends_incomplete_with_what_it_had_said(terminal: Any):
    got = shown(decoded(fixture("truncated")), terminal)
    kinds = [frame["type"] for frame in got][7:]
    assert kinds[:3] == ["response.output_text.done", "response.content_part.done", "response.output_item.done"]
    (item,) = next(frame for frame in got[10:] if "response" in frame)["response"]["output"]
    assert (item["status"], item["content"][0]["text"]) == ("incomplete", "Half a sentence")
    assert got[9]["item"] == item


@pytest.mark.promise("P17")
def test_raw_frames_of_another_shape_are_rendered_from_their_events():
    chunks = decoded(fixture("text"))
    start = msgspec.structs.replace(chunks[0].events[0], dialect="anthropic.messages")
    got = shown([Chunk((start, *chunks[0].events[1:]), chunks[0].raw), *chunks[1:]])
    texts_of = [frame["delta"] for frame in got if frame["type"] == "response.output_text.delta"]
    assert "".join(texts_of) == "Hi there! How can I help? €😀"
    assert got[2]["item"]["id"] == f"msg_{START.id}_0"
