"""What a decoder says of a frame is the same whether or not it knows the frame by its pattern."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from headrace.dialects.openai_chat import ChatDecoder
from headrace.errors import HeadraceError

pytestmark = pytest.mark.promise("P17")

TEXTS = [
    *(
        b'"a"',
        b'"b"',
        b'" token"',
        '"ü 👩‍👧"'.encode(),
        b'"\\u00fc"',
        b'"\\ud83d\\ude00"',
        b'"\\n"',
        b'"\\"\\\\"',
        b'"\\/"',
    ),
    *(b'"\\"content\\":\\"a\\""', b'"\\u0000\\u007f"', b'"\\u0000\x7f"', b'"data: [DONE]"', b'"{}"'),
]
"""JSON strings as a server may write them."""
ODD = [
    *(
        b"null",
        b'""',
        b"7",
        b"{}",
        b'"a',
        b'a"',
        b'"a"b"',
        b'"a"}',
        b'"a" ',
        b' "a"',
        b'\n"a"',
        b'"a\nb"',
        b'"\\ud800"',
    ),
    *(
        b'"\\ud800\\ud801"',
        b'"\xff"',
        b'"\xed\xa0\x80"',
        b'"\0"',
        b'"\\x"',
        b'"a","content":"b"',
        b'"a","role":"assistant"',
    ),
    *(
        b'"a","content":null',
        b'"a","x":1',
        b'"a","refusal":"b"',
        b'"a","reasoning":"b"',
        b'"a"},"finish_reason":"stop"',
    ),
    *(b'"a"}},{"index":1,"delta":{"content":"b"', b'"' + b"x" * 300 + b'"'),
]
"""What may stand in a string's place, and what ends it early."""

USUAL = b'{"id":ID,"created":1,"model":"m","choices":[{"index":0,"delta":{"content":TEXT},"finish_reason":null}]}'
SHAPES = [
    *(USUAL, USUAL, USUAL, USUAL),
    USUAL.replace(b'"created":1', b'"created":2'),
    USUAL.replace(b'"model"', b'"system_fingerprint":ID,"model"'),
    USUAL.replace(b'"index":0', b'"index":1'),
    USUAL.replace(b":", b": ").replace(b",", b", "),
    USUAL.replace(b'"content":TEXT', b'"content":ID,"content":TEXT'),
    USUAL.replace(b'"content":TEXT', b'"content":TEXT,"content":ID'),
    USUAL.replace(b'"content":TEXT', b'"role":"assistant","content":TEXT'),
    USUAL.replace(b'"content":TEXT', b'"reasoning":TEXT'),
    USUAL.replace(b'"content":TEXT', b'"refusal":TEXT'),
    USUAL.replace(b'"content":TEXT', b'"content":TEXT,"refusal":null,"tool_calls":null'),
    USUAL.replace(b'"content":TEXT', b'"content":TEXT,"vendor":TEXT'),
    USUAL.replace(b'"content":TEXT', b'"vendor":{"content":ID},"content":TEXT'),
    USUAL.replace(b'"content":TEXT', b'"tool_calls":[{"index":0,"id":"c","function":{"name":"f","arguments":TEXT}}]'),
    USUAL.replace(b'"content":TEXT', b'"content":TEXT,"tool_calls":[{"index":0,"function":{"arguments":"x"}}]'),
    USUAL.replace(b'"content":TEXT', b""),
    USUAL.replace(b'"finish_reason":null', b'"finish_reason":"stop"'),
    USUAL.replace(b'"finish_reason":null', b'"finish_reason":null,"logprobs":{"content":[{"token":TEXT}]}'),
    USUAL.replace(b"}]}", b'}],"usage":{"prompt_tokens":1,"completion_tokens":1,"total_tokens":2}}'),
    USUAL.replace(b"}]}", b'}],"obfuscation":ID}'),
    b'{"choices":[{"index":0,"delta":{"content":TEXT},"finish_reason":null}],"id":ID,"model":"m"}',
    b'{"id":ID,"model":"m","choices":[],"obfuscation":TEXT}',
    b'{"error":{"message":TEXT}}',
    *(b"TEXT", b"", b"[DONE]"),
]
"""Frames; TEXT and ID stand for a text and for another string."""


def frame(shape: bytes, text: bytes, id: bytes) -> bytes:
    return shape.replace(b"TEXT", text).replace(b"ID", id)


