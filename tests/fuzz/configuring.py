"""Targets: what operators write, in files, variables and options."""

from __future__ import annotations

import atexit
import re
import shutil
import tempfile
from pathlib import Path

from headrace.config import Config, load, parse_disconnect
from headrace.config.expansion import expand
from headrace.config.quantities import parse_bytes, parse_flag, parse_seconds
from headrace.errors import BadRequest, ConfigError
from headrace.mock.faults import in_order, parse_faults
from headrace.mock.pacing import parse_gap
from headrace.mock.scenario import parse_scenario

_FOLDER = Path(tempfile.mkdtemp(prefix="headrace-fuzz-"))
atexit.register(shutil.rmtree, _FOLDER)
_FILE = _FOLDER / "headrace.yaml"
_ENVIRON = {"OPENAI_API_KEY": "sk-from-the-environment", "ALICE_KEY": "alice-key", "EMPTY": ""}
_PLACE = re.compile(rf"{re.escape(str(_FILE))}:\d+:\d+: |[A-Z_]+( \(entry \d+\))?: ")


def config_file(data: bytes) -> None:
    """A file is a configuration, or a list of mistakes with their places, which shows no key."""
    _FILE.write_bytes(data)
    try:
        config = load(_FILE, _ENVIRON)
    except ConfigError as error:
        assert all(_PLACE.match(line) for line in str(error).split("\n")), str(error)
        assert "sk-from-the-environment" not in str(error)
        assert len(str(error)) <= 2000 + 400 * len(data)
        return
    _check_config(config)


def environment(data: bytes) -> None:
    """Variables, one a line, likewise."""
    pairs = (line.partition("=") for line in data.decode("utf-8", "replace").replace("\0", "").split("\n"))
    environ = {name: value for name, found, value in pairs if found and name != "HEADRACE_CONFIG"}
    try:
        config = load(None, environ)
    except ConfigError as error:
        assert str(error)
        return
    _check_config(config)


def _check_config(config: Config) -> None:
    assert config.models
    assert "sk-from-the-environment" not in repr(config)
    for entry in config.models[:5]:
        name = entry.name.replace("*", "x")
        found = config.resolve(name)
        assert found is not None and found.name == name
    try:
        config.check_access()
    except ConfigError as error:
        assert "\n" not in str(error)


def quantities(data: bytes) -> None:
    """Durations, sizes, flags, policies and variables."""
    text = data.decode("utf-8", "replace")
    for read in (parse_seconds, parse_bytes, parse_flag, parse_disconnect):
        try:
            found = read(text)
        except ValueError as error:
            assert "expected" in str(error) or "at most" in str(error)
        else:
            assert found is not None
    try:
        assert len(expand(text, _ENVIRON)) <= 30 * (len(text) + 1)
    except ValueError as error:
        assert "variable" in str(error) or "must be followed" in str(error)


def faults(data: bytes) -> None:
    """The faults and gaps of the mock: each is known, or refused by name."""
    text = data.decode("utf-8", "replace")
    try:
        found = parse_faults(text)
        assert parse_faults(";".join(fault.text for fault in found)) == found
        assert len(in_order(found)) == len(found)
    except BadRequest as error:
        assert error.param == "fault"
    try:
        gap = parse_gap(text)
    except ValueError as error:
        assert any(word in str(error) for word in ("expected", "above zero", "at most"))
    else:
        draw = gap.drawer("seed")
        assert draw is None or all(draw() >= 0 for _ in range(20))


def scenario(data: bytes) -> None:
    """Rules of the mock, or a mistake."""
    try:
        rules = parse_scenario(data, Path("faults.yaml"))
    except ConfigError as error:
        assert "faults.yaml" in str(error)
        return
    assert all(rule.probability <= 1 for rule in rules)
