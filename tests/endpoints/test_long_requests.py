"""Requests of over a mebibyte: whatever they are made of, they make the same streams as short ones."""

import json
from typing import Any

import pytest

from headrace.bodies import LARGEST_STEP, LongBody
from headrace.stores.memory import MemoryStore
from headrace.transforms.estimate import input_tokens_of
from tests.endpoints.serving import ASKED, CHAT, STREAMS, serving

pytestmark = pytest.mark.anyio

SIZE = LARGEST_STEP + 200_000
IMAGE = {"type": "image_url", "image_url": {"url": "data:image/png;base64," + "A" * SIZE}}
BODIES: dict[str, dict[str, Any]] = {
    "an image": {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}, IMAGE]}]},
    "a text": {"messages": [{"role": "user", "content": "one word " * (SIZE // 9)}]},
    "escapes": {"messages": [{"role": "user", "content": "\n\t" * (SIZE // 4)}]},
    "messages": {"messages": [{"role": "user", "content": f"Hello {n}"} for n in range(SIZE // 40)]},
}
PIECE = 100_000


def pieces_of(data: bytes) -> list[bytes]:
    return [data[at : at + PIECE] for at in range(0, len(data), PIECE)]


@pytest.mark.promise("P17", "P25")
@pytest.mark.parametrize("path", [CHAT, STREAMS])
@pytest.mark.parametrize("case", BODIES)
async def test_a_long_request_makes_a_stream_and_is_kept_byte_for_byte(path: str, case: str) -> None:
    sent = json.dumps({**ASKED, **BODIES[case]}).encode()
    store = MemoryStore(now=lambda: 0.0)
    async with serving(store=store) as server:
        answer = await server.ask("POST", path, pieces=pieces_of(sent))
        assert answer.status in (200, 201), answer.body
        (request,) = server.provider.asked
        assert isinstance(request.body, LongBody) and request.model == "demo"
        kept = await store.request(answer.stream_id)
        assert len(kept) == len(sent)
        assert (kept if isinstance(kept, bytes) else b"".join(kept.parts)) == sent


@pytest.mark.promise("P27")
@pytest.mark.parametrize("case", BODIES)
async def test_the_estimate_of_a_prompt_is_that_of_a_short_request(case: str) -> None:
    async with serving() as server:
        for content in (BODIES[case], {"messages": [*BODIES[case]["messages"], {"role": "user", "content": "\u6f22"}]}):
            await server.ask("POST", CHAT, {**ASKED, **content})
        estimates = [input_tokens_of(request) for request in server.provider.asked]
        expected = {"an image": 6, "a text": 300_000, "escapes": 1_300_000, "messages": 250_000}[case]
        assert all(expected / 2 <= estimate <= expected * 2 for estimate in estimates), estimates


@pytest.mark.promise("P10")
@pytest.mark.parametrize("case", BODIES)
async def test_a_repeated_long_request_joins_its_stream_however_it_is_written(case: str) -> None:
    sent = {**ASKED, **BODIES[case]}
    turned = json.dumps(dict(reversed(sent.items())), ensure_ascii=False, separators=(", ", " :  ")).encode()
    async with serving() as server:
        first = await server.ask("POST", CHAT, sent, {"idempotency-key": "k"})
        again = await server.ask("POST", CHAT, turned, {"idempotency-key": "k"})
        assert again.headers["idempotent-replayed"] == "true" and again.stream_id == first.stream_id
        other = await server.ask("POST", CHAT, {**sent, "temperature": 0}, {"idempotency-key": "k"})
        assert other.status == 422 and len(server.provider.asked) == 1


@pytest.mark.promise("P24", "P25")
@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"model": "m" * 2000}, "model"),
        ({"metadata": {"a": "b" * 20_000}}, "metadata"),
        ({"metadata": {str(number): "b" * 2000 for number in range(9)}}, "metadata"),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": "x"}] * 60_000}]}, "messages"),
    ],
)
async def test_what_is_too_long_in_a_long_request_is_refused(fields: dict[str, Any], param: str) -> None:
    async with serving() as server:
        answer = await server.ask("POST", CHAT, {**ASKED, **BODIES["a text"], **fields})
        assert answer.status == 400 and answer.error_fields()["param"] == param
        assert server.provider.asked == []


@pytest.mark.promise("P24")
async def test_a_key_to_cancel_is_not_looked_for_in_a_long_body() -> None:
    async with serving() as server:
        answer = await server.ask("POST", f"{STREAMS}/cancel", {"idempotency_key": "k" * SIZE})
        assert answer.status == 413
