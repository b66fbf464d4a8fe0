"""The official client for Node, as it is: the embedded model, and a scripted one that ends well or badly."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.asking import MODEL, WEATHER, question
from tests.e2e.endings import PARTIAL, TRUNCATED
from tests.e2e.node_client import NodeClient, started
from tests.e2e.processes import Server
from tests.e2e.tap import Tap
from tests.e2e.upstream import Upstream
from tests.servers.scripted import END, Disconnect, chat, chunk, delta, frame, head, whole

ENOUGH = 3
"""Heartbeats."""


def text_of(chunks: list[dict[str, Any]]) -> str:
    return "".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks if chunk["choices"])


def finishes(chunks: list[dict[str, Any]]) -> list[str]:
    return [choice["finish_reason"] for chunk in chunks for choice in chunk["choices"] if choice["finish_reason"]]


@pytest.mark.promise("P1", "P27")
def test_a_streamed_answer_has_its_text_its_end_and_its_usage(node_client: NodeClient, embedded: Server):
    asked = question(stream_options={"include_usage": True})
    seen = node_client("openai", "chatStream", baseURL=embedded.api, question=asked)
    assert seen["error"] is None
    *others, last = seen["chunks"]
    assert text_of(others)
    assert len(finishes(others)) == 1
    assert len({chunk["id"] for chunk in seen["chunks"]}) == 1
    assert last["choices"] == []
    assert 0 < last["usage"]["completion_tokens"] <= 16


@pytest.mark.promise("P1", "P12")
def test_a_whole_answer_carries_the_id_of_its_stream_and_can_be_read_again(node_client: NodeClient, embedded: Server):
    seen = node_client("openai", "chatHeaders", baseURL=embedded.api, question=question())
    answer = seen["answer"]
    assert answer["choices"][0]["message"]["content"]
    assert answer["id"] == f"chatcmpl-{seen['headers']['headrace-stream-id']}"
    assert node_client("openai", "chatAgain", baseURL=embedded.api, id=answer["id"])["answer"] == answer


@pytest.mark.promise("P18")
def test_the_clients_helper_puts_a_streamed_tool_call_together(node_client: NodeClient, embedded: Server):
    asked = question(80, tools=[WEATHER], tool_choice="required", temperature=0)
    asked["messages"] = [{"role": "user", "content": "What is the weather in Paris?"}]
    seen = node_client("openai", "chatFinal", baseURL=embedded.api, question=asked)
    assert seen["error"] is None
    (choice,) = seen["answer"]["choices"]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert isinstance(json.loads(call["function"]["arguments"])["city"], str)


@pytest.mark.promise("P18")
def test_parallel_calls_are_not_mixed(node_client: NodeClient, relaying: Server, upstream: Upstream):
    def part(index: int, arguments: str, **first: Any) -> bytes:
        return delta(tool_calls=[{"index": index, "function": {"arguments": arguments, **first}}])

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
    asked = question(tools=[WEATHER])
    seen = node_client("openai", "chatFinal", baseURL=relaying.api, question=asked)
    calls = seen["answer"]["choices"][0]["message"]["tool_calls"]
    assert [(call["id"], call["function"]["arguments"]) for call in calls] == [
        ("call_0", '{"city":"Oslo"}'),
        ("call_1", '{"city": "Rome"}'),
    ]


@pytest.mark.promise("P5", "P6")
@pytest.mark.parametrize("ending", TRUNCATED)
def test_a_truncated_upstream_is_an_error_after_what_came(
    node_client: NodeClient, relaying: Server, upstream: Upstream, ending: str
):
    upstream.play(*TRUNCATED[ending])
    seen = node_client("openai", "chatStream", baseURL=relaying.api, question=question())
    assert text_of(seen["chunks"]) == PARTIAL
    assert seen["error"]["kind"] == "APIError"
    if "error frame" in ending:
        assert "overloaded" in seen["error"]["message"]


@pytest.mark.promise("P5", "P12", "P19")
def test_a_whole_answer_that_is_not_whole_is_an_error_with_the_text_so_far(
    node_client: NodeClient, relaying: Server, upstream: Upstream
):
    upstream.play(*TRUNCATED["clean end without a marker"])
    seen = node_client("openai", "chat", baseURL=relaying.api, question=question())
    assert seen["answer"] is None
    assert (seen["error"]["kind"], seen["error"]["status"]) == ("InternalServerError", 502)
    assert seen["error"]["body"]["partial"] == PARTIAL


@pytest.mark.promise("P13", "P19")
@pytest.mark.parametrize(
    ("answer", "kind", "status"),
    [
        (whole(b'{"error":{"message":"no"}}', 401), "InternalServerError", 502),
        (whole(b'{"error":{"message":"bad stop"}}', 400), "BadRequestError", 400),
        (whole(b"slow", 429, retry_after="7"), "RateLimitError", 429),
    ],
)
@pytest.mark.parametrize("case", ["chat", "chatStream"])
def test_a_refusal_before_the_first_frame_is_an_ordinary_error(
    node_client: NodeClient, relaying: Server, upstream: Upstream, case: str, answer: bytes, kind: str, status: int
):
    upstream.play(answer)
    seen = node_client("openai", case, baseURL=relaying.api, question=question())
    assert (seen["error"]["kind"], seen["error"]["status"]) == (kind, status)


@pytest.mark.promise("P19", "P25")
def test_a_part_that_is_not_as_it_must_be_is_named(node_client: NodeClient, embedded: Server):
    asked = question()
    asked["messages"] = [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]
    seen = node_client("openai", "chatStream", baseURL=embedded.api, question=asked)
    assert (seen["error"]["kind"], seen["error"]["param"]) == (
        "BadRequestError",
        "messages[0].content[0].image_url.url",
    )


@pytest.mark.parametrize("ids", ["0", "1"])
@pytest.mark.promise("P14")
def test_the_client_does_not_notice_heartbeats(relaying: Server, upstream: Upstream, ids: str):
    gate = upstream.gate()
    before = chunk(delta(role="assistant", content=""), delta(content="The"), delta(content=" river"))
    upstream.play(head(), before, gate.wait, chunk(chat(" runs", ".")), END)
    headers = {"Headrace-Ids": ids}
    with (
        Tap(relaying.api) as tap,
        started("openai", "chatStream", baseURL=tap.url, question=question(), headers=headers) as run,
    ):
        tap.wait_for(lambda data: b"river" in data and data.rpartition(b"\n\n")[2].count(b":\n") >= ENOUGH)
        gate.open()
        seen = run.result()
    assert seen["error"] is None
    assert text_of(seen["chunks"]) == "The river runs."
    assert finishes(seen["chunks"]) == ["stop"]


@pytest.mark.promise("P8")
def test_a_client_that_aborts_stops_the_model_where_leaving_means_that(
    node_client: NodeClient, relaying: Server, upstream: Upstream
):
    upstream.play(head(), chunk(delta(content="The river")), Disconnect())
    headers = {"Headrace-On-Disconnect": "cancel"}
    seen = node_client("openai", "chatAbort", baseURL=relaying.api, question=question(), headers=headers)
    assert text_of(seen["chunks"]) == "The river"
    upstream.left()


@pytest.mark.promise("P17")
def test_what_the_client_does_not_know_reaches_it(node_client: NodeClient, relaying: Server, upstream: Upstream):
    upstream.play(head(), chunk(frame({"choices": [], "vendor": {"x": 1.5}}), chat("Hi")), END)
    seen = node_client("openai", "chatStream", baseURL=relaying.api, question=question())
    assert seen["chunks"][0]["vendor"] == {"x": 1.5}


def test_the_client_lists_the_models(node_client: NodeClient, embedded: Server):
    assert node_client("openai", "models", baseURL=embedded.api) == [MODEL]
