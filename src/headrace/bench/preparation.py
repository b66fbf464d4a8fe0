"""From what was asked for to a plan that can run: servers are reached, models are named, series are laid out."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import msgspec

from headrace.bench.discovery import first_model, reach
from headrace.bench.plan import Load, Plan, Series
from headrace.bench.prompts import Prompts
from headrace.bench.shapes.base import Ask, Shape
from headrace.bench.target import Target
from headrace.errors import ConfigError


class Asked(msgspec.Struct, frozen=True):
    """What was asked for."""

    shape: Shape
    targets: Sequence[Target]
    headers: Mapping[str, str]
    keys: Mapping[str, str]
    """By the name of the target."""
    models: Sequence[str]
    """Empty: the first one of each server."""
    concurrency: Sequence[int | None]
    ask: Ask
    """Without its model."""
    load: Load
    prompts: Callable[[int], Prompts]
    goodput: Mapping[str, float]

    def __post_init__(self) -> None:
        """Refuse what the shape cannot do.

        Raises:
            ConfigError: something was asked for in vain.
        """
        if len({target.name for target in self.targets}) < len(self.targets):
            raise ConfigError("--target: every target needs a name of its own: NAME=URL")
        ask, shape = self.ask, self.shape
        for option, wanted, can in (
            ("--ignore-eos", ask.ignore_eos, shape.takes_ignore_eos),
            ("--extra-body", bool(ask.extra), shape.takes_fields),
            ("--temperature", ask.temperature is not None, shape.takes_fields),
        ):
            if wanted and not can:
                raise ConfigError(f"{option}: the shape {shape.name} has no place for it")
        if ask.output_len is None and shape.needs_output_len:
            raise ConfigError(f"--output-len: the shape {shape.name} needs one")


async def prepare(asked: Asked) -> Plan:
    """Reach the servers, and lay out a series for every target, model and number of requests at the same time.

    Raises:
        HeadraceError: a server cannot be reached, or does not name its models.
    """
    series: list[Series] = []
    for target in asked.targets:
        reached = await reach(target, insecure=asked.load.insecure)
        headers = {**asked.shape.headers(asked.keys.get(target.name, "")), **asked.headers}
        for model in await _models(asked, reached, headers):
            ask = msgspec.structs.replace(asked.ask, model=model)
            series += [Series(reached, ask, headers, concurrency) for concurrency in asked.concurrency]
    return Plan(asked.shape, series, asked.load, asked.prompts, asked.goodput)


async def _models(asked: Asked, target: Target, headers: Mapping[str, str]) -> Sequence[str]:
    if asked.models or not asked.shape.names_models:
        return asked.models or [""]
    return [await first_model(target, headers, insecure=asked.load.insecure)]
