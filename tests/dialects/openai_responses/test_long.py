"""Long bodies of this shape: the same request as short ones, in items that become turns across all cuts."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from headrace.dialects import NATIVE, OPENAI_RESPONSES
from headrace.dialects.openai_responses import write_long_request, write_request
from headrace.errors import BadRequest
from headrace.messages import LongMessages
from tests.dialects.test_long import in_parts, metadata, names, natives, plain, read, splits, texts, thresholds

BASE64 = "QUJD" * 20
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["input_text", "output_text"]), "text": texts}
) | st.sampled_from(
    [
        {"type": "input_image", "image_url": "data:image/png;base64," + BASE64},
        {"type": "input_file", "file_data": "data:application/pdf;base64," + BASE64, "filename": "a"},
        {"type": "input_file", "file_data": BASE64},
    ]
)
items = st.one_of(
    st.fixed_dictionaries(
        {
            "role": st.sampled_from(["system", "user", "assistant", "assistant"]),
            "content": texts | st.lists(parts, max_size=3),
        },
        optional={"type": st.just("message")},
    ),
    st.fixed_dictionaries({"type": st.just("function_call"), "call_id": texts, "name": texts, "arguments": texts}),
    st.fixed_dictionaries(
        {"type": st.just("function_call_output"), "call_id": texts, "output": texts | st.lists(parts, max_size=2)}
    ),
    st.fixed_dictionaries(
        {"type": st.just("reasoning"), "summary": st.just([]), "encrypted_content": st.none() | texts}
    ),
    st.fixed_dictionaries({"type": st.just("web_search_call"), "id": texts}),
)
bodies = st.fixed_dictionaries(
    {"model": names, "input": texts | st.lists(items, min_size=1, max_size=9)},
    optional={
        "instructions": texts,
        "metadata": metadata,
        "tools": st.lists(
            st.fixed_dictionaries({"type": st.just("function"), "name": texts, "description": texts}), max_size=4
        ),
        "text": st.just({"format": {"type": "json_object"}}),
        "background": st.booleans(),
        "vendor": st.lists(texts, max_size=3),
    },
)


@pytest.mark.promise("P25")
@settings(max_examples=100)
@given(body=bodies, longest=thresholds, run=st.integers(1, 60), cuts=splits)
def test_the_request_is_the_same(body: Any, longest: int, run: int, cuts: list[int]) -> None:
    data = json.dumps(body).encode()
    expected = OPENAI_RESPONSES.parse(data)
    request = read(OPENAI_RESPONSES, in_parts(data, longest, run, cuts))
    assert plain(request) == plain(expected)
    assert len(request.messages) == len(expected.messages)
    assert OPENAI_RESPONSES.unsaid(request) == OPENAI_RESPONSES.unsaid(expected)


@pytest.mark.promise("P12", "P17")
@settings(max_examples=50)
@given(body=bodies, longest=thresholds, run=st.integers(1, 60), stream=st.booleans())
def test_the_upstream_is_asked_the_same(body: Any, longest: int, run: int, stream: bool) -> None:
    data = json.dumps(body).encode()
    long = in_parts(data, longest, run)
    sent = b"".join(write_long_request(read(OPENAI_RESPONSES, long), long, "up", stream=stream))
    assert json.loads(sent) == json.loads(write_request(OPENAI_RESPONSES.parse(data), "up", stream=stream))


@settings(max_examples=50)
@given(body=natives, longest=thresholds, run=st.integers(1, 60))
def test_a_long_request_of_another_shape_asks_the_same(body: Any, longest: int, run: int) -> None:
    for message in body["messages"]:
        message.pop("name", None)
        message |= {"call_id": "call_1"} if message["role"] == "tool" else {}
        content = message["content"]
        message["content"] = content if isinstance(content, str) else [part for part in content if "text" in part]
    data = json.dumps(body).encode()
    long = in_parts(data, longest, run)
    sent = b"".join(write_long_request(read(NATIVE, long), long, "up", stream=True))
    assert json.loads(sent) == json.loads(write_request(NATIVE.parse(data), "up", stream=True))


REFUSED: dict[str, tuple[Any, str | None]] = {
    "no input": ({"other": [1] * 99}, "input"),
    "input is an object": ({"input": {str(n): n for n in range(50)}}, "input"),
    "a role": ({"input": [{"role": "user", "content": "x"}] * 7 + [{"role": "x", "content": ""}]}, "input[7].role"),
    "no item": ({"input": [{"role": "user", "content": "x"}] * 9 + [None]}, "input[9]"),
    "an argument": ({"input": [{"type": "function_call", "call_id": "c" * 99, "name": "f"}]}, "input[0].arguments"),
    "a part": ({"input": [{"role": "user", "content": [{"type": "input_text"}]}]}, "input[0].content[0].text"),
}


@pytest.mark.promise("P25")
@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("longest", [24, 1000])
@pytest.mark.parametrize("run", [1, 70, 1000])
def test_a_refusal_names_the_same_field(case: str, longest: int, run: int) -> None:
    fields, param = REFUSED[case]
    data = json.dumps({"model": "m", **fields}).encode()
    for ask in (OPENAI_RESPONSES.parse, lambda data: read(OPENAI_RESPONSES, in_parts(data, longest, run))):
        with pytest.raises(BadRequest) as refused:
            ask(data)
        assert refused.value.param == param


def test_very_many_items_of_one_turn_are_several_so_that_no_step_is_long() -> None:
    calls = [{"type": "function_call", "call_id": f"c{n}", "name": "f", "arguments": "{}"} for n in range(2500)]
    data = json.dumps({"model": "m", "input": calls}).encode()
    request = read(OPENAI_RESPONSES, in_parts(data, 1000, 1000))
    assert isinstance(request.messages, LongMessages)
    assert [len(message.tool_calls) for message in request.messages] == [1000, 1000, 500]
