"""The official Anthropic client for Node, as it is: the embedded model, and a scripted one of another shape."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.asking import MODEL, STORY
from tests.e2e.endings import PARTIAL, TRUNCATED
from tests.e2e.node_client import NodeClient, started
from tests.e2e.processes import Server
from tests.e2e.tap import Tap
from tests.e2e.upstream import Upstream
from tests.servers.scripted import END, Disconnect, chat, chunk, delta, head, whole

SDK = "anthropic"
ENOUGH = 3
"""Pings."""


def question(max_tokens: int = 16, **fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "max_tokens": max_tokens, "messages": STORY, **fields}


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"].get("text", "") for event in events if event["type"] == "content_block_delta")


@pytest.mark.promise("P1", "P27")
def test_a_streamed_answer_has_its_text_its_end_and_its_usage(node_client: NodeClient, embedded: Server):
    seen = node_client(SDK, "messagesStream", baseURL=embedded.url, question=question())
    assert seen["error"] is None
    first, *_, ending, last = seen["chunks"]
    assert (first["type"], ending["type"], last["type"]) == ("message_start", "message_delta", "message_stop")
    assert text_of(seen["chunks"])
    assert ending["delta"]["stop_reason"] in ("max_tokens", "end_turn")
    assert 0 < ending["usage"]["output_tokens"] <= 16


@pytest.mark.promise("P1", "P12")
def test_a_whole_answer_carries_the_id_of_its_stream(node_client: NodeClient, embedded: Server):
    seen = node_client(SDK, "messagesHeaders", baseURL=embedded.url, question=question())
    (block,) = seen["answer"]["content"]
    assert (block["type"], bool(block["text"])) == ("text", True)
    assert seen["answer"]["id"] == f"msg_{seen['headers']['headrace-stream-id']}"


@pytest.mark.promise("P18")
def test_the_clients_helper_puts_parallel_calls_together(node_client: NodeClient, relaying: Server, upstream: Upstream):
    def part(index: int, arguments: str, **first: Any) -> bytes:
        return delta(tool_calls=[{"index": index, "function": {"arguments": arguments}, **first}])

    begun = [
        delta(
            tool_calls=[{"index": n, "id": f"call_{n}", "type": "function", "function": {"name": "f", "arguments": ""}}]
        )
        for n in (0, 1)
    ]
    upstream.play(
        head(),
        chunk(*begun, part(0, '{"city":'), part(1, '{"city": '), part(0, '"Oslo"}'), part(1, '"Rome"}')),
        chunk(delta("tool_calls"), b"data: [DONE]\n\n"),
        END,
    )
    tools = [{"name": "f", "input_schema": {"type": "object"}}]
    seen = node_client(SDK, "messagesFinal", baseURL=relaying.url, question=question(tools=tools))
    assert seen["error"] is None
    assert seen["answer"]["stop_reason"] == "tool_use"
    assert [(block["id"], block["input"]) for block in seen["answer"]["content"]] == [
        ("call_0", {"city": "Oslo"}),
        ("call_1", {"city": "Rome"}),
    ]


@pytest.mark.promise("P5", "P6")
@pytest.mark.parametrize("ending", TRUNCATED)
def test_a_truncated_upstream_is_an_error_after_what_came(
    node_client: NodeClient, relaying: Server, upstream: Upstream, ending: str
):
    upstream.play(*TRUNCATED[ending])
    seen = node_client(SDK, "messagesStream", baseURL=relaying.url, question=question())
    assert text_of(seen["chunks"]) == PARTIAL
    assert "message_stop" not in [event["type"] for event in seen["chunks"]]
    assert seen["error"]["kind"] == "APIError"
    if "error frame" in ending:
        assert "overloaded" in seen["error"]["message"]


@pytest.mark.promise("P5")
def test_the_clients_helper_fails_too(node_client: NodeClient, relaying: Server, upstream: Upstream):
    upstream.play(*TRUNCATED["clean end without a marker"])
    seen = node_client(SDK, "messagesFinal", baseURL=relaying.url, question=question())
    assert seen["answer"] is None
    assert seen["partial"]["content"][0]["text"] == PARTIAL


@pytest.mark.promise("P13", "P19")
@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (whole(b'{"error":{"message":"no"}}', 401), "InternalServerError", 502),
        (whole(b'{"error":{"message":"bad stop"}}', 400), "BadRequestError", 400),
        (whole(b"slow", 429, retry_after="7"), "RateLimitError", 429),
    ],
)
@pytest.mark.parametrize("case", ["messages", "messagesStream"])
def test_a_refusal_before_the_first_frame_is_an_ordinary_error(
    node_client: NodeClient, relaying: Server, upstream: Upstream, case: str, answer: bytes, kind: str, status: int
):
    upstream.play(answer)
    seen = node_client(SDK, case, baseURL=relaying.url, question=question())
    assert (seen["error"]["kind"], seen["error"]["status"]) == (kind, status)
    assert seen["error"]["body"]["type"] == "error"


@pytest.mark.promise("P14")
def test_the_client_does_not_notice_pings(relaying: Server, upstream: Upstream):
    gate = upstream.gate()
    before = chunk(delta(role="assistant", content=""), delta(content="The"), delta(content=" river"))
    upstream.play(head(), before, gate.wait, chunk(chat(" runs", ".")), END)
    with Tap(relaying.url) as tap, started(SDK, "messagesStream", baseURL=tap.url, question=question()) as run:
        tap.wait_for(lambda data: data.rpartition(b"river")[2].count(b"event: ping") >= ENOUGH)
        gate.open()
        seen = run.result()
    assert seen["error"] is None
    assert text_of(seen["chunks"]) == "The river runs."


@pytest.mark.promise("P8")
def test_a_client_that_aborts_stops_the_model_where_leaving_means_that(
    node_client: NodeClient, relaying: Server, upstream: Upstream
):
    upstream.play(head(), chunk(delta(content="The river")), Disconnect())
    headers = {"Headrace-On-Disconnect": "cancel"}
    seen = node_client(SDK, "messagesAbort", baseURL=relaying.url, question=question(), headers=headers)
    assert text_of(seen["chunks"]) == "The river"
    upstream.left()


@pytest.mark.promise("P17")
def test_pictures_and_results_of_tools_are_said_in_the_upstreams_words(
    node_client: NodeClient, relaying: Server, upstream: Upstream
):
    upstream.play(head(), chunk(chat("A river.")), END)
    picture = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}}
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA"}}
    asked = question()
    asked["messages"] = [
        {"role": "user", "content": [picture, {"type": "text", "text": "Look."}]},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "Hm.", "signature": "s=="},
                {"type": "tool_use", "id": "call_1", "name": "look", "input": {"at": "river"}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "is_error": True, "content": [picture]},
                {"type": "text", "text": "And?"},
            ],
        },
    ]
    seen = node_client(SDK, "messages", baseURL=relaying.url, question=asked)
    assert seen["error"] is None
    user, assistant, result, showing, again = upstream.requests[0].json()["messages"]
    assert user["content"] == [shown, {"type": "text", "text": "Look."}]
    assert (assistant["content"], assistant["reasoning_content"]) == (None, "Hm.")
    assert result == {"role": "tool", "tool_call_id": "call_1", "content": "Error: The next message shows it."}
    assert (showing["role"], showing["content"][1]) == ("user", shown)
    assert again == {"role": "user", "content": "And?"}


@pytest.mark.promise("P17", "P25")
def test_what_the_upstream_has_no_word_for_is_a_bad_request(
    node_client: NodeClient, relaying: Server, upstream: Upstream
):
    tools = [{"type": "web_search_20260209", "name": "web_search"}]
    seen = node_client(SDK, "messages", baseURL=relaying.url, question=question(tools=tools))
    assert (seen["error"]["kind"], seen["error"]["status"]) == ("BadRequestError", 400)
    assert "web_search" in seen["error"]["message"]
    assert upstream.requests == []


def test_tokens_are_counted_and_models_listed(node_client: NodeClient, embedded: Server):
    counted = node_client(SDK, "countTokens", baseURL=embedded.url, question=question())
    assert counted["error"] is None
    assert counted["answer"]["input_tokens"] > 0
    assert node_client(SDK, "models", baseURL=embedded.url) == [MODEL]
