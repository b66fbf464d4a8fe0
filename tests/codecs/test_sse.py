import base64
import json
import re
import tracemalloc
from operator import itemgetter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.codecs import LineTooLong
from headrace.codecs.sse import HEARTBEAT, SSEDecoder, SSEEvent, encode

VECTORS = Path(__file__).parents[2] / "conformance" / "sse"
CASES: list[dict[str, Any]] = [
    case for path in sorted(VECTORS.glob("*.json")) for case in json.loads(path.read_text(encoding="utf-8"))
]
every_case = pytest.mark.parametrize("case", CASES, ids=itemgetter("name"))


def outcome(chunks: list[bytes], **limits: int) -> dict[str, Any]:
    """Everything that a reader of these chunks can observe, in the words of the conformance cases."""
    decoder = SSEDecoder(**limits)
    events: list[SSEEvent] = []
    try:
        for chunk in chunks:
            events += decoder.feed(chunk)
        decoder.finish()
    except LineTooLong:
        return {"events": readable(events), "error": "line_too_long"}
    return {
        "events": readable(events),
        "retry_ms": decoder.retry_ms,
        "last_event_id": decoder.last_event_id,
        "pending": decoder.pending,
    }


def readable(events: list[SSEEvent]) -> list[dict[str, str]]:
    return [{"data": e.data.decode("utf-8", "replace"), "event": e.event, "id": e.id} for e in events]


def stream_of(case: dict[str, Any]) -> bytes:
    return base64.b64decode(case["input_base64"]) if "input_base64" in case else case["input"].encode()


def assert_as_expected(case: dict[str, Any], chunks: list[bytes]) -> None:
    got = outcome(chunks, **case.get("options", {}))
    wanted = {key: case[key] for key in ("events", "retry_ms", "last_event_id", "pending", "error") if key in case}
    assert {key: got.get(key) for key in wanted} == wanted
    assert ("error" in got) == ("error" in case)


def starts_anywhere(case: dict[str, Any]) -> bool:
    """Whether other frames may come before it: a BOM is one only at the start, limits would need counting."""
    return "options" not in case and not stream_of(case).startswith(b"\xef\xbb")


every_case_that_bears_bytes_before_it = pytest.mark.parametrize(
    "case", list(filter(starts_anywhere, CASES)), ids=itemgetter("name")
)


def cut(stream: bytes, positions: list[int]) -> list[bytes]:
    """Cut at these positions; equal ones give empty reads."""
    ends = [*sorted(position % (len(stream) + 1) for position in positions), len(stream)]
    return [stream[start:end] for start, end in zip([0, *ends], ends, strict=False)]


def test_there_are_cases_and_their_names_are_unique():
    names = [case["name"] for case in CASES]
    assert len(names) >= 40
    assert len(set(names)) == len(names)


@pytest.mark.promise("P15")
@every_case
def test_case_holds_in_one_read(case: dict[str, Any]):
    assert_as_expected(case, [stream_of(case)])


@pytest.mark.promise("P15")
@every_case
def test_case_holds_at_every_split(case: dict[str, Any]):
    stream = stream_of(case)
    for position in range(len(stream) + 1):
        assert_as_expected(case, [stream[:position], stream[position:]])


