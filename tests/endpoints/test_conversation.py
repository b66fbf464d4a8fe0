"""`previous_response_id`: a request continues an earlier answer, whichever model server gave it."""

import json
from typing import Any

import anyio
import msgspec
import pytest

from headrace.bodies import LongBody
from headrace.config import Model
from headrace.endpoints import conversation
from headrace.errors import UpstreamUnavailable
from headrace.events import ChoiceEnd, Chunk, ItemEnd, ItemStart, Signature, StepEnd, StepStart, TextDelta
from headrace.messages import Request
from tests.endpoints.serving import (
    ALICE,
    ASKED,
    BOB,
    CHAT,
    ENDING,
    FAR,
    HELLO,
    OPENING,
    TWO_KEYS,
    UNKNOWN,
    Exchange,
    Server,
    Step,
    serving,
    text,
)

pytestmark = pytest.mark.anyio

PATH = "/v1/responses"
FIRST: dict[str, Any] = {"model": "demo", "input": "One", "instructions": "Be brief."}


def after(made: Exchange, said: Any = "Three", **more: Any) -> dict[str, Any]:
    return {"model": "demo", "input": said, "previous_response_id": f"resp_{made.stream_id}", **more}


def turns(request: Request) -> list[tuple[str, str]]:
    return [(message.role, message.text) for message in request.messages]


def body_of(request: Request) -> Any:
    body = request.body
    return json.loads(b"".join(body.body.parts) if isinstance(body, LongBody) else body)


async def refused(server: Server, body: Any, **options: Any) -> tuple[int, str, str]:
    answer = await server.ask("POST", PATH, body, **options)
    fields = answer.error_fields()
    return answer.status, fields["code"], fields["param"]


NOT_FOUND = (404, "previous_response_not_found", "previous_response_id")


async def test_the_model_is_told_all_that_was_said_but_no_earlier_instructions() -> None:
    async with serving(HELLO, [[OPENING], text("Fine"), ENDING], HELLO) as server:
        first = await server.ask("POST", PATH, FIRST)
        second = await server.ask("POST", PATH, after(first))
        assert second.status == 200 and second.json()["previous_response_id"] == first.json()["id"]
        third = await server.ask(
            "POST", PATH, after(second, [{"role": "user", "content": "Five"}], instructions="Loud.")
        )
        assert third.status == 200
        assert [turns(request) for request in server.provider.asked] == [
            [("system", "Be brief."), ("user", "One")],
            [("user", "One"), ("assistant", "Hello wörld"), ("user", "Three")],
            [
                ("system", "Loud."),
                *(("user", "One"), ("assistant", "Hello wörld"), ("user", "Three")),
                *(("assistant", "Fine"), ("user", "Five")),
            ],
        ]
        assert all("previous_response_id" not in body_of(request) for request in server.provider.asked)


async def test_a_conversation_branches_where_one_likes() -> None:
    async with serving() as server:
        first = await server.ask("POST", PATH, FIRST)
        for said in ("Left", "Right"):
            await server.ask("POST", PATH, after(first, said))
        assert [turns(request)[-1][1] for request in server.provider.asked] == ["One", "Left", "Right"]
        assert (
            len({len(request.messages) - ("system" in turns(request)[0]) for request in server.provider.asked[1:]}) == 1
        )


@pytest.mark.promise("P18")
async def test_calls_and_what_the_tools_gave_back_stay_together() -> None:
    call = [
        Chunk((StepStart("scripted", "m", "openai.chat", "up"), ItemStart(0, "tool_call", name="f", call_id="call_7"))),
        Chunk((ItemEnd(0), ChoiceEnd(0, "tool_calls"))),
        Chunk((StepEnd("tool_calls"),)),
    ]
    output = [{"type": "function_call_output", "call_id": "call_7", "output": "42"}]
    async with serving([call], HELLO) as server:
        first = await server.ask("POST", PATH, FIRST)
        assert (await server.ask("POST", PATH, after(first, output))).status == 200
        _, assistant, tool = server.provider.asked[1].messages
        assert [made.id for made in assistant.tool_calls] == ["call_7"] == [tool.call_id]


