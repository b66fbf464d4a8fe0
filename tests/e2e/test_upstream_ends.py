"""How a model server ends, well or badly, and what the official client sees of it: never a success that was none."""

from __future__ import annotations

import openai
import pytest

from tests.e2e.asking import finishes, question, read_again, text_of
from tests.e2e.endings import PARTIAL, TRUNCATED
from tests.e2e.processes import Server
from tests.e2e.raw import Exchange, frames, get
from tests.e2e.upstream import UPSTREAM_KEY, Upstream
from tests.servers.scripted import END, Disconnect, chat, chunk, head, whole


@pytest.fixture(params=list(TRUNCATED))
def truncated(request: pytest.FixtureRequest, upstream: Upstream) -> str:
    upstream.play(*TRUNCATED[request.param])
    return request.param


@pytest.mark.promise("P3", "P5", "P6")
def test_the_client_raises_where_the_upstream_was_truncated(truncated: str, relayed: openai.OpenAI, relaying: Server):
    received = []
    with (
        pytest.raises(openai.APIError) as caught,
        relayed.chat.completions.create(**question(), stream=True) as stream,
    ):
        received.extend(stream)
    assert text_of(received) == PARTIAL
    if "error frame" in truncated:
        assert "overloaded" in caught.value.message
    again = []
    with pytest.raises(openai.APIError):
        again.extend(read_again(relayed, received[0].id))
    assert again == received
    state = get(f"{relaying.api}/streams/{received[0].id}")
    assert state["state"] == "failed"
    assert state["text"] == PARTIAL
    assert state["usage"]["source"] == "partial"


@pytest.mark.anyio
@pytest.mark.promise("P5", "P6")
async def test_the_async_client_raises_too(truncated: str, relaying: Server):
    received = []
    async with openai.AsyncOpenAI(base_url=relaying.api, api_key="none", max_retries=0) as client:
        with pytest.raises(openai.APIError):
            async with await client.chat.completions.create(**question(), stream=True) as stream:
                async for each in stream:
                    received.append(each)  # noqa: PERF401 - what came before the error counts
    assert text_of(received) == PARTIAL


@pytest.mark.promise("P5", "P6", "P12")
def test_a_whole_answer_that_is_not_whole_is_an_error_with_the_text_so_far(truncated: str, relayed: openai.OpenAI):
    with pytest.raises(openai.InternalServerError) as caught:
        relayed.chat.completions.create(**question())
    assert caught.value.status_code == (503 if "error frame" in truncated else 502)
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["partial"] == PARTIAL


@pytest.mark.promise("P5")
def test_the_bytes_of_a_failed_stream_are_aborted_and_nothing_follows_the_error(truncated: str, relaying: Server):
    with Exchange(f"{relaying.api}/chat/completions", "POST", question(stream=True)) as posted:
        body = posted.rest()
        assert not posted.clean
    *others, last = frames(body)
    assert last.startswith(b'{"error":{')
    assert body.endswith(last + b"\n\n")
    assert b"[DONE]" not in others


@pytest.mark.promise("P6")
def test_the_marker_is_the_end_even_if_the_socket_stays_open(upstream: Upstream, relayed: openai.OpenAI):
    upstream.play(head(), chunk(chat("The river", " runs")), Disconnect())
    with relayed.chat.completions.create(**question(), stream=True) as stream:
        chunks = list(stream)
    # Here already: had Headrace waited for the upstream to close, this would never have been reached.
    assert text_of(chunks) == PARTIAL
    assert finishes(chunks) == ["stop"]
    answer = relayed.chat.completions.create(**question())
    assert answer.choices[0].message.content == PARTIAL
    upstream.left(0)
    upstream.left(1)


@pytest.mark.parametrize(
    ("answer", "error", "status", "code"),
    [
        (whole(b'{"error":{"message":"no"}}', 401), openai.InternalServerError, 502, "upstream_auth"),
        (whole(b'{"error":{"message":"what?"}}', 404), openai.InternalServerError, 502, "upstream_model_not_found"),
        (whole(b'{"error":{"message":"bad stop"}}', 400), openai.BadRequestError, 400, None),
        (whole(b"slow", 429, retry_after="7"), openai.RateLimitError, 429, "upstream_rate_limited"),
        (whole(b"<html>", 500, "text/html"), openai.InternalServerError, 502, None),
        (whole(b"<html>", 200, "text/html"), openai.InternalServerError, 502, None),
    ],
)
@pytest.mark.promise("P13", "P19")
def test_a_refusal_before_the_first_frame_is_an_ordinary_error(
    upstream: Upstream, relayed: openai.OpenAI, answer: bytes, error: type[openai.APIStatusError], status: int, code
):
    for streaming in (False, True):
        upstream.play(answer)
        with pytest.raises(error) as caught:
            relayed.chat.completions.create(**question(), stream=streaming)
        assert caught.value.status_code == status
        assert code is None or caught.value.code == code
        assert caught.value.response.headers.get("retry-after") == ("7" if status == 429 else None)


@pytest.mark.promise("P16", "P34")
def test_the_upstream_sees_the_operators_key_and_nothing_of_the_callers(upstream: Upstream, relaying: Server):
    upstream.play(head(), chunk(chat("Hi")), END)
    secret = "sk-the-callers-secret"
    with openai.OpenAI(base_url=relaying.api, api_key=secret) as client:
        client.chat.completions.create(**question(), extra_headers={"X-Api-Key": secret, "Cookie": secret})
    (request,) = upstream.requests
    assert request.headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    assert request.headers["accept-encoding"] == "identity"
    assert secret not in str(request)
