"""docs/configuration.md is the reference: what it says is held against the code."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from headrace.config import PROVIDERS, CallSettings, Config, load
from headrace.config.conversion import convert, scalar_types
from headrace.config.loader import ACCESS, FILE_KEYS
from headrace.errors import ConfigError

DOCUMENT = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```(yaml|text)\n(.*?)```", DOCUMENT, re.DOTALL)
ROWS = {
    cells[0].strip("`"): cells for cells in re.findall(r"^\| (`\w+`) \| (.*?) \| (.*?) \| (.*?) \|", DOCUMENT, re.M)
}
TYPES: dict[str, Any] = {
    "duration": lambda value: isinstance(value, float) and value > 0,
    "duration, may be 0": lambda value: isinstance(value, float),
    "size": lambda value: isinstance(value, int),
    "flag": lambda value: isinstance(value, bool),
    "disconnect policy": lambda value: value is None,
    "list": lambda value: value == (),
    "text": lambda value: value is None,
    "path": lambda value: value is None,
}


@pytest.mark.parametrize("key", [key for key in FILE_KEYS if key != "model_list"])
def test_every_key_is_listed_with_its_default_and_variable(key: str):
    _, kind, default, variable = ROWS[key]
    true = getattr(Config(), key)
    assert variable == f"`HEADRACE_{key.upper()}`"
    if true is None or true == ():
        assert default == ("not set" if true is None else "empty")
    else:
        assert convert(default.strip("`"), scalar_types(Config)[key], lenient=True) == true
    matches = TYPES.get(kind, lambda value: isinstance(value, int if kind.startswith("whole number") else str))
    assert matches(true), kind


def test_no_other_key_is_listed():
    params = {"model", "api", "api_key", "base_url", "headers", "stream", "speed"}
    assert set(ROWS) == {*FILE_KEYS, *params} - {"model_list"}


def test_the_keys_that_a_model_may_override_are_those_of_their_section():
    section = DOCUMENT.split("### Upstream\n")[1].split("\n### ")[0]
    assert tuple(re.findall(r"^\| `(\w+)`", section, re.M)) == CallSettings.__struct_fields__


def test_every_provider_is_listed_with_address_and_variable():
    listed = re.findall(r"^\| `(\w+)` \| (?:`(.*?)`|.*?) \| (?:`(\w+)`|none) \|$", DOCUMENT, re.M)
    assert {name: (url or None, variable or None) for name, url, variable in listed} == {
        name: (row.base_url, row.key_variable) for name, row in PROVIDERS.items()
    }


def test_the_example_has_every_key_and_shows_the_defaults(tmp_path: Path):
    text = BLOCKS[0][1].replace("# on_disconnect: ", "on_disconnect: ").replace("# data: ", "data: ")
    file = tmp_path / "headrace.yaml"
    file.write_text(BLOCKS[0][1])
    config = load(file, {"OPENAI_API_KEY": "sk-1", "ALICE_KEY": "sk-a", "BOB_KEY": "sk-b"})
    assert list(yaml.safe_load(text)) and set(yaml.safe_load(text)) == set(FILE_KEYS)
    for key in set(FILE_KEYS) - {"model_list", *ACCESS}:
        assert getattr(config, key) == getattr(Config(), key)
    assert config.model_names == ("gpt-4o-mini", "house-model", "smollm2-135m")
    config.check_access()


def test_the_mistakes_are_reported_as_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (_, text), (_, shown) = BLOCKS[1:3]
    monkeypatch.chdir(tmp_path)
    Path("headrace.yaml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load("headrace.yaml", {"HEADRACE_PROT": "9000", "HEADRACE_HEADER_HOLD": "long"})
    assert str(caught.value) == shown.strip()