async def test_the_store_has_only_what_each_caller_sent() -> None:
    async with serving() as server:
        made = await server.ask("POST", PATH, {**FIRST, "input": "x" * 5000})
        sizes: list[int] = []
        for _ in range(4):
            made = await server.ask("POST", PATH, after(made))
            listed = (await server.ask("GET", f"{PATH}/{made.stream_id}/input_items")).json()
            sizes.append(len(listed["data"]))
        assert sizes == [1, 1, 1, 1]
        assert len(server.provider.asked[-1].messages) == 9


@pytest.mark.promise("P32")
async def test_what_is_not_there_and_what_is_anothers_is_one_answer() -> None:
    async with serving(api_keys=TWO_KEYS, key=BOB) as server:
        made = await server.ask("POST", PATH, FIRST, key=ALICE)
        for previous in (f"resp_{made.stream_id}", f"resp_{UNKNOWN}", "resp_nothing", "", "x" * 3000):
            assert await refused(server, {**FIRST, "previous_response_id": previous}) == NOT_FOUND
        assert len(server.provider.asked) == 1


async def test_an_answer_of_another_shape_is_not_continued() -> None:
    async with serving() as server:
        made = await server.ask("POST", CHAT, ASKED)
        assert await refused(server, after(made)) == NOT_FOUND


@pytest.mark.parametrize("gone", ["deleted", "not stored"])
async def test_a_link_that_is_missing_further_back_is_not_passed_over(gone: str) -> None:
    async with serving() as server:
        first = await server.ask("POST", PATH, FIRST if gone == "deleted" else {**FIRST, "store": False})
        if gone == "not stored":
            assert await refused(server, after(first)) == NOT_FOUND
            return
        second = await server.ask("POST", PATH, after(first))
        await server.ask("DELETE", f"{PATH}/{first.stream_id}")
        assert await refused(server, after(second)) == NOT_FOUND


async def test_an_answer_that_still_runs_cannot_be_continued_and_one_that_was_stopped_can() -> None:
    async with serving([[OPENING], text("Hel"), anyio.Event()], HELLO) as server:
        made = await server.open("POST", PATH, {**FIRST, "stream": True})
        await made.has(b"Hel")
        assert (await refused(server, after(made)))[0::2] == (400, "previous_response_id")
        await server.ask("POST", f"{PATH}/{made.stream_id}/cancel")
        assert (await server.ask("POST", PATH, after(made))).status == 200
        assert turns(server.provider.asked[1]) == [("user", "One"), ("assistant", "Hel"), ("user", "Three")]


async def test_of_an_answer_that_broke_off_a_call_is_not_repeated() -> None:
    call = Chunk((OPENING.events[0], ItemStart(0, "tool_call", name="f", call_id="c")))
    async with serving([[call], UpstreamUnavailable("Down.")], HELLO) as server:
        made = await server.ask("POST", PATH, FIRST)
        assert made.status == 503
        assert (await server.ask("POST", PATH, after(made))).status == 200
        assert turns(server.provider.asked[1]) == [("user", "One"), ("user", "Three")]


@pytest.mark.promise("P10")
async def test_an_idempotency_key_is_about_what_the_caller_sent() -> None:
    async with serving() as server:
        first = await server.ask("POST", PATH, FIRST)
        one, two = [await server.ask("POST", PATH, after(first), {"idempotency-key": "k"}) for _ in range(2)]
        assert one.stream_id == two.stream_id and len(server.provider.asked) == 2


@pytest.mark.promise("P24")
async def test_a_conversation_has_so_many_links_at_most(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation, "_MOST_LINKS", 3)
    async with serving() as server:
        made = await server.ask("POST", PATH, FIRST)
        for _ in range(3):
            made = await server.ask("POST", PATH, after(made))
            assert made.status == 200
        assert await refused(server, after(made)) == (400, "context_length_exceeded", "previous_response_id")


@pytest.mark.promise("P24")
async def test_a_conversation_is_no_longer_than_a_request_may_be() -> None:
    async with serving(max_request_bytes=4000) as server:
        made = await server.ask("POST", PATH, {**FIRST, "input": "x" * 2500})
        assert (await server.ask("POST", PATH, after(made, "y" * 500))).status == 200
        refusal = await refused(server, after(made, "y" * 1500))
        assert refusal == (400, "context_length_exceeded", "previous_response_id")


