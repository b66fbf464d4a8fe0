"""An estimate is near the count of a real tokenizer, grows with the text, and is never nothing where something is."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.messages import Media, Message, Part, Request, Tool, ToolCall
from headrace.transforms.estimate import input_tokens_of, output_tokens_of, tokens_of

pytestmark = pytest.mark.promise("P27")

# Texts, and how many tokens GPT-4o's tokenizer (o200k_base) makes of them.
COUNTED: dict[str, tuple[int, str]] = {
    "English": (
        45,
        "Once upon a time, in a quiet valley between two tall mountains, there lived an old fisherman "
        "who had never seen the sea. Every morning he walked down to the river, sat on the same grey "
        "stone, and waited.",
    ),
    "Markdown": (
        51,
        "## Steps\n\n"
        "1. **Install** the package with `pip install example`.\n"
        "2. Set `API_KEY` in your environment.\n"
        "3. Run the tests: they should all pass.\n\n"
        "> Note: this needs Python 3.11 or newer.\n",
    ),
    "Python": (
        82,
        "async def fetch(session: Session, urls: list[str]) -> dict[str, bytes]:\n    results: dict[str, "
        "bytes] = {}\n    for url in urls:\n        async with session.get(url, timeout=10) as "
        'response:\n            if response.status != 200:\n                raise RuntimeError(f"{url} '
        'answered {response.status}")\n            results[url] = await response.read()\n    return '
        "results\n",
    ),
    "JSON": (
        76,
        '{"id": 1042, "name": "Ada Lovelace", "email": "ada@example.com", "active": true, '
        '"tags": ["math", "poetry"], "address": {"street": "12 St James Square", "city": '
        '"London", "zip": "SW1Y 4LB"}, "score": 98.5}',
    ),
    "German": (
        49,
        "Es war einmal ein alter Fischer, der in einem stillen Tal zwischen zwei hohen Bergen lebte und "
        "das Meer noch nie gesehen hatte. Jeden Morgen ging er hinunter zum Fluss, setzte sich auf "
        "denselben grauen Stein und wartete.",
    ),
    "French": (
        54,
        "Il était une fois un vieux pêcheur qui vivait dans une vallée tranquille entre deux hautes "
        "montagnes et qui n'avait jamais vu la mer. Chaque matin, il descendait à la rivière, s'asseyait "
        "sur la même pierre grise et attendait.",
    ),
    "Russian": (
        54,
        "Жил-был в тихой долине между двумя высокими горами старый рыбак, который никогда не видел моря. "
        "Каждое утро он спускался к реке, садился на один и тот же серый камень и ждал.",
    ),
    "Hindi": (
        57,
        "बहुत समय पहले, दो ऊँचे पहाड़ों के बीच एक शांत घाटी में एक बूढ़ा मछुआरा रहता था जिसने कभी समुद्र "
        "नहीं देखा था। हर सुबह वह नदी तक जाता और एक ही पत्थर पर बैठकर इंतज़ार करता।",
    ),
    "Chinese": (
        57,
        "从前，在两座高山之间的一个安静的山谷里，住着一位从来没有见过大海的老渔夫。每天早晨，他都走到河边"
        "，坐在同一块灰色的石头上等待。",
    ),
    "Japanese": (
        67,
        "昔々、二つの高い山にはさまれた静かな谷に、海を一度も見たことのない年老いた漁師が住んでいました。"
        "毎朝、川まで歩いて行き、同じ灰色の石に腰を下ろして待っていました。",
    ),
    "Korean": (
        65,
        "옛날 옛적에 두 개의 높은 산 사이에 있는 조용한 골짜기에 바다를 한 번도 본 적이 없는 늙은 어부가 "
        "살고 있었습니다. 매일 아침 그는 강가로 내려가 같은 회색 돌 위에 앉아 기다렸습니다.",
    ),
    "emoji": (
        42,
        "I love this! 😂😂 See you at the beach 🏖️🌊 tomorrow? Bring snacks 🍕🍎 and the dog 🐶❤️ — "
        "it'll be great 🎉🎉🎉",
    ),
}
TEXTS = st.text(max_size=200) | st.text("aB1 .,\n é水ひ한ж🌊\ud800", max_size=200)


@pytest.mark.parametrize("kind", COUNTED)
def test_an_estimate_is_near_the_count(kind: str) -> None:
    count, text = COUNTED[kind]
    assert tokens_of(text) == pytest.approx(count, rel=0.3)


def test_the_usual_four_characters_a_token_are_more_than_twice_as_far_off() -> None:
    ours = sum(abs(tokens_of(text) / count - 1) for count, text in COUNTED.values())
    usual = sum(abs(len(text) / 4 / count - 1) for count, text in COUNTED.values())
    assert ours < usual / 2


@given(TEXTS, TEXTS)
def test_more_text_is_never_fewer_tokens_and_parts_are_never_fewer_than_the_whole(text: str, more: str) -> None:
    both = tokens_of(text + more)
    assert max(tokens_of(text), tokens_of(more)) <= both <= tokens_of(text) + tokens_of(more)


@given(TEXTS)
def test_only_no_text_is_no_token(text: str) -> None:
    assert (tokens_of(text) == 0) == (text == "")
    assert 0 <= tokens_of(text) <= 3 * len(text)


def test_indentation_costs_as_much_as_one_space() -> None:
    assert tokens_of("a" + " " * 4000 + "b") == tokens_of("a b")


@given(TEXTS, st.integers(0, 1000))
def test_an_answers_pieces_are_its_tokens_where_that_may_be(text: str, deltas: int) -> None:
    estimate = tokens_of(text)
    tokens = output_tokens_of(text, deltas)
    assert tokens in (estimate, deltas)
    assert 0.7 * estimate <= tokens <= 2 * estimate
    assert (tokens == 0) == (text == "")


def test_pieces_count_unless_they_are_clearly_no_tokens() -> None:
    count, text = COUNTED["English"]
    assert output_tokens_of(text, count) == count
    for deltas in (0, 1, count // 2, len(text)):  # one piece, a few large ones, characters
        assert output_tokens_of(text, deltas) == tokens_of(text)


def request(*messages: Message, tools: tuple[Tool, ...] = ()) -> Request:
    return Request("openai.chat", "demo", messages, tools)


def test_a_prompt_is_its_messages_and_its_tools() -> None:
    asked = Message("user", (Part("text", "Where is "), Part("text", "the river?")))
    plain = input_tokens_of(request(asked))
    assert plain == tokens_of("Where is the river?") + 4
    assert input_tokens_of(request(asked, asked)) == 2 * plain
    schema = {"type": "object", "properties": {"city": {"type": "string"}}}
    tool = Tool("weather", "How the weather is in a city.", schema)
    written = tokens_of(tool.name + (tool.description or "") + msgspec.json.encode(schema).decode())
    assert written <= input_tokens_of(request(asked, tools=(tool,))) - plain <= written + 4


def test_calls_of_earlier_turns_are_part_of_a_prompt() -> None:
    call = ToolCall("call-1", "weather", '{"city": "Basel"}')
    called = request(Message("assistant", tool_calls=(call,)))
    assert input_tokens_of(called) == tokens_of('weather{"city": "Basel"}') + 4


def test_an_image_is_not_counted_as_the_text_that_carries_it() -> None:
    image = Part("image", media=Media(url="data:image/png;base64," + "A" * 10_000))
    assert input_tokens_of(request(Message("user", (image,)))) == 4


def test_reasoning_of_earlier_turns_is_not_part_of_a_prompt() -> None:
    parts = (Part("reasoning", "Hm. " * 100, signature="s" * 100), Part("refusal", "No."))
    assert input_tokens_of(request(Message("assistant", parts))) == tokens_of("No.") + 4


def test_only_the_beginning_of_a_long_text_is_looked_at_and_all_of_it_counts() -> None:
    story = "A river runs through the valley. " * 20_000
    assert tokens_of(story) == pytest.approx(20_000 * 8, rel=0.3)
    assert tokens_of(story + "more") >= tokens_of(story)
    whole = request(Message("user", (Part("text", story),)))
    turns = request(*[Message("user", (Part("text", story[:33_000]),))] * 20)
    assert input_tokens_of(whole) == pytest.approx(tokens_of(story), rel=0.01)
    assert input_tokens_of(turns) == pytest.approx(tokens_of(story), rel=0.01)
