"""The same question twice is one answer: retries of the official client, and many at once."""

from __future__ import annotations

import asyncio
import re

import openai
import pytest

from tests.e2e.asking import finishes, question, text_of
from tests.e2e.processes import Server
from tests.e2e.tap import Tap
from tests.e2e.upstream import Upstream
from tests.servers.scripted import DONE, END, chat, chunk, delta, head, whole

WORDS = ("Only ", "once.")
POSTS = 50


@pytest.mark.promise("P10")
def test_the_clients_own_retry_joins_the_first_request(relaying: Server, upstream: Upstream):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    # The first answer is lost on its way, after its first byte.
    with Tap(relaying.api, cut_at=1) as tap, openai.OpenAI(base_url=tap.url, api_key="none") as client:
        client._idempotency_header = "Idempotency-Key"
        raw = client.chat.completions.with_raw_response.create(**question())
        assert tap.connections > 1
    assert raw.headers["idempotent-replayed"] == "true"
    assert raw.parse().choices[0].message.content == "".join(WORDS)
    assert len(upstream.requests) == 1


@pytest.mark.promise("P2", "P8", "P10")
def test_the_clients_own_retry_joins_a_stream_that_still_runs(relaying: Server, upstream: Upstream):
    gate = upstream.gate()
    upstream.play(
        head(), chunk(delta(content="Only ")), gate.wait, chunk(delta(content="once."), delta("stop"), DONE), END
    )
    with Tap(relaying.api, cut_at=1) as tap, openai.OpenAI(base_url=tap.url, api_key="none") as client:
        client._idempotency_header = "Idempotency-Key"
        with client.chat.completions.create(**question(), stream=True) as stream:
            assert stream.response.headers["idempotent-replayed"] == "true"
            chunks = [next(stream)]
            gate.open()
            chunks.extend(stream)
        assert tap.connections > 1
    assert text_of(chunks) == "".join(WORDS)
    assert finishes(chunks) == ["stop"]
    assert len(upstream.requests) == 1


@pytest.mark.promise("P10")
def test_every_call_of_the_client_has_a_key_of_its_own(relayed: openai.OpenAI, upstream: Upstream):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    relayed._idempotency_header = "Idempotency-Key"
    answers = [relayed.chat.completions.create(**question()) for _ in range(2)]
    assert answers[0].id != answers[1].id
    assert len(upstream.requests) == 2


@pytest.mark.promise("P10")
def test_a_failure_before_the_first_word_frees_the_key_for_the_clients_retry(relaying: Server, upstream: Upstream):
    upstream.play(whole(b'{"error":{"message":"busy"}}', 503))
    with Tap(relaying.api) as tap, openai.OpenAI(base_url=tap.url, api_key="none", max_retries=1) as client:
        client._idempotency_header = "Idempotency-Key"
        with pytest.raises(openai.InternalServerError) as caught:
            client.chat.completions.create(**question())
    assert caught.value.status_code == 503
    assert len(upstream.requests) == 2


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.anyio
@pytest.mark.promise("P10")
async def test_fifty_at_once_are_one_stream_and_one_question(relaying: Server, upstream: Upstream, stream: bool):
    gate = upstream.gate()
    upstream.play(head(), chunk(chat(*WORDS)[:200]), gate.wait, chunk(chat(*WORDS)[200:]), END)
    key = {"Idempotency-Key": f"fifty-{stream}"}

    async def ask() -> tuple[str, str | None, str]:
        if stream:
            async with await client.chat.completions.create(**question(), stream=True, extra_headers=key) as answer:
                headers = answer.response.headers
                text = text_of([each async for each in answer])
        else:
            raw = await client.chat.completions.with_raw_response.create(**question(), extra_headers=key)
            headers, text = raw.headers, raw.parse().choices[0].message.content or ""
        return headers["headrace-stream-id"], headers.get("idempotent-replayed"), text

    async with (
        openai.AsyncOpenAI(base_url=relaying.api, api_key="none", max_retries=0) as client,
        asyncio.TaskGroup() as tasks,
    ):
        asking = [tasks.create_task(ask()) for _ in range(POSTS)]
        await asyncio.to_thread(upstream.asked)
        gate.open()
    ids, replayed, texts = zip(*(each.result() for each in asking), strict=True)
    assert len(set(ids)) == 1
    assert set(texts) == {"".join(WORDS)}
    assert replayed.count("true") == POSTS - 1
    assert len(upstream.requests) == 1


@pytest.mark.promise("P10")
def test_another_question_with_the_same_key_is_refused_and_not_retried(relaying: Server, upstream: Upstream):
    upstream.play(head(), chunk(chat(*WORDS)), END)
    key = {"Idempotency-Key": "another-question"}
    with Tap(relaying.api) as tap, openai.OpenAI(base_url=tap.url, api_key="none") as client:
        client.chat.completions.create(**question(), extra_headers=key)
        with pytest.raises(openai.UnprocessableEntityError):
            client.chat.completions.create(**question(17), extra_headers=key)
        answers = re.findall(rb"HTTP/1.1 (\d+)", tap.received)
    assert answers == [b"200", b"422"]
    assert len(upstream.requests) == 1


@pytest.mark.promise("P10")
def test_the_embedded_model_answers_once(client: openai.OpenAI):
    key = {"Idempotency-Key": "embedded-once"}
    answers = [client.chat.completions.create(**question(6), extra_headers=key) for _ in range(3)]
    assert answers[0] == answers[1] == answers[2]