@pytest.mark.promise("P15")
@every_case
def test_case_holds_byte_by_byte_with_empty_reads_between(case: dict[str, Any]):
    stream = stream_of(case)
    assert_as_expected(case, [stream[i // 2 : i // 2 + i % 2] for i in range(2 * len(stream))])


@pytest.mark.promise("P15")
@every_case_that_bears_bytes_before_it
def test_case_holds_in_the_middle_of_a_stream_of_plain_frames(case: dict[str, Any]):
    before, event = b"data: before\n\n" * 3, {"data": "before", "event": "", "id": ""}
    assert_as_expected({**case, "events": [event] * 3 + case["events"]}, [before + stream_of(case)])


# Pieces that mean something to the parser, so that random streams are full of frames and of frames gone wrong.
pieces = st.sampled_from(
    [
        *(b"data", b"data: ", b"data:", b"event", b"event: ", b"id", b"id: ", b"retry: ", b"12", b"x", b":", b" "),
        *(b"\n", b"\n\n", b"\r", b"\r\n", b"\ndata: ", b"\n\ndata: ", b"\n\nevent: ", b"\0"),
        *(b"\xef\xbb\xbf", b"\xef", b"\xe2"),
    ]
)
streams = st.lists(pieces | st.binary(max_size=4), max_size=40).map(b"".join)
cuts = st.lists(st.integers(0, 200), max_size=12)


def by_the_book(stream: bytes) -> dict[str, Any]:
    """WHATWG HTML 9.2.6 word for word, over the whole stream, with no thought of speed."""
    text = stream.decode("utf-8", "replace").removeprefix("\ufeff")
    *lines, rest = re.split("\r\n|\n|\r", text)
    events: list[dict[str, str]] = []
    data = event = last_id = id_buffer = ""
    retry: int | None = None
    open_frame = False
    for line in lines:
        if not line:
            last_id = id_buffer
            if data:
                events.append({"data": data.removesuffix("\n"), "event": event, "id": last_id})
            data = event = ""
            open_frame = False
            continue
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        open_frame = open_frame or field != ""
        match field:
            case "data":
                data += value + "\n"
            case "event":
                event = value
            case "id" if "\0" not in value:
                id_buffer = value
            case "retry" if re.fullmatch("[0-9]{1,15}", value):
                retry = int(value)
            case _:
                pass
    pending = open_frame or (rest != "" and not rest.startswith(":"))
    return {"events": events, "retry_ms": retry, "last_event_id": last_id, "pending": pending}


@pytest.mark.promise("P15")
@settings(max_examples=1000)
@given(stream=streams, positions=cuts)
@example(stream=b"event: a\ndata: b\n\nid\ndata: c\n\n", positions=[])
@example(stream=b"event: a\nid: 1\ndata: b\n\nevent: c\ndata: d\n\n", positions=[])
@example(stream=b"data: a\n\n\ndata: b\n\n", positions=[])
@example(stream=b"data: a\n\nid: 1\ndata: b\n\ndata: c\n\n", positions=[10])
def test_any_bytes_in_any_reads_give_what_the_specification_says(stream: bytes, positions: list[int]):
    assert outcome(cut(stream, positions)) == by_the_book(stream)


# A read of nearly every token is one frame, and takes a shorter way. What comes between may close that way.
reads = st.lists(
    st.sampled_from(
        [
            *(b"data: a\n\n", b"data: b\n\n", b"data: longer\n\n", b"data: \n\n", b"data: \xff\n\n"),
            *(b"data: c\r\n\r\n", b"data: d\r\r", b"data: e\n\r\n", b"data: f\r\n\n", b"data: g\r"),
            *(b"data: two\ndata: lines\n\n", b"data:tight\n\n", b"event: x\ndata: y\n\n", b"id: 7\ndata: z\n\n"),
            *(
                b"id\n\n",
                b"id: 8\n",
                b"event: e\n",
                b"retry: 9\n\n",
                b"data: half",
                b"data: h\n",
                b"\n",
                b"\r",
                b"\n\n",
            ),
            *(b": comment\n", b":\n", b":\n\n", b": open", b"\xef\xbb\xbf", b"\xef", b"", b"x"),
        ]
    ),
    max_size=12,
)


@pytest.mark.promise("P15")
@settings(max_examples=1000)
@given(pieces=reads)
@example(pieces=[b"data: a\n\n", b"data: g\r", b"\n", b"data: a\n\n"])
@example(pieces=[b"data: a\n\n", b": open", b"data: a\n\n", b"data: b\n\n"])
@example(pieces=[b"data: a\n\n", b"id: 8\n", b"data: a\n\n", b"data: b\n\n"])
@example(pieces=[b"\xef", b"data: a\n\n"])
@example(pieces=[b"\xef\xbb\xbf", b"data: a\n\n", b"\xef\xbb\xbf", b"data: a\n\n"])
def test_reads_that_are_one_frame_give_what_the_specification_says(pieces: list[bytes]):
    assert outcome(pieces) == by_the_book(b"".join(pieces))


@pytest.mark.promise("P15")
@settings(max_examples=500)
@given(pieces=reads, line=st.integers(1, 14), event=st.integers(1, 14))
@example(pieces=[b":\n", b"data: longer\n\n"], line=14, event=5)
@example(pieces=[b":\n", b"data: longer\n\n"], line=11, event=14)
@example(pieces=[b":\n", b"data: longer\n\n", b"data: a\n\n"], line=11, event=14)
def test_limits_hold_in_reads_that_are_one_frame(pieces: list[bytes], line: int, event: int):
    limits = {"max_line_bytes": line, "max_event_bytes": event}
    assert outcome(pieces, **limits) == outcome([b"".join(pieces)], **limits)


@pytest.mark.promise("P15")
@settings(max_examples=300)
@given(pieces=reads, line=st.integers(1, 14), event=st.integers(1, 14))
@example(pieces=[b"data: a\n\n: much longer"], line=10, event=10)
def test_a_decoder_tells_whether_its_next_call_raises(pieces: list[bytes], line: int, event: int):
    decoder = SSEDecoder(max_line_bytes=line, max_event_bytes=event)
    for piece in pieces:
        expected = decoder.failed
        try:
            decoder.feed(piece)
            raised = False
        except LineTooLong:
            raised = True
        assert decoder.failed if raised else not expected
    expected = decoder.failed
    try:
        decoder.finish()
    except LineTooLong:
        assert expected
    else:
        assert not expected


@pytest.mark.promise("P15")
@settings(max_examples=500)
@given(stream=streams, positions=cuts, line=st.integers(1, 12), event=st.integers(1, 12))
def test_limits_hold_alike_in_any_reads(stream: bytes, positions: list[int], line: int, event: int):
    whole = outcome([stream], max_line_bytes=line, max_event_bytes=event)
    assert outcome(cut(stream, positions), max_line_bytes=line, max_event_bytes=event) == whole


payloads = st.binary(min_size=1).map(lambda data: data.replace(b"\n", b"").replace(b"\r", b"") or b"x")
printable = st.text(st.characters(codec="utf-8").filter(str.isprintable), max_size=8)
ascii_ids = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=127)
frames = st.tuples(payloads, st.none() | printable, st.none() | ascii_ids, st.none() | st.integers(0, 10**15 - 1))


@pytest.mark.promise("P14", "P15")
@settings(max_examples=300)
@given(
    sent=st.lists(st.tuples(frames, st.integers(0, 2)), max_size=12), positions=st.lists(st.integers(0), max_size=12)
)
def test_what_is_encoded_is_decoded_in_any_reads(
    sent: list[tuple[tuple[bytes, str | None, str | None, int | None], int]], positions: list[int]
):
    stream, wanted, last_id = b"", [], ""
    for (data, event, id, retry_ms), heartbeats in sent:
        stream += encode(data, event=event, id=id, retry_ms=retry_ms) + HEARTBEAT * heartbeats
        last_id = last_id if id is None else id
        wanted.append(SSEEvent(data, event or "", last_id))
    decoder = SSEDecoder()
    assert [event for chunk in cut(stream, positions) for event in decoder.feed(chunk)] == wanted
    decoder.finish()
    assert not decoder.pending


@pytest.mark.promise("P15")
def test_data_keeps_the_bytes_that_came():
    (event,) = SSEDecoder().feed(b"data: \xff\xfe\n\n")
    assert event.data == b"\xff\xfe"


@pytest.mark.promise("P15")
@pytest.mark.parametrize("stream", [b"data: 123456789", b"data: 123456789\n\n"])
def test_decoder_stays_failed_after_a_long_line(stream: bytes):
    decoder = SSEDecoder(max_line_bytes=10)
    with pytest.raises(LineTooLong, match="10 bytes"):
        decoder.feed(stream)
    with pytest.raises(LineTooLong):
        decoder.feed(b"\n\ndata: a\n\n")
    with pytest.raises(LineTooLong):
        decoder.finish()


@pytest.mark.promise("P15")
def test_events_before_a_long_line_come_first_and_the_error_after_them():
    decoder = SSEDecoder(max_line_bytes=10)
    assert decoder.feed(b"data: a\n\ndata: 123456789\n\ndata: b\n\n") == [SSEEvent(b"a")]
    with pytest.raises(LineTooLong):
        decoder.finish()


@pytest.mark.promise("P15")
def test_default_limit_lets_a_line_of_8_mib_pass_and_no_byte_more():
    line = b"data: ".ljust(8 * 1024 * 1024, b"x")
    (event,) = SSEDecoder().feed(line + b"\n\n")
    assert len(event.data) == len(line) - 6
    with pytest.raises(LineTooLong):
        SSEDecoder().feed(line + b"x")


def allocated(decoder: SSEDecoder, chunks: list[bytes]) -> int:
    """Bytes that feeding took above 1 KiB a read, summed over the reads, given back or not.

    Joining or copying what came before takes as much memory as it copies, so the sum shows quadratic work without a
    clock: n reads that each copy the line so far would sum to n/2 times the line.
    """
    tracemalloc.start()
    total = 0
    try:
        for chunk in chunks:
            before, _ = tracemalloc.get_traced_memory()
            tracemalloc.reset_peak()
            decoder.feed(chunk)
            _, peak = tracemalloc.get_traced_memory()
            total += max(0, peak - before - 1024)
    finally:
        tracemalloc.stop()
    return total


@pytest.mark.promise("P15")
@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b"data: " + b"x" * 2**18 + b"\n\n", id="one long line"),
        pytest.param(b": " + b"x" * 2**18 + b"\n\n", id="one long comment"),
        pytest.param(b"data: x\n" * 2**15 + b"\n", id="an event of many lines"),
        pytest.param(b"data: x\r\n" * 2**15, id="an event of many CR LF lines"),
    ],
)
def test_bytes_copied_are_linear_in_the_bytes_read(line: bytes):
    chunks = [line[i : i + 64] for i in range(0, len(line), 64)]
    assert len(chunks) >= 4096
    assert allocated(SSEDecoder(), chunks) < 16 * len(line)


