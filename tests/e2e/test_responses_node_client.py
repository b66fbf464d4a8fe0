"""The Responses API by the official client for Node: the embedded model, and a scripted one of another shape."""

from __future__ import annotations

from typing import Any

import pytest

from tests.e2e.asking import MODEL
from tests.e2e.endings import PARTIAL, TRUNCATED
from tests.e2e.node_client import NodeClient, started
from tests.e2e.processes import Server
from tests.e2e.tap import Tap
from tests.e2e.upstream import Upstream
from tests.servers.scripted import END, Disconnect, chat, chunk, delta, head, whole

SDK = "openai"
ENOUGH = 3
"""Heartbeats."""


def question(**fields: Any) -> dict[str, Any]:
    return {"model": MODEL, "input": "Tell me a long story about a river.", "max_output_tokens": 16, **fields}


def text_of(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


@pytest.mark.promise("P1", "P27")
def test_a_streamed_answer_has_its_text_its_end_and_its_usage(node_client: NodeClient, embedded: Server):
    seen = node_client(SDK, "responsesStream", baseURL=embedded.api, question=question())
    assert seen["error"] is None
    assert [event["sequence_number"] for event in seen["chunks"]] == list(range(len(seen["chunks"])))
    last = seen["chunks"][-1]
    assert last["type"] in ("response.completed", "response.incomplete")
    assert text_of(seen["chunks"]) == last["response"]["output"][0]["content"][0]["text"]
    assert 0 < last["response"]["usage"]["output_tokens"] <= 16


@pytest.mark.promise("P4", "P9")
def test_an_answer_is_read_again_whole_and_from_a_place_on(node_client: NodeClient, embedded: Server):
    seen = node_client(SDK, "responsesStream", baseURL=embedded.api, question=question())
    public_id = seen["chunks"][0]["response"]["id"]
    again = node_client(SDK, "responsesAgainFrom", baseURL=embedded.api, id=public_id, after=3)
    assert again["error"] is None
    assert again["chunks"] == seen["chunks"][4:]
    whole = node_client(SDK, "responsesAgain", baseURL=embedded.api, id=public_id)["answer"]
    assert whole["status"] == seen["chunks"][-1]["response"]["status"]
    (item,), (streamed,) = whole["output"], seen["chunks"][-1]["response"]["output"]
    assert (item["id"], item["content"]) == (streamed["id"], streamed["content"])


@pytest.mark.promise("P18")
def test_the_clients_helper_puts_parallel_calls_together(node_client: NodeClient, relaying: Server, upstream: Upstream):
    def part(index: int, arguments: str) -> bytes:
        return delta(tool_calls=[{"index": index, "function": {"arguments": arguments}}])

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
    tools = [{"type": "function", "name": "f", "parameters": {"type": "object"}, "strict": False}]
    seen = node_client(SDK, "responsesFinal", baseURL=relaying.api, question=question(tools=tools))
    assert seen["error"] is None
    assert [(item["call_id"], item["arguments"]) for item in seen["answer"]["output"]] == [
        ("call_0", '{"city":"Oslo"}'),
        ("call_1", '{"city": "Rome"}'),
    ]


@pytest.mark.promise("P5", "P6")
@pytest.mark.parametrize("ending", TRUNCATED)
def test_a_truncated_upstream_is_a_failed_response_after_what_came(
    node_client: NodeClient, relaying: Server, upstream: Upstream, ending: str
):
    upstream.play(*TRUNCATED[ending])
    seen = node_client(SDK, "responsesStream", baseURL=relaying.api, question=question())
    assert text_of(seen["chunks"]) == PARTIAL
    last = seen["chunks"][-1]
    assert (last["type"], last["response"]["status"]) == ("response.failed", "failed")
    if "error frame" in ending:
        assert "overloaded" in last["response"]["error"]["message"]


@pytest.mark.promise("P13", "P19")
@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (whole(b'{"error":{"message":"no"}}', 401), "InternalServerError", 502),
        (whole(b'{"error":{"message":"bad stop"}}', 400), "BadRequestError", 400),
        (whole(b"slow", 429, retry_after="7"), "RateLimitError", 429),
    ],
)
@pytest.mark.parametrize("case", ["responses", "responsesStream"])
def test_a_refusal_before_the_first_frame_is_an_ordinary_error(
    node_client: NodeClient, relaying: Server, upstream: Upstream, case: str, answer: bytes, kind: str, status: int
):
    upstream.play(answer)
    seen = node_client(SDK, case, baseURL=relaying.api, question=question())
    assert (seen["error"]["kind"], seen["error"]["status"]) == (kind, status)


