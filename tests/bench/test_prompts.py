import pytest

from headrace.bench.prompts import Prompt, RandomPrompts, read_prompts
from headrace.errors import ConfigError


def written(tmp_path, text):
    path = tmp_path / "prompts.jsonl"
    path.write_text(text, encoding="utf-8")
    return read_prompts(path)


def test_lines_of_json_are_prompts_messages_or_strings(tmp_path):
    prompts = written(
        tmp_path,
        '{"prompt": "one", "output_tokens": 5}\n\n'
        '{"messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "two"}], "id": 7}\n'
        '"three"\n',
    )
    assert len(prompts) == 3
    assert prompts[0] == Prompt([{"role": "user", "content": "one"}], 5)
    assert prompts[1].text == "be brief\ntwo"
    assert prompts[2].text == "three"


def test_lines_of_text_are_prompts(tmp_path):
    prompts = written(tmp_path, "\ufefftell me\n  a story  \n")
    assert [prompts[number].text for number in range(2)] == ["tell me", "a story"]


def test_a_short_file_begins_again(tmp_path):
    prompts = written(tmp_path, "a\nb\n")
    assert [prompts[number].text for number in range(5)] == ["a", "b", "a", "b", "a"]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "has no prompt"),
        (" \n\n", "has no prompt"),
        ('{"prompt": "a"}\nplain', ":2: "),
        ('{"prompt": 5}', ":1: "),
        ('"a"\n\n{"question": "b"}', ':3: expected {"prompt"'),
        ('{"messages": []}', ':1: expected {"prompt"'),
    ],
)
def test_a_wrong_line_is_named(tmp_path, text, words):
    with pytest.raises(ConfigError) as caught:
        written(tmp_path, text)
    assert words in caught.value.message


def test_a_file_that_is_not_there_or_not_text_is_said(tmp_path):
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "none")
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_prompts(tmp_path / "binary")


def test_made_up_prompts_have_their_length_and_depend_on_seed_and_number():
    prompts = RandomPrompts(12, "0.0")
    assert len(prompts[3].text.split()) == 12
    assert prompts[3] == RandomPrompts(12, "0.0")[3]
    assert prompts[3] != RandomPrompts(12, "0.1")[3]
    assert len(RandomPrompts(1, "0.0")[0].text.split()) == 1


def test_no_made_up_prompt_begins_like_another():
    prompts = RandomPrompts(20, "0.0")
    assert len({prompts[number].text.split()[0] for number in range(1_000)}) == 1_000


def test_parts_that_are_no_text_are_not_in_the_text():
    message = {"role": "user", "content": [{"type": "text", "text": "a"}]}
    assert Prompt([message, {"role": "user", "content": "b"}]).text == "b"
