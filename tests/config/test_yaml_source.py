from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from headrace.config.problems import Places, Problems
from headrace.config.yaml_source import parse, read
from headrace.errors import ConfigError


def data(text: str, environ: Mapping[str, str] | None = None) -> object:
    problems = Problems(Places("c.yaml"))
    value = parse(text, environ or {}, problems)
    problems.raise_any()
    return value


def message(text: str, environ: Mapping[str, str] | None = None) -> str:
    with pytest.raises(ConfigError) as caught:
        data(text, environ)
    return str(caught.value)


TEXT = st.text().filter(lambda text: "$" not in text and not text.startswith("os.environ/"))
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | TEXT,
    lambda inner: st.lists(inner) | st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), inner),
    max_leaves=15,
)


@given(PLAIN)
def test_plain_data_is_what_safe_load_makes_of_it(value: object):
    text = yaml.safe_dump(value)
    assert data(text) == value


def test_an_empty_file_holds_nothing():
    assert data("# only a comment\n") is None


def test_anchors_and_merges_work_and_own_keys_win():
    text = "base: &a {x: 1, y: 2}\nother: &b {y: 3, z: 4}\nall: {y: 9, <<: [*a, *b]}\nsame: *a\n"
    assert data(text) == {
        "base": {"x": 1, "y": 2},
        "other": {"y": 3, "z": 4},
        "all": {"x": 1, "z": 4, "y": 9},
        "same": {"x": 1, "y": 2},
    }


def test_a_key_that_is_there_twice_is_an_error_with_both_lines():
    assert (
        message("a: 1\nb:\n  c: 1\n  d: 2\n  c: 3\n")
        == "c.yaml:5:3: b.c: the key is already in line 3: keep one of them"
    )


# Ten values, and six times ten of what stands before: ten million in 200 characters.
BOMB = "a: &a [1,1,1,1,1,1,1,1,1,1]\n" + "".join(
    f"{name}: &{name} [{', '.join(['*' + before] * 10)}]\n" for before, name in zip("abcdef", "bcdefg", strict=True)
)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a: [1, 2\nb: 3\n", "c.yaml:2:2: not YAML: "),
        ("a: 1\n\tb: 2\n", "c.yaml:2:1: not YAML: found character '\\t' that cannot start any token"),
        ("a: 1\n---\nb: 2\n", "c.yaml:2:1: not YAML: but found another document"),
        ("? [1]\n: 2\n", "c.yaml:1:3: not YAML: a key must be a plain word"),
        ("a: 2026-99-99\n", "c.yaml:1:4: not YAML: this is no date or number; put it in quotes"),
        ("a: &x\n  - *x\n", "c.yaml:1:4: not YAML: an alias contains itself"),
        ("a: &x\n  <<: *x\n", "c.yaml:1:4: not YAML: an alias contains itself"),
        ('a: !!int ""\n', "c.yaml:1:4: not YAML: this is no date or number; put it in quotes"),
        ('a: !!float ""\n', "c.yaml:1:4: not YAML: this is no date or number; put it in quotes"),
        ("a: !!bool maybe\n", "c.yaml:1:4: not YAML: this is no date or number; put it in quotes"),
        ("a: !!timestamp soon\n", "c.yaml:1:4: not YAML: this is no date or number; put it in quotes"),
        ("a: " + "[" * 2000 + "\n", "c.yaml:1:1: the values are nested too deeply"),
        (BOMB, "c.yaml:1:26: not YAML: the aliases make too much of this file"),
        ("<<: 3\n", "c.yaml:1:5: not YAML: `<<` needs a mapping"),
        ("a: \x00\n", "c.yaml:1:1: not YAML: special characters are not allowed"),
    ],
)
def test_what_is_not_yaml_is_an_error_with_its_line(text: str, expected: str):
    assert message(text).startswith(expected)


@pytest.mark.promise("P36")
@pytest.mark.parametrize("value", ["*sk-secret", "!sk-secret", "!sk-secret {a: 1}", "!!python/object:sk-secret {}"])
def test_a_key_that_looks_like_yaml_is_not_shown(value: str):
    text = message(f"a: 1\nb: {value}\n")
    assert text.startswith("c.yaml:2:4: not YAML: ")
    assert "in quotes" in text
    assert "sk-secret" not in text


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${A}", "one"),
        ("x${A}y${B:-two}", "xoney" + "two"),
        ("${EMPTY:-d}", "d"),
        ("${EMPTY}", ""),
        ("${B:-}", ""),
        ("${B:-http://h/v1}", "http://h/v1"),
        ("$${A}", "${A}"),
        ("$A and $ and $$", "$A and $ and $$"),
        ("os.environ/A", "one"),
        ("${NESTED}", "${A}"),
    ],
)
def test_variables_are_put_in(text: str, value: str):
    environ = {"A": "one", "EMPTY": "", "NESTED": "${A}"}
    assert data(yaml.safe_dump({"k": [text]}), environ) == {"k": [value]}


@pytest.mark.parametrize("text", ["${MISSING}", "os.environ/MISSING", "a ${MISSING} b"])
def test_an_unset_variable_is_an_error_with_its_line_and_name(text: str):
    expected = "the environment variable MISSING is not set: set it, or write ${MISSING:-default}"
    assert message(f"a: 1\nb:\n  - c: {text}\n") == f"c.yaml:3:8: b[0].c: {expected}"


@pytest.mark.parametrize("text", ["${", "${}", "${A", "${1A}", "${A:default}", "${A-b}"])
def test_a_broken_variable_is_an_error_with_the_right_form(text: str):
    assert message(f'b: "{text}"').startswith("c.yaml:1:4: b: `${` must be followed by NAME} or NAME:-default}")


def test_all_unset_variables_are_reported_at_once():
    assert message("a: ${A}\nb: ${B}\n").count("\n") == 1


def test_a_file_that_is_not_there_is_an_error_that_names_it(tmp_path: Path):
    problems = Problems(Places("c.yaml"))
    with pytest.raises(ConfigError, match=r"nothing\.yaml: cannot read the configuration file: No such file"):
        read(tmp_path / "nothing.yaml", {}, problems)
    with pytest.raises(ConfigError, match="Is a directory"):
        read(tmp_path, {}, problems)


def test_a_file_that_is_not_utf8_is_an_error_with_its_line(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_bytes(b"a: 1\nb: \xff\n")
    with pytest.raises(ConfigError, match=r"c\.yaml:2:1: the file is not UTF-8"):
        read(file, {}, Problems(Places(str(file))))


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path):
    file = tmp_path / "c.yaml"
    file.write_bytes(b"\xef\xbb\xbfport: 1\n")
    assert read(file, {}, Problems(Places(str(file)))) == {"port": 1}
