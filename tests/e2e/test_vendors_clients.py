"""The official Python clients, as they are, on the routes that chat completions do not have."""

from __future__ import annotations

from collections.abc import Iterator

import anthropic
import openai
import pytest
from openai.types.responses import ResponseCompletedEvent, ResponseCreatedEvent

from tests.e2e.processes import ROOT, Server, serving

RECORDING = ROOT / "tests" / "fixtures" / "water.ndjson"
CONFIG = f'model_list:\n- model_name: demo\n  params: {{model: "replay/{RECORDING}", speed: instant}}\n'
SAID = "Water runs downhill."


@pytest.fixture(scope="module")
def replaying(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    directory = tmp_path_factory.mktemp("replaying")
    file = directory / "headrace.yaml"
    file.write_text(CONFIG)
    with serving(directory, "--config", str(file)) as server:
        yield server


@pytest.fixture
def of_openai(replaying: Server) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=replaying.api, api_key="none", max_retries=0) as client:
        yield client


@pytest.fixture
def of_anthropic(replaying: Server) -> Iterator[anthropic.Anthropic]:
    with anthropic.Anthropic(base_url=replaying.url, api_key="none", max_retries=0) as client:
        yield client


def test_a_conversation_goes_on_and_is_deleted(of_openai: openai.OpenAI):
    first = of_openai.responses.create(model="demo", input="Where does it run?")
    assert (first.output_text, first.status) == (SAID, "completed")
    second = of_openai.responses.create(model="demo", input="Why?", previous_response_id=first.id)
    assert second.previous_response_id == first.id
    (item,) = of_openai.responses.input_items.list(second.id)
    assert item.type == "message" and item.content[0].type == "input_text" and item.content[0].text == "Why?"
    of_openai.responses.delete(first.id)
    with pytest.raises(openai.NotFoundError):
        of_openai.responses.retrieve(first.id)
    with pytest.raises(openai.NotFoundError) as caught:
        of_openai.responses.create(model="demo", input="Why?", previous_response_id=second.id)
    assert caught.value.code == "previous_response_not_found"


@pytest.mark.promise("P4", "P13")
def test_an_answer_in_the_background_is_there_to_come_back_for(of_openai: openai.OpenAI):
    made = of_openai.responses.create(model="demo", input="Hi", background=True)
    assert made.status in ("queued", "in_progress", "completed")
    frames = list(of_openai.responses.retrieve(made.id, stream=True))
    assert isinstance(frames[0], ResponseCreatedEvent) and isinstance(frames[-1], ResponseCompletedEvent)
    assert [frame.sequence_number for frame in frames] == list(range(len(frames)))
    for after in (0, 5, len(frames) - 1):
        rest = list(of_openai.responses.retrieve(made.id, stream=True, starting_after=after))
        assert rest == frames[after + 1 :]
    assert of_openai.responses.retrieve(made.id).output_text == SAID
    assert of_openai.responses.cancel(made.id).status == "completed"


def test_both_clients_list_the_models(of_openai: openai.OpenAI, of_anthropic: anthropic.Anthropic):
    assert [model.id for model in of_openai.models.list()] == ["demo"]
    assert [(model.id, model.type) for model in of_anthropic.models.list()] == [("demo", "model")]
    assert of_anthropic.models.retrieve("demo").created_at.year == 1970


@pytest.mark.promise("P1", "P35")
def test_a_message_is_whole_or_streamed_and_its_request_has_an_id(of_anthropic: anthropic.Anthropic):
    whole = of_anthropic.messages.create(model="demo", max_tokens=10, messages=[{"role": "user", "content": "Hi"}])
    assert whole.content[0].type == "text" and whole.content[0].text == SAID
    assert whole._request_id and whole.id.startswith("msg_")
    with of_anthropic.messages.stream(
        model="demo", max_tokens=10, messages=[{"role": "user", "content": "Hi"}]
    ) as stream:
        assert "".join(stream.text_stream) == SAID
        assert stream.get_final_message().stop_reason == "end_turn"


@pytest.mark.promise("P19", "P27")
def test_tokens_are_counted_and_errors_are_told(of_anthropic: anthropic.Anthropic):
    counted = of_anthropic.messages.count_tokens(model="demo", messages=[{"role": "user", "content": "Hi"}])
    assert counted.input_tokens > 0
    with pytest.raises(anthropic.BadRequestError) as caught:
        of_anthropic.messages.create(model="demo", max_tokens=0, messages=[{"role": "user", "content": "Hi"}])
    assert caught.value.request_id and "max_tokens" in caught.value.message
    with pytest.raises(anthropic.NotFoundError):
        of_anthropic.messages.count_tokens(model="other", messages=[{"role": "user", "content": "Hi"}])
