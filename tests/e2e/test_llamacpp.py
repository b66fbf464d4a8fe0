"""A real OpenAI-compatible server that is not ours behind Headrace: llama.cpp's own."""

from __future__ import annotations

from collections.abc import Iterator

import openai
import pytest

from tests.e2e.asking import MODEL, finishes, plain, question, read_again, text_of
from tests.e2e.processes import Server, eventually, serving
from tests.e2e.raw import Exchange, get
from tests.e2e.upstream import UPSTREAM_KEY

LONG = 1500


@pytest.fixture(scope="module")
def server(llama: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    extra = {"OPENAI_BASE_URL": llama, "OPENAI_API_KEY": UPSTREAM_KEY}
    with serving(tmp_path_factory.mktemp("llamacpp"), **extra) as server:
        yield server
        assert UPSTREAM_KEY not in server.output


@pytest.fixture
def client(server: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=server.api, api_key="the-callers-own") as client:
        yield client


def busy_slots(llama: str) -> int:
    """How many answers llama.cpp is writing."""
    slots = get(llama.removesuffix("/v1") + "/slots", Authorization=f"Bearer {UPSTREAM_KEY}")
    return sum(slot["is_processing"] for slot in slots)


@pytest.mark.promise("P17", "P27")
def test_a_stream_with_usage(client: openai.OpenAI, server: Server):
    with client.chat.completions.create(**question(), stream=True, stream_options={"include_usage": True}) as stream:
        *chunks, last = list(stream)
    assert text_of(chunks)
    assert finishes(chunks) in (["length"], ["stop"])
    assert last.choices == []
    assert last.usage is not None
    assert 0 < last.usage.completion_tokens <= 16
    # What llama.cpp says beyond OpenAI's fields passes.
    assert chunks[0].system_fingerprint
    assert get(f"{server.api}/streams/{last.id}")["usage"].get("source", "provider") == "provider"


@pytest.mark.promise("P12")
def test_a_whole_answer_is_the_stream_joined(client: openai.OpenAI):
    answer = client.chat.completions.create(**question())
    assert answer.choices[0].message.content == text_of(read_again(client, answer.id))
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert answer.model == MODEL


@pytest.mark.promise("P4")
def test_break_and_resume(client: openai.OpenAI):
    stream = client.chat.completions.create(**question(24), stream=True)
    received = [next(stream) for _ in range(7)]
    stream.response.close()
    received += read_again(client, received[0].id, skip=7)
    assert plain(received) == plain(read_again(client, received[0].id))
    assert finishes(received) in (["length"], ["stop"])


@pytest.mark.promise("P7")
def test_a_stop_frees_llamacpps_slots(client: openai.OpenAI, server: Server, llama: str):
    streams = [client.chat.completions.create(**question(LONG), stream=True) for _ in range(2)]
    for stream in streams:
        next(stream)
    assert busy_slots(llama) == 2
    for stream in streams:
        stream_id = stream.response.headers["headrace-stream-id"]
        with Exchange(f"{server.api}/streams/{stream_id}/cancel", "POST") as cancel:
            assert cancel.json()["state"] == "cancelled"
        with pytest.raises(openai.APIError, match="cancelled"):
            list(stream)
    # llama.cpp looks for a closed connection between two tokens; nothing announces that it saw one.
    eventually(lambda: busy_slots(llama) == 0)
    assert client.chat.completions.create(**question(2)).choices[0].message.content


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.promise("P8", "P12")
def test_a_client_that_leaves_frees_its_slot_where_that_is_the_policy(server: Server, llama: str, streaming: bool):
    # The default of an answer that is waited for as a whole; for a stream it has to be said.
    headers = {"Headrace-On-Disconnect": "cancel"} if streaming else {}
    with Exchange(f"{server.api}/chat/completions", "POST", question(LONG, stream=streaming), headers) as posted:
        if streaming:
            posted.until(lambda data: data.count(b"data: ") > 2)
        else:
            eventually(lambda: busy_slots(llama) == 1)
        posted.reset()
    eventually(lambda: busy_slots(llama) == 0)
    newest = get(f"{server.api}/streams?limit=1")["data"][0]
    assert newest["state"] == "cancelled"


@pytest.mark.parametrize("streaming", [True, False])
@pytest.mark.promise("P13", "P19")
def test_llamacpps_own_refusal_is_a_bad_request(client: openai.OpenAI, streaming: bool):
    asked = question(messages=[{"role": "user", "content": "river " * 4000}])
    with pytest.raises(openai.BadRequestError, match="exceeds the available context size"):
        client.chat.completions.create(**asked, stream=streaming)


@pytest.mark.promise("P13", "P19", "P34", "P36")
def test_a_wrong_key_is_the_operators_fault_and_not_retried(llama: str, tmp_path):
    wrong = "sk-a-wrong-one"
    extra = {"OPENAI_BASE_URL": llama, "OPENAI_API_KEY": wrong, "HEADRACE_LOG_LEVEL": "debug"}
    with serving(tmp_path, **extra) as server:
        # The caller's key is the right one: were it passed on, there would be an answer.
        with openai.OpenAI(base_url=server.api, api_key=UPSTREAM_KEY) as client:
            for streaming in (False, True):
                with pytest.raises(openai.InternalServerError) as caught:
                    client.chat.completions.create(**question(), stream=streaming)
                assert caught.value.status_code == 502
                assert caught.value.code == "upstream_auth"
                assert caught.value.response.headers["x-should-retry"] == "false"
                assert wrong not in caught.value.response.text
        assert len(get(f"{server.api}/streams")["data"]) == 2
        assert wrong not in server.output
        assert UPSTREAM_KEY not in server.output