@pytest.mark.promise("P15")
def test_a_large_read_takes_memory_in_proportion():
    for block in (b"data: 0123456789\n\n" * 10_000, b"event: x\ndata: 0123456789\n\n" * 10_000, b"\r\n" * 100_000):
        assert allocated(SSEDecoder(), [block]) < 40 * len(block)


def searched(*args: Any, **options: Any) -> Any:
    raise AssertionError("the partial line was searched again")


SEARCHES = (
    "__contains__",
    "__iter__",
    "count",
    "find",
    "index",
    "partition",
    "replace",
    "rfind",
    "split",
    "splitlines",
)
Unsearched = type("Unsearched", (bytearray,), dict.fromkeys(SEARCHES, searched))
"""A buffer whose content may be added to and taken out, but not looked through."""


@pytest.mark.promise("P15")
def test_a_partial_line_is_never_searched_again():
    decoder = SSEDecoder()
    decoder._line = Unsearched()
    for _ in range(1000):
        assert decoder.feed(b"data: ") == []
    assert isinstance(decoder._line, Unsearched)
    assert decoder.feed(b"\n\n") == [SSEEvent(b"data: " * 999)]


@pytest.mark.promise("P14")
def test_frame_has_its_fields_in_order_and_lf_only():
    frame = encode(b'{"a":1}', event="delta", id="c1u.57", retry_ms=2000)
    assert frame == b'retry: 2000\nid: c1u.57\nevent: delta\ndata: {"a":1}\n\n'