frames = st.builds(
    frame,
    shape=st.sampled_from(SHAPES[:4]) | st.sampled_from(SHAPES),
    text=st.sampled_from(TEXTS) | st.sampled_from(TEXTS + ODD),
    id=st.sampled_from([b'"up-1"', b'"up-1"', b'"a"', b'"\\"content\\":"', b'"\\u0000\x7f"']),
)


def said(decoder: ChatDecoder, data: bytes) -> str:
    try:
        return repr(msgspec.json.encode(decoder.feed(data)))
    except HeadraceError as error:
        return repr((type(error), error.message))


def without_pattern() -> ChatDecoder:
    decoder = ChatDecoder("server", "m")
    decoder._pattern._left = 0
    return decoder


def usual(text: bytes, id: bytes = b'"up-1"', shape: bytes = USUAL) -> bytes:
    return frame(shape, text, id)


TEXT_FIRST = b'{"choices":[{"index":0,"delta":{"content":TEXT}}],"id":ID}'


@settings(max_examples=1000)
@given(sent=st.lists(frames, max_size=14))
@example(sent=[usual(text) for text in (b'"a"', b'"b"', *ODD)])
@example(sent=[usual(b'"a"'), usual(b'"b"'), frame(SHAPES[12], b'"c"', b'"up-1"'), usual(b'"d"')])
@example(sent=[usual(b'"a"'), usual(b'"b"'), frame(SHAPES[16], b'"c"', b'"up-1"'), usual(b'"d"')])
@example(sent=[usual(b'"a"'), *[usual(b'"a"', b'"a"', SHAPES[9])] * 3, usual(b'"a"', b'"b"', SHAPES[9])])
@example(sent=[usual(b'"a"'), *[usual(b'"a"', b'"a"', SHAPES[8])] * 3, usual(b'"b"', b'"a"', SHAPES[8])])
# A text that is the probe itself, written otherwise than we write it, with the same where it is no text.
@example(
    sent=[
        usual(b'"a"'),
        usual(b'"\\u0000\\u007f"', b'"\\u0000\x7f"', TEXT_FIRST),
        usual(b'"\\u0000\\u007f"', b'"other"', TEXT_FIRST),
    ]
)
def test_frames_say_the_same_with_and_without_a_pattern(sent: list[bytes]):
    decoder, slow = ChatDecoder("server", "m"), without_pattern()
    assert [said(decoder, data) for data in sent] == [said(slow, data) for data in sent]
    assert decoder.closed == slow.closed
    assert said(decoder, b"[DONE]") == said(slow, b"[DONE]")


def known(decoder: ChatDecoder, data: bytes) -> bool:
    """Whether the decoder takes the frame without reading it in full."""
    begun, left = decoder._pattern.begin, decoder._pattern._left
    decoder.feed(data)
    return bool(begun) and (decoder._pattern.begin, decoder._pattern._left) == (begun, left)


def test_the_second_frame_of_a_text_gives_the_pattern_for_those_that_follow():
    decoder = ChatDecoder("server", "m")
    assert [known(decoder, usual(text)) for text in (b'"a"', b'"b"')] == [False, False]
    assert all(known(decoder, usual(text)) for text in TEXTS)
    assert not known(decoder, usual(b'"a"', b'"up-2"'))


@pytest.mark.parametrize("field", [b'"reasoning":TEXT', b'"refusal":TEXT', b'"vendor":TEXT', b'"content":""', b""])
def test_a_frame_that_says_anything_else_ends_the_pattern(field: bytes):
    decoder = ChatDecoder("server", "m")
    for text in (b'"a"', b'"b"'):
        decoder.feed(usual(text))
    assert decoder._pattern.begin
    decoder.feed(usual(b'"c"', shape=USUAL.replace(b'"content":TEXT', field)))
    assert not decoder._pattern.begin


def test_a_server_that_never_repeats_a_frame_costs_only_so_many_tries():
    decoder = ChatDecoder("server", "m")
    padded = USUAL.replace(b'"created":1', b'"created":NUMBER')
    tries: list[int] = []
    for number in range(20):
        decoder.feed(usual(b'"a"', shape=padded.replace(b"NUMBER", b"%d" % number)))
        tries.append(decoder._pattern._left)
    assert tries == [8, *range(7, -1, -1), *[0] * 11]


def test_texts_written_otherwise_than_we_write_them_cost_only_so_many_tries():
    decoder = ChatDecoder("server", "m")
    for _ in range(20):
        decoder.feed(usual(b'"\\u00fc"'))
        assert not decoder._pattern.begin
    assert decoder._pattern._left == 0