@pytest.mark.parametrize("size", [3_000_000, 600_000])
async def test_a_very_long_conversation_is_put_together_in_parts(size: int) -> None:
    said = [{"role": "user", "content": [{"type": "input_text", "text": f"{n}" * (size // 10)}]} for n in range(10)]
    async with serving() as server:
        made = await server.ask("POST", PATH, {**FIRST, "input": said})
        again = await server.ask("POST", PATH, after(made, said))
        assert again.status == 200
        asked = server.provider.asked[1]
        assert isinstance(asked.body, LongBody)
        answer = {"role": "assistant", "type": "message"}
        sent = body_of(asked)["input"]
        assert sent[:10] == sent[11:] == said and answer.items() <= sent[10].items()
        assert asked.input_tokens and asked.input_tokens > size // 10


RAW = msgspec.json.encode({"type": "response.created", "response": {"id": "resp_theirs", "store": True}})
RESPONSES = Model(name="demo", upstream_model="m", provider="scripted", protocol="openai-responses", retries=0, **FAR)
CHAT_MODEL = msgspec.structs.replace(RESPONSES, name="chat", protocol="openai")
OTHER = msgspec.structs.replace(RESPONSES, name="other", base_url="http://127.0.0.1:9/elsewhere")


def theirs(raw: bytes = RAW) -> list[Step]:
    step = StepStart("scripted", "m", "openai.responses", "resp_theirs")
    opening = Chunk((step, ItemStart(0, "text")), msgspec.Raw(raw))
    return [[opening], text("Hello"), ENDING]


@pytest.mark.promise("P17")
@pytest.mark.parametrize("said", ["Three", "x" * 2_000_000])
async def test_the_model_server_that_keeps_an_answer_is_told_its_own_id_of_it(said: str) -> None:
    async with serving(theirs(), models=(RESPONSES,)) as server:
        first = await server.ask("POST", PATH, FIRST)
        second = await server.ask("POST", PATH, after(first, said))
        assert second.json()["previous_response_id"] == first.json()["id"]
        asked = server.provider.asked[1]
        fields = json.loads(asked.body.head if isinstance(asked.body, LongBody) else asked.body)
        assert fields["previous_response_id"] == "resp_theirs"
        assert turns(asked)[0][0] == "user" and len(asked.messages) == 1
        third = await server.ask("POST", PATH, after(second))
        assert third.status == 200


@pytest.mark.parametrize(
    ("script", "model"),
    [
        (theirs(), "chat"),
        (theirs(), "other"),
        (theirs(RAW.replace(b"true", b"false")), "demo"),
        (theirs(b'{"type":"response.created","response":{}}'), "demo"),
        (HELLO, "demo"),
    ],
    ids=["another protocol", "another server", "not kept there", "not said to be kept", "answered in another shape"],
)
async def test_any_other_model_server_is_told_all_of_it(script: list[Step], model: str) -> None:
    async with serving(script, models=(RESPONSES, CHAT_MODEL, OTHER)) as server:
        first = await server.ask("POST", PATH, FIRST)
        assert (await server.ask("POST", PATH, after(first, model=model))).status == 200
        assert "previous_response_id" not in body_of(server.provider.asked[1])
        assert [role for role, _ in turns(server.provider.asked[1])] == ["user", "assistant", "user"]


SIGNED = [
    Chunk(
        (StepStart("scripted", "m", "openai.responses", "r"), ItemStart(0, "reasoning"), Signature(0, "s3aled")),
        msgspec.Raw(b'{"type":"response.created","response":{}}'),
    ),
    Chunk((ItemEnd(0), ItemStart(1, "text"), TextDelta(1, "Hello"), ItemEnd(1))),
    *ENDING[1:],
]


@pytest.mark.promise("P17")
@pytest.mark.parametrize(("model", "sealed"), [("demo", True), ("chat", True), ("other", False)])
async def test_reasoning_goes_only_to_the_server_that_signed_it(model: str, sealed: bool) -> None:
    async with serving([SIGNED], models=(RESPONSES, CHAT_MODEL, OTHER)) as server:
        first = await server.ask("POST", PATH, FIRST)
        assert (await server.ask("POST", PATH, after(first, model=model))).status == 200
        sent = body_of(server.provider.asked[1])["input"]
        assert [item.get("type") for item in sent] == [None, *["reasoning"] * sealed, "message", None]
        assert ("s3aled" in json.dumps(sent)) is sealed
