"""A stored request's items, each with an id that is the same in every read."""

import json
from typing import Any

import pytest

from headrace.dialects.openai_responses.input_items import Page, batches


def listed(given: Any, **page: Any) -> dict[str, Any]:
    asked = json.dumps({"model": "m", "input": given}).encode()
    found = Page(**{"limit": 100, "after": None, "newest_first": False, **page})
    for batch in batches(asked, "abc"):
        found.add(batch)
    return json.loads(found.json(asked))


def test_a_string_is_what_the_user_says() -> None:
    said = {"type": "message", "status": "completed", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]}
    assert listed("Hi")["data"] == [said | {"id": "msg_abc_in0"}]


def test_items_keep_their_own_ids_and_all_their_fields() -> None:
    given = [
        {"role": "assistant", "content": "a"},
        {"type": "function_call", "id": "fc_own", "call_id": "c", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "c", "output": "1"},
        {"type": "web_search_call", "x": 1.5},
    ]
    items = listed(given)["data"]
    assert [item["id"] for item in items] == ["msg_abc_in0", "fc_own", "fco_abc_in2", "item_abc_in3"]
    assert items[0]["content"] == [{"type": "output_text", "text": "a"}]
    assert items[1] == given[1] and items[3] == given[3] | {"id": "item_abc_in3"}


@pytest.mark.parametrize("odd", [None, 7, [], {}, ""])
def test_an_id_or_a_type_that_is_no_word_is_none(odd: Any) -> None:
    (item,) = listed([{"type": odd, "id": odd, "role": "user", "content": []}])["data"]
    assert (item["id"], item["type"]) == ("msg_abc_in0", "message")


@pytest.mark.parametrize("given", [None, []])
def test_nothing_said_is_an_empty_list(given: Any) -> None:
    assert listed(given) == {"object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False}