@pytest.mark.promise("P14")
def test_the_client_does_not_notice_heartbeats(relaying: Server, upstream: Upstream):
    gate = upstream.gate()
    before = chunk(delta(role="assistant", content=""), delta(content="The"), delta(content=" river"))
    upstream.play(head(), before, gate.wait, chunk(chat(" runs", ".")), END)
    with Tap(relaying.api) as tap, started(SDK, "responsesStream", baseURL=tap.url, question=question()) as run:
        tap.wait_for(lambda data: b"river" in data and data.rpartition(b"\n\n")[2].count(b":\n") >= ENOUGH)
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
    seen = node_client(SDK, "responsesAbort", baseURL=relaying.api, question=question(), headers=headers)
    assert text_of(seen["chunks"]) == "The river"
    upstream.left()


@pytest.mark.promise("P7")
def test_a_background_answer_is_cancelled_by_its_id(node_client: NodeClient, relaying: Server, upstream: Upstream):
    upstream.play(head(), chunk(delta(content="The river")), Disconnect())
    seen = node_client(SDK, "responsesCancel", baseURL=relaying.api, question=question())
    assert seen["status"] in ("queued", "in_progress")
    assert (seen["answer"]["id"], seen["answer"]["status"]) == (seen["id"], "cancelled")
    upstream.left()


@pytest.mark.promise("P17")
def test_pictures_and_results_of_tools_are_said_in_the_upstreams_words(
    node_client: NodeClient, relaying: Server, upstream: Upstream
):
    upstream.play(head(), chunk(chat("A river.")), END)
    picture = {"type": "input_image", "image_url": "data:image/png;base64,AAAA", "detail": "low"}
    shown = {"type": "image_url", "image_url": {"url": "data:image/png;base64,AAAA", "detail": "low"}}
    asked = question(
        input=[
            {"role": "user", "content": [picture, {"type": "input_text", "text": "Look."}]},
            {"type": "function_call", "call_id": "call_1", "name": "look", "arguments": '{"at": "river"}'},
            {"type": "function_call_output", "call_id": "call_1", "output": [picture]},
        ]
    )
    seen = node_client(SDK, "responses", baseURL=relaying.api, question=asked)
    assert seen["error"] is None
    user, assistant, result, showing = upstream.requests[0].json()["messages"]
    assert user["content"] == [shown, {"type": "text", "text": "Look."}]
    assert assistant["tool_calls"][0]["function"] == {"name": "look", "arguments": '{"at": "river"}'}
    assert result == {"role": "tool", "tool_call_id": "call_1", "content": "The next message shows it."}
    assert (showing["role"], showing["content"][1]) == ("user", shown)


@pytest.mark.promise("P17", "P25")
def test_what_the_upstream_has_no_word_for_is_a_bad_request(
    node_client: NodeClient, relaying: Server, upstream: Upstream
):
    asked = question(tools=[{"type": "web_search"}])
    seen = node_client(SDK, "responses", baseURL=relaying.api, question=asked)
    assert (seen["error"]["kind"], seen["error"]["status"]) == ("BadRequestError", 400)
    assert "web_search" in seen["error"]["message"]
    assert upstream.requests == []
