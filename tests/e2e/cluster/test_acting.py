"""What is done on one node counts on all: stopping, deleting, listing, joining; also for the official clients."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import anthropic
import openai
import pytest

from tests.e2e.asking import finishes, plain, question, read_again, text_of
from tests.e2e.cluster.nodes import Nodes, ask, gone, reading, says, state
from tests.e2e.processes import Server
from tests.e2e.raw import Exchange, get
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, Disconnect, Step, chat, chunk, delta, head

WORDS = ("The ", "river ", "öffnet ", "sich.")
POSTS = 51


def gated(gate: Step) -> tuple[Step, ...]:
    """Half of the words, and after the gate the rest."""
    first, second = ([delta(content=word) for word in part] for part in (WORDS[:2], WORDS[2:]))
    return (head(), chunk(*first), gate, chunk(*second, delta("stop"), DONE), END)


# Stopping, deleting, listing


@pytest.mark.promise("P2", "P5", "P7")
def test_a_stop_on_a_third_node_closes_the_upstream_and_every_reader_sees_it(nodes: Nodes, upstream: Upstream):
    upstream.play(head(), chunk(delta(content=WORDS[0])), Disconnect())
    stream_id = ask(nodes.a)["id"]
    with (
        reading(nodes.b, stream_id) as native,
        reading(nodes.b, stream_id, "format=openai.chat") as chat_reader,
        reading(nodes.a, stream_id, "format=text", "text/plain") as text,
    ):
        for reader in (native, chat_reader, text):
            reader.until(says(WORDS[0]))
        with Exchange(f"{nodes.c.api}/streams/{stream_id}/cancel", "POST", {}) as stopped:
            assert (stopped.status, stopped.json()["state"]) == (200, "cancelled")
        upstream.left()
        assert b'"cancelled"' in native.frames()[-1] and native.clean
        assert b'"cancelled"' in chat_reader.frames()[-1] and not chat_reader.clean
        assert text.rest() == WORDS[0].encode() and not text.clean
    assert [state(server, stream_id) for server in nodes] == ["cancelled"] * 3


@pytest.mark.promise("P7")
def test_an_answer_that_is_deleted_on_a_third_node_is_gone_everywhere(nodes: Nodes, upstream: Upstream):
    upstream.play(head(), chunk(delta(content=WORDS[0])), Disconnect())
    stream_id = ask(nodes.a)["id"]
    with reading(nodes.b, stream_id) as reader:
        reader.until(says(WORDS[0]))
        with Exchange(f"{nodes.c.api}/streams/{stream_id}", "DELETE") as deleted:
            assert deleted.status in (200, 204)
        upstream.left()
        reader.rest()
    for server in nodes:
        gone(server, stream_id)


def test_streams_of_all_nodes_are_listed_on_each_newest_first(nodes: Nodes, upstream: Upstream):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    made = [ask(nodes[number % 3])["id"] for number in range(6)]
    for server in nodes:
        listed = get(f"{server.api}/streams?limit=6")
        assert [stream["id"] for stream in listed["data"]] == made[::-1]


# One key, one answer


@pytest.mark.promise("P10")
@pytest.mark.parametrize("stream", [True, False])
def test_posts_with_one_key_on_three_nodes_are_one_call_and_one_answer(nodes: Nodes, upstream: Upstream, stream: bool):
    gate = upstream.gate()
    upstream.play(*gated(gate.wait))
    headers = {"Idempotency-Key": f"fifty-one-{stream}"}
    body = question(stream=stream)
    with ExitStack() as stack:
        posts = [
            stack.enter_context(Exchange(f"{nodes[number % 3].api}/chat/completions", "POST", body, headers))
            for number in range(POSTS)
        ]
        upstream.asked()
        gate.open()
        answers = {b"".join(post.frames()) if stream else post.rest() for post in posts}
        assert {post.status for post in posts} == {200}, answers
        assert all(post.clean for post in posts)
        joined = [post for post in posts if post.headers.get("idempotent-replayed") == "true"]
        assert len(joined) == POSTS - 1
    assert len(answers) == 1
    assert len(upstream.requests) == 1


@pytest.mark.promise("P10")
def test_another_body_under_the_same_key_is_refused_on_another_node(nodes: Nodes, upstream: Upstream):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    headers = {"Idempotency-Key": "of-another-body"}
    with Exchange(f"{nodes.a.api}/chat/completions", "POST", question(), headers) as first:
        assert first.status == 200
    with Exchange(f"{nodes.b.api}/chat/completions", "POST", question(max_tokens=17), headers) as other:
        assert other.status == 422
    assert len(upstream.requests) == 1


# Official clients, as they are


@contextmanager
def openai_client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.api, api_key="none", max_retries=0) as client:
        yield client


@pytest.mark.promise("P4", "P10")
def test_openais_client_joins_and_reads_on_at_another_node(nodes: Nodes, upstream: Upstream):
    gate = upstream.gate()
    upstream.play(*gated(gate.wait))
    key = {"Idempotency-Key": "openai-client"}
    with openai_client(nodes.a) as here, openai_client(nodes.b) as there, openai_client(nodes.c) as third:
        stream = here.chat.completions.create(**question(), stream=True, extra_headers=key)
        stream_id = stream.response.headers["headrace-stream-id"]
        received = [next(stream), next(stream)]
        joined = there.chat.completions.create(**question(), stream=True, extra_headers=key)
        resumed = read_again(third, stream_id, skip=len(received))
        gate.open()
        chunks = list(joined)
        whole = plain(chunks)
        assert plain(received + list(stream)) == whole
        assert plain(received + list(resumed)) == whole
    assert text_of(chunks) == "".join(WORDS)
    assert finishes(chunks) == ["stop"]


@pytest.mark.promise("P4", "P9")
def test_openais_client_reads_a_background_response_on_from_any_event_at_another_node(nodes: Nodes, upstream: Upstream):
    gate = upstream.gate()
    upstream.play(*gated(gate.wait))
    with openai_client(nodes.a) as here, openai_client(nodes.b) as there:
        response = here.responses.create(model="scripted", input="?", background=True)
        with there.responses.retrieve(response.id, stream=True) as live:
            gate.open()
            whole = plain(live)
        assert whole[-1]["type"] == "response.completed"
        for place in range(len(whole) - 1):
            with there.responses.retrieve(response.id, stream=True, starting_after=place) as rest:
                assert plain(rest) == whole[place + 1 :]
        assert there.responses.retrieve(response.id).output_text == "".join(WORDS)


@pytest.mark.promise("P10")
def test_anthropics_client_joins_at_another_node(nodes: Nodes, upstream: Upstream):
    gate = upstream.gate()
    upstream.play(*gated(gate.wait))
    ask_for: dict[str, Any] = {
        "model": "scripted",
        "max_tokens": 16,
        "messages": [{"role": "user", "content": "?"}],
        "extra_headers": {"Idempotency-Key": "anthropic-client"},
    }
    with (
        anthropic.Anthropic(base_url=nodes.a.url, api_key="none", max_retries=0) as here,
        anthropic.Anthropic(base_url=nodes.b.url, api_key="none", max_retries=0) as there,
        here.messages.stream(**ask_for) as first,
        there.messages.stream(**ask_for) as joined,
    ):
        assert joined.response.headers["idempotent-replayed"] == "true"
        gate.open()
        answers = [stream.get_final_message() for stream in (first, joined)]
    assert answers[0] == answers[1]
    assert answers[0].content[0].to_dict()["text"] == "".join(WORDS)
    assert len(upstream.requests) == 1
