"""A long body is the same request as a short one: read in parts, sent on byte for byte, refused for the same field."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.bodies import LARGEST_STEP, LongBody
from headrace.codecs import NOT_JSON
from headrace.codecs.long_body import LongBodyReader
from headrace.dialects import ANTHROPIC_MESSAGES, NATIVE, OPENAI_CHAT, anthropic_messages, openai_chat
from headrace.dialects.base import Dialect, invalid_json
from headrace.engine.idempotency import IdempotencyKey, digest_of_long
from headrace.errors import BadRequest
from headrace.messages import LongMessages, Request

pytestmark = pytest.mark.promise("P25")

TOKEN = "5a" * 16
thresholds = st.integers(24, 32)
"""Over the names of fields and roles: as strings that stand for others, the parser would not know them."""
texts = st.text(st.sampled_from('ab"\\\n/é漢😀[]{},:'), max_size=8) | st.sampled_from(
    ['a"\\' * 20, "é漢😀" * 9, "[{" * 30]
)
anything: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-99, 99) | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=8,
)
bytes_in_base64 = st.sampled_from(["AA", "iVBORw0KGgo/" * 9])
addresses = bytes_in_base64.map(lambda data: f"data:image/png;base64,{data}") | st.just("https://example.org/a.png")
text_parts = st.fixed_dictionaries({"type": st.just("text"), "text": texts})
chat_parts = (
    text_parts
    | st.builds(lambda url: {"type": "image_url", "image_url": {"url": url}}, addresses)
    | st.builds(lambda data: {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}, bytes_in_base64)
    | st.builds(lambda data: {"type": "file", "file": {"file_data": data}}, addresses | bytes_in_base64)
)
native_parts = (
    text_parts
    | st.builds(lambda url: {"type": "image", "url": url}, addresses)
    | st.builds(lambda data: {"type": "image", "data": data, "media_type": "image/png"}, bytes_in_base64)
    | st.builds(lambda data: {"type": "file", "data": data, "media_type": "application/pdf"}, bytes_in_base64)
)
more_native_parts = (
    native_parts
    | st.builds(lambda text: {"type": "reasoning", "text": text}, texts)
    | st.builds(lambda data: {"type": "audio", "data": data, "format": "wav"}, bytes_in_base64)
    | st.builds(lambda text: {"type": "vendors", "text": text}, texts)
)
roles = st.sampled_from(["system", "user", "assistant", "tool"])
calls = st.lists(
    st.fixed_dictionaries({"id": texts, "function": st.fixed_dictionaries({"name": texts, "arguments": texts})}),
    max_size=2,
)


def native_messages(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    content = texts | st.lists(parts, max_size=4)
    optional = {"name": texts, "call_id": st.just("c"), "is_error": st.booleans()}
    return st.fixed_dictionaries({"role": roles, "content": content}, optional=optional)


chat_messages = st.fixed_dictionaries(
    {"role": roles, "content": texts | st.lists(chat_parts, max_size=4)},
    optional={"name": texts, "tool_calls": calls, "reasoning": texts, "reasoning_content": texts, "refusal": texts},
)
tool = st.fixed_dictionaries(
    {"name": texts, "description": texts, "parameters": st.dictionaries(texts, anything, max_size=3)}
)
names = st.text(st.sampled_from("abé"), min_size=1, max_size=12)
metadata = st.dictionaries(texts, texts, max_size=4)
chats = st.fixed_dictionaries(
    {"model": names, "messages": st.lists(chat_messages, min_size=1, max_size=9)},
    optional={
        "stream": st.booleans(),
        "stream_options": st.fixed_dictionaries({"include_usage": st.booleans(), "x": texts}),
        "tools": st.lists(st.fixed_dictionaries({"type": st.just("function"), "function": tool}), max_size=4),
        "stop": st.lists(texts, max_size=4),
        "metadata": metadata,
        "temperature": st.just(1),
        "vendor": anything,
        "logit_bias": st.dictionaries(texts, st.integers(-100, 100), max_size=9),
    },
)


def native_requests(parts: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.fixed_dictionaries(
        {"model": names, "messages": st.lists(native_messages(parts), min_size=1, max_size=9)},
        optional={"tools": st.lists(tool, max_size=3), "metadata": metadata, "stream": st.booleans()},
    )


natives = native_requests(native_parts)
"""What every shape can say."""
blocks = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
    st.fixed_dictionaries(
        {
            "type": st.just("image"),
            "source": st.fixed_dictionaries(
                {"type": st.just("base64"), "media_type": st.just("image/png"), "data": texts.filter(bool)}
            ),
        }
    ),
    st.fixed_dictionaries(
        {
            "type": st.just("document"),
            "source": st.fixed_dictionaries({"type": st.just("text"), "data": texts}),
        },
        optional={"title": texts, "context": texts},
    ),
)
results = st.fixed_dictionaries(
    {"type": st.just("tool_result"), "tool_use_id": texts, "content": texts | st.lists(blocks, max_size=2)},
    optional={"is_error": st.booleans()},
)
uses = st.fixed_dictionaries(
    {"type": st.just("tool_use"), "id": texts, "name": texts, "input": st.dictionaries(texts, anything, max_size=3)}
)
thoughts = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": texts, "signature": texts})
turns = st.fixed_dictionaries(
    {"role": st.just("user"), "content": texts | st.lists(blocks | results, max_size=4)}
) | st.fixed_dictionaries({"role": st.just("assistant"), "content": st.lists(blocks | uses | thoughts, max_size=4)})
anthropics = st.fixed_dictionaries(
    {"model": names, "max_tokens": st.just(9), "messages": st.lists(turns, min_size=1, max_size=9)},
    optional={
        "system": texts,
        "stream": st.booleans(),
        "stop_sequences": st.lists(texts, max_size=4),
        "metadata": st.fixed_dictionaries({"user_id": texts}),
        "vendor": anything,
    },
)
SHAPES = {
    OPENAI_CHAT.name: (OPENAI_CHAT, chats),
    NATIVE.name: (NATIVE, native_requests(more_native_parts)),
    ANTHROPIC_MESSAGES.name: (ANTHROPIC_MESSAGES, anthropics),
}
splits = st.lists(st.integers(0, 2000), max_size=6)


def in_parts(body: bytes, longest: int, run: int, cuts: Sequence[int] = ()) -> LongBody:
    reader = LongBodyReader(TOKEN, longest=longest, run=run)
    places = sorted({0, len(body), *(cut % (len(body) + 1) for cut in cuts)})
    for begin, end in itertools.pairwise(places):
        reader.feed(body[begin:end])
    try:
        return reader.finish()
    except NOT_JSON as problem:
        raise invalid_json(problem) from problem


def returned(steps: Iterator[Any]) -> Any:
    try:
        while True:
            next(steps)
    except StopIteration as end:
        return end.value


def read(dialect: Dialect, body: LongBody) -> Request:
    return returned(dialect.parse_long(body))


def plain(request: Request) -> dict[str, Any]:
    """A request as builtins, with all strings that it stands for, and without its body."""
    fields = {name: getattr(request, name) for name in Request.__struct_fields__ if name != "body"}
    data = msgspec.json.encode(fields | {"messages": tuple(request.messages)})
    return json.loads(b"".join(request.body.restored(data)) if isinstance(request.body, LongBody) else data)


@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=50)
@given(data=st.data(), longest=thresholds, run=st.integers(1, 60), cuts=splits, ascii_only=st.booleans())
def test_the_request_is_the_same(
    shape: str, data: Any, longest: int, run: int, cuts: list[int], ascii_only: bool
) -> None:
    dialect, bodies = SHAPES[shape]
    body = json.dumps(data.draw(bodies), ensure_ascii=ascii_only).encode()
    long = in_parts(body, longest, run, cuts)
    request, expected = read(dialect, long), dialect.parse(body)
    assert b"".join(long.body.parts) == body and len(request.kept) == len(body)
    assert (request.model, request.metadata) == (expected.model, expected.metadata)
    assert plain(request) == plain(expected)
    assert len(request.messages) == len(expected.messages)


@pytest.mark.promise("P12", "P17", "P27")
@pytest.mark.parametrize("upstream", [openai_chat, anthropic_messages], ids=["to_chat", "to_messages"])
@pytest.mark.parametrize("shape", SHAPES)
@settings(max_examples=50)
@given(data=st.data(), longest=thresholds, run=st.integers(1, 60), stream=st.booleans())
def test_the_upstream_is_asked_the_same(
    shape: str, upstream: Any, data: Any, longest: int, run: int, stream: bool
) -> None:
    dialect, bodies = SHAPES[shape]
    body = json.dumps(data.draw(bodies)).encode()
    try:
        expected = upstream.write_request(dialect.parse(body), "up", stream=stream)
    except BadRequest as problem:
        param = problem.param
        long = in_parts(body, longest, run)
        with pytest.raises(BadRequest) as refused:
            list(upstream.write_long_request(read(dialect, long), long, "up", stream=stream))
        assert refused.value.param == param
        return
    long = in_parts(body, longest, run)
    sent = b"".join(upstream.write_long_request(read(dialect, long), long, "up", stream=stream))
    assert json.loads(sent) == json.loads(expected)
    if dialect.name == upstream.NAME:
        assert msgspec.json.decode(sent, type=dict[str, msgspec.Raw]) == msgspec.json.decode(
            expected, type=dict[str, msgspec.Raw]
        )


@pytest.mark.promise("P10")
@settings(max_examples=50)
@given(body=chats, longest=thresholds, run=st.integers(1, 60), indent=st.sampled_from([None, 2]))
def test_the_idempotency_key_is_the_same(body: Any, longest: int, run: int, indent: int | None) -> None:
    data = json.dumps(body, indent=indent, ensure_ascii=indent is None).encode()
    if any(len(json.dumps(name)) > longest for name in _names(body)):
        longest = 2000  # the order of names that stand for others is another one
    digest = returned(digest_of_long(in_parts(data, longest, run)))
    assert digest == IdempotencyKey.of("o", "r", "k", json.dumps(body).encode()).digest


def _names(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        for name, inner in value.items():  # pyright: ignore[reportUnknownVariableType]
            yield name
            yield from _names(inner)
    elif isinstance(value, list):
        for inner in value:  # pyright: ignore[reportUnknownVariableType]
            yield from _names(inner)


def chat(**fields: Any) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": f"question {n}"} for n in range(9)], **fields}


def with_message(index: int, message: Any) -> dict[str, Any]:
    asked = chat()
    asked["messages"][index] = message
    return asked


REFUSED: dict[str, tuple[Any, str | None]] = {
    "a list": ([chat()], None),
    "a string": ("x" * 99, None),
    "no model": ({"messages": chat()["messages"]}, "model"),
    "no messages": ({"model": "m", "other": [1] * 99}, "messages"),
    "messages are an object": (chat(messages={str(n): n for n in range(50)}), "messages"),
    "a role": (with_message(7, {"role": "nobody", "content": "x"}), "messages[7].role"),
    "no role": (with_message(0, {"content": "x"}), "messages[0].role"),
    "content": (with_message(8, {"role": "user", "content": 5}), "messages[8].content"),
    "no content": (with_message(3, {"role": "user"}), "messages[3].content"),
    "no message": (with_message(4, None), "messages[4]"),
    "a part": (with_message(5, {"role": "user", "content": [{"type": "text"}]}), "messages[5].content[0].text"),
    "a part's type": (with_message(5, {"role": "user", "content": [{"type": 1}]}), "messages[5].content[0].type"),
    "temperature": (chat(temperature=3), "temperature"),
    "a tool": (chat(tools=[{"type": "function", "function": {"name": "n"}}] * 9 + [{"type": 3}]), "tools[9].type"),
    "tools": (chat(tools="x" * 99), "tools"),
    "metadata": (chat(metadata={"a" * 40: 1}), "metadata[...]"),
    "a key": (chat(api_key="s" * 99), "api_key"),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("longest", [24, 1000])
@pytest.mark.parametrize("run", [1, 70, 1000])
def test_a_refusal_names_the_same_field(case: str, longest: int, run: int) -> None:
    value, param = REFUSED[case]
    body = json.dumps(value).encode()
    with pytest.raises(BadRequest) as direct:
        OPENAI_CHAT.parse(body)
    with pytest.raises(BadRequest) as refused:
        read(OPENAI_CHAT, in_parts(body, longest, run))
    assert refused.value.param == direct.value.param == param
    assert (refused.value.status, refused.value.error_code) == (direct.value.status, direct.value.error_code)


@given(
    data=st.data(),
    place=st.integers(0, 2000),
    wrong=st.sampled_from([b'"', b",", b"]", b"}", b"\\", b"\x01", b"\xff", b"0x", b""]),
    longest=thresholds,
    run=st.integers(1, 60),
)
def test_what_is_damaged_is_refused_or_taken_as_in_one_go(
    data: Any, place: int, wrong: bytes, longest: int, run: int
) -> None:
    body = json.dumps(data.draw(chats), ensure_ascii=False).encode()
    at = place % (len(body) + 1)
    damaged = body[:at] + wrong + body[at + 1 :]
    try:
        expected: dict[str, Any] | None = plain(OPENAI_CHAT.parse(damaged))
    except BadRequest:
        expected = None
    try:
        long = in_parts(damaged, longest, run)
        found: dict[str, Any] | None = plain(read(OPENAI_CHAT, long))
    except BadRequest:
        found = None
    assert found == expected


def test_many_messages_are_not_kept_as_objects() -> None:
    long = in_parts(json.dumps(chat()).encode(), 100, 50)
    request = read(OPENAI_CHAT, long)
    assert isinstance(request.messages, LongMessages)
    first, second = list(request.messages), list(request.messages)
    assert first == second and first[0] is not second[0]
    assert first[3] in request.messages and None not in request.messages


@pytest.mark.promise("P24")
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (chat(tools=[{"type": "function", "function": {"name": "n" * 900}}] * 1300), "tools"),
        ({str(number): "x" * 900 for number in range(1300)} | chat(), None),
    ],
)
def test_one_value_of_over_a_mebibyte_is_refused(body: dict[str, Any], param: str | None) -> None:
    with pytest.raises(BadRequest) as refused:
        read(OPENAI_CHAT, in_parts(json.dumps(body).encode(), 1024, 32 * 1024))
    assert refused.value.param == param and str(LARGEST_STEP) in refused.value.message


def test_metadata_that_is_refused_for_its_size_is_not_all_looked_at() -> None:
    body = json.dumps(chat(metadata={str(number): "x" * 20_000 for number in range(9)})).encode()
    request = read(OPENAI_CHAT, in_parts(body, 100, 1000))
    assert 16 * 1024 < sum(map(len, request.metadata.values())) <= 100_000
