"""What the soak's verdict rests on: streams are drawn again from the seed, and a wrong byte is noticed."""

from __future__ import annotations

from random import Random

import pytest

from benchmarks.soak.answers import arriving, draw_recipe, outcomes, parts_of, text_of
from benchmarks.soak.faults import CLEAN, Fault, draw_fault
from benchmarks.soak.ledger import difference
from benchmarks.soak.plan import draw_plan, shared_recipes
from benchmarks.soak.views import CHAT, NATIVE, TEXT, Frame, Malformed, View
from benchmarks.soak.wire import Request
from headrace.mock import answer_text, parse_faults
from headrace.mock.faults import KINDS

SEED = 3
LONGEST_S = 10.0
SSE = View(CHAT, "sse")


def test_a_seed_and_a_number_make_the_same_stream_again():
    shared = shared_recipes(SEED, LONGEST_S)
    assert shared == shared_recipes(SEED, LONGEST_S)
    plans = [draw_plan(SEED, number, LONGEST_S, shared) for number in range(50)]
    assert plans == [draw_plan(SEED, number, LONGEST_S, shared) for number in range(50)]
    assert len({plan.request.path for plan in plans}) > 1


def test_every_fault_of_the_mock_is_drawn():
    random = Random(SEED)
    drawn = [draw_fault(random, 10, once=True).text for _ in range(4000)]
    names = {fault.name for text in drawn for fault in parse_faults(text)}
    assert names == set(KINDS) - {"none"}


def test_what_arrives_is_what_the_mock_says():
    random = Random(SEED)
    for _ in range(200):
        recipe = draw_recipe(random, LONGEST_S, once=False)
        parts = parts_of(recipe, SEED, "tell")
        assert text_of(parts, "text") == answer_text(SEED, "tell", recipe.tokens)
        assert outcomes(recipe, parts)
        whole = text_of(parts, "text")
        assert recipe.fault.every or whole.startswith(text_of(arriving(recipe, parts), "text"))


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (CLEAN, "a b c d"),
        (Fault("cut-frames:2", keeps=2), "a b"),
        (Fault("duplicate-frames:2", every=2), "a a b c c d"),
        (Fault("cut-in-character:1", keeps=1, in_character=True), "a b"),
    ],
)
def test_a_fault_lets_through_what_it_says(fault: Fault, words: str):
    recipe = draw_recipe(Random(SEED), LONGEST_S, once=False)._replace(fault=fault)
    parts = [part._replace(text=text) for text, part in zip("abcd", parts_of(recipe, SEED, "tell"), strict=False)]
    if fault.in_character:
        parts[2] = parts[2]._replace(text="ü")
    assert " ".join(part.text for part in arriving(recipe, parts)) == words


def test_a_frame_that_is_cut_was_not_received():
    body = b'retry: 2000\nid: c1.1\ndata: {"a":1}\n\n:\nid: c1.2\ndata: [DONE]\n\ndata: {"b'
    assert SSE.frames(body) == [Frame(b'{"a":1}', "c1.1"), Frame(b"[DONE]", "c1.2")]
    assert View(CHAT, "ndjson").frames(b'{"a":1}\n\n"[DONE]"\n{"b') == [Frame(b'{"a":1}'), Frame(b"[DONE]")]
    assert View(TEXT, "plain").frames(b"ab") == [Frame(b"ab")]


@pytest.mark.parametrize("body", [b"\n\n", b"data: 1\ndata: 2\n\n", b"data:1\n\n", b"id: 1\n\n", b"data: 1\r\n\n\n"])
def test_bytes_that_the_format_does_not_allow_are_malformed(body: bytes):
    with pytest.raises(Malformed):
        SSE.frames(body)


def test_only_the_last_frame_of_a_view_says_how_the_stream_ended():
    assert SSE.terminal(Frame(b"[DONE]")) == "finished"
    assert SSE.terminal(Frame(b'{"error":{}}')) == "failed"
    assert SSE.terminal(Frame(b'{"id":"1"}')) == ""
    record = b'{"seq":1,"at_ms":1,"events":[{"type":"cancelled","by":"client"}]}'
    assert View(NATIVE, "sse").terminal(Frame(record)) == "cancelled"
    assert not SSE.ends_cleanly("failed")
    assert View(NATIVE, "sse").ends_cleanly("failed")


def test_the_first_difference_is_named():
    assert difference(b"abXd", b"abcd").startswith("at byte 2 of 4 received and 4 wanted: b'Xd'")
    assert difference(b"ab", b"abcd").startswith("at byte 2 of 2 received and 4 wanted: b''")


def test_a_request_ends_its_connection():
    sent = Request("POST", "/v1/streams", {"a": 1}, {"x": "y"}).encoded("127.0.0.1:1")
    assert sent.startswith(b"POST /v1/streams HTTP/1.1\r\nhost: 127.0.0.1:1\r\nconnection: close\r\nx: y\r\n")
    assert sent.endswith(b'\r\ncontent-type: application/json\r\ncontent-length: 8\r\n\r\n{"a": 1}')
