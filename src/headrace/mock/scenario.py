"""Which faults a request meets: those of the whole server, of the first rule that fits, and of the request itself."""

from __future__ import annotations

import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta

from headrace.config.yaml_source import UNREADABLE
from headrace.errors import BadRequest, ConfigError
from headrace.mock.asked import Asked
from headrace.mock.faults import Fault, in_order, parse_faults
from headrace.mock.question import Question
from headrace.mock.settings import Overrides, Settings

_Number = Annotated[int, Meta(ge=1)]
_Numbers = Annotated[str, Meta(pattern="^[1-9][0-9]{0,8}-[1-9][0-9]{0,8}$")]


class _Match(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    model: str = ""
    prompt: str = ""
    request: Annotated[int, Meta(ge=1)] | Annotated[str, Meta(pattern="^[1-9][0-9]{0,8}-[1-9][0-9]{0,8}$")] | None = (
        None
    )


class _WrittenRule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    match: _Match = _Match()
    fault: str | list[str] = ""
    first: Annotated[int, Meta(ge=0)] = 0
    probability: Annotated[float, Meta(ge=0, le=1)] = 1.0
    settings: Overrides = Overrides()


class _Scenario(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    rules: list[_WrittenRule]


class Rule(msgspec.Struct, frozen=True):
    """What some requests meet; an empty condition fits every request."""

    name: str
    model: re.Pattern[str] | None
    prompt: re.Pattern[str] | None
    requests: range | None
    """Numbers of requests, from 1."""
    faults: tuple[Fault, ...]
    first: int
    probability: float
    settings: Overrides

    def fits(self, question: Question, number: int) -> bool:
        """Whether the conditions hold, whatever chance and count say."""
        return (
            (self.model is None or self.model.search(question.model) is not None)
            and (self.prompt is None or self.prompt.search(question.prompt) is not None)
            and (self.requests is None or number in self.requests)
        )


def read_scenario(path: Path) -> tuple[Rule, ...]:
    """Read a YAML file of rules.

    Raises:
        ConfigError: it is none; the message names the rule.
    """
    try:
        data = path.read_bytes()
    except OSError as problem:
        raise ConfigError(f"the scenario {path} cannot be read: {problem.strerror}") from problem
    return parse_scenario(data, path)


def parse_scenario(data: bytes, path: Path) -> tuple[Rule, ...]:
    """`read_scenario` for bytes that are already here.

    Raises:
        ConfigError: they are no rules; the message names the rule.
    """
    try:
        value = yaml.safe_load(data.decode())
    except (yaml.YAMLError, RecursionError, *UNREADABLE) as problem:
        raise ConfigError(f"the scenario {path} is no YAML: {problem}") from problem
    try:
        written = msgspec.convert({"rules": value} if isinstance(value, list) else value, _Scenario)
    except msgspec.ValidationError as problem:
        raise ConfigError(f"the scenario {path}: {problem}") from problem
    return tuple(_rule(path, number, each) for number, each in enumerate(written.rules, 1))


def _rule(path: Path, number: int, written: _WrittenRule) -> Rule:
    texts = [written.fault] if isinstance(written.fault, str) else written.fault
    try:
        written.settings.apply(Settings())
        return Rule(
            name=f"rule {number}",
            model=re.compile(written.match.model) if written.match.model else None,
            prompt=re.compile(written.match.prompt) if written.match.prompt else None,
            requests=_range(written.match.request),
            faults=tuple(fault for text in texts for fault in parse_faults(text)),
            first=written.first,
            probability=written.probability,
            settings=written.settings,
        )
    except (BadRequest, ValueError, OverflowError, RecursionError, re.error) as problem:
        raise ConfigError(f"the scenario {path}, rule {number}: {problem}") from problem


def _range(request: Any) -> range | None:
    if request is None:
        return None
    first, _, last = str(request).partition("-")
    return range(int(first), int(last or first) + 1)


class Director:
    """Decides for each request; the same requests in the same order meet the same faults."""

    def __init__(self, settings: Settings, faults: Iterable[Fault], rules: Sequence[Rule]) -> None:
        self._settings = settings
        self._at_accept = tuple(fault for fault in faults if fault.name == "refuse")
        self._faults = tuple(fault for fault in faults if fault.name != "refuse")
        self._rules = rules
        self._fired: Counter[str] = Counter()

    def reset(self) -> None:
        """Forget how often each fault was met."""
        self._fired.clear()

    def refuses(self, connection: int) -> bool:
        """Whether a new connection is reset, counted from 1."""
        return any(self._met(fault, f"accept {fault.text}", connection) for fault in self._at_accept)

    def direct(self, asked: Asked, number: int) -> tuple[Settings, list[Fault]]:
        """The settings and the faults of a request, counted from 1; the faults in the order of their application.

        Raises:
            ValueError: a duration that the request asks for cannot be read.
        """
        settings = self._settings
        own = asked.overrides.apply(settings)  # before anything is counted
        found = [fault for fault in self._faults if self._met(fault, f"all {fault.text}", number)]
        rule = self._rule(asked, number)
        if rule is not None:
            own = asked.overrides.apply(rule.settings.apply(settings))
            found += [fault for fault in rule.faults if self._met(fault, f"{rule.name} {fault.text}", number)]
        # By prompt, so that the retries of one question count, and not another question.
        found += [
            fault for fault in asked.faults if self._met(fault, f"own {fault.text} {asked.question.prompt}", number)
        ]
        if any(fault.name == "none" for fault in found):
            return own, []
        return own, in_order(found)

    def _rule(self, asked: Asked, number: int) -> Rule | None:
        for rule in self._rules:
            if rule.fits(asked.question, number) and self._counted(rule.name, rule.first, rule.probability, number):
                return rule
        return None

    def _met(self, fault: Fault, key: str, number: int) -> bool:
        return self._counted(key, fault.first, fault.probability, number)

    def _counted(self, key: str, first: int, probability: float, number: int) -> bool:
        # The name and not the order decides, so concurrency changes nothing.
        if probability < 1 and random.Random(f"{self._settings.seed}/{number}/{key}").random() >= probability:
            return False
        if first:
            if self._fired[key] >= first:
                return False
            self._fired[key] += 1
        return True