@pytest.mark.promise("P14")
def test_frame_without_options_is_one_data_line():
    assert encode(b"[DONE]") == b"data: [DONE]\n\n"
    assert encode(b"x", event="") == b"data: x\n\n"
    assert encode(b"x", retry_ms=0) == b"retry: 0\ndata: x\n\n"


@pytest.mark.promise("P14")
def test_heartbeat_is_a_comment_without_a_blank_line():
    assert HEARTBEAT == b":\n"


@pytest.mark.promise("P14")
@pytest.mark.parametrize("data", [b"", b"a\nb", b"a\r", b"\r\n", b"\n"])
def test_data_that_is_not_one_line_is_refused(data: bytes):
    with pytest.raises(ValueError, match="one line"):
        encode(data)
    with pytest.raises(ValueError, match="one line"):
        encode(data, id="1")


@pytest.mark.promise("P14")
@pytest.mark.parametrize("id", ["", "a\0", "a\n", "a\r", "é", "x" * 128, "a\x7f", "a\tb"])
def test_id_that_a_header_could_not_bring_back_is_refused(id: str):
    with pytest.raises(ValueError, match="127 printable ASCII"):
        encode(b"x", id=id)


@pytest.mark.promise("P14")
def test_id_of_127_characters_is_taken():
    assert encode(b"x", id="i" * 127) == b"id: " + b"i" * 127 + b"\ndata: x\n\n"


@pytest.mark.promise("P14")
@pytest.mark.parametrize("event", ["a\n", "a\rb", "\0", "\u2028"])
def test_event_name_with_control_characters_is_refused(event: str):
    with pytest.raises(ValueError, match="control characters"):
        encode(b"x", event=event)


@pytest.mark.promise("P14")
def test_negative_retry_is_refused():
    with pytest.raises(ValueError, match="retry_ms"):
        encode(b"x", retry_ms=-1)
