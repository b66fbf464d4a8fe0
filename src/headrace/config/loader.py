"""Joins command line, environment and file into a `Config`."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from headrace.config import environment, yaml_source
from headrace.config.access import AccessReader
from headrace.config.conversion import convert, scalar_types
from headrace.config.models import ModelReader
from headrace.config.problems import Places, Problems, suggest
from headrace.config.schema import CallSettings, Config
from headrace.config.section import Keys, Section

ACCESS: Final = ("api_keys", "cors_origins", "allowed_hosts", "secret", "redis_url", "archive_url")
"""What `AccessReader` reads."""
_DEFAULTS: Final = Config()
FILE_KEYS: Final = ("model_list", *scalar_types(Config), *ACCESS)
REDIS_URL: Final = "REDIS_URL"
"""The variable that hosting platforms set; our own and the file come first."""
_TOP_LEVEL = "Headrace's settings stand at the top level"
_IN_FILE: Final = Keys(
    FILE_KEYS,
    hints={
        "general_settings": f"{_TOP_LEVEL}, and master_key is api_keys",
        "litellm_settings": _TOP_LEVEL,
        "router_settings": _TOP_LEVEL,
        "environment_variables": "set them in the environment, and name them as ${NAME}",
        "models": "did you mean model_list?",
    },
)


def load(path: str | Path | None, environ: Mapping[str, str], overrides: Mapping[str, object] | None = None) -> Config:
    """Build the configuration; `overrides` beat the environment, which beats the file.

    Args:
        path: The file; None means the one that `HEADRACE_CONFIG` names, if any.
        environ: Usually `os.environ`.
        overrides: Scalar settings by key, from the command line; one that is None was not given.

    Raises:
        ConfigError: It lists every problem, each with its place and what would be right. Whether the host may be
            bound without keys is not checked here but by `Config.check_access`.
    """
    file = path or environ.get("HEADRACE_CONFIG", "").strip() or None
    problems = Problems(Places(str(file)))
    data = None if file is None else yaml_source.read(file, environ, problems)
    section = Section({} if data is None else data, (), _IN_FILE, problems)
    values: dict[str, Any] = section.scalars(scalar_types(Config))
    found = environment.settings(environ, FILE_KEYS[1:], problems)
    outside = {key: (environment.variable(key), value) for key, value in found.items() if key not in ACCESS}
    outside |= {key: (_option(key), value) for key, value in (overrides or {}).items() if value is not None}
    values |= _converted(outside, problems)
    values |= _access(section, found, problems)
    if "redis_url" not in values and environ.get(REDIS_URL, "").strip():
        values["redis_url"] = AccessReader(problems, REDIS_URL).redis_url(environ[REDIS_URL])
    for given, text in _contradictions(values):
        if given in outside:
            problems.at(outside[given][0], text)
        else:
            problems.value((given,), text)
    calls = {key: values.get(key, getattr(_DEFAULTS, key)) for key in CallSettings.__struct_fields__}
    reader = ModelReader(environ, problems, calls, Path(file).parent if file else Path())
    models = reader.read(section.get("model_list")) if "model_list" in section else reader.without_list()
    problems.raise_any()
    return Config(models=models, **values)


def from_env(path: str | Path | None = None, overrides: Mapping[str, object] | None = None) -> Config:
    """`load` with the environment of this process."""
    return load(path, os.environ, overrides)


def _option(key: str) -> str:
    return "--" + key.replace("_", "-")


def _converted(outside: Mapping[str, tuple[str, object]], problems: Problems) -> dict[str, object]:
    """The settings that are not in the file; each comes with its place."""
    types = scalar_types(Config)
    values: dict[str, object] = {}
    for key, (place, value) in outside.items():
        if key not in types:
            problems.at(place, f"unknown setting; {suggest(key, types)}")
            continue
        try:
            values[key] = convert(value, types[key], lenient=True)
        except ValueError as error:
            problems.at(place, str(error))
    return values


def _access(section: Section, found: Mapping[str, str], problems: Problems) -> dict[str, object]:
    values: dict[str, object] = {}
    for key in ACCESS:
        if key in section:
            values[key] = getattr(AccessReader(problems), key)(section.get(key))
        if key in found:
            values[key] = getattr(AccessReader(problems, environment.variable(key)), key)(found[key])
    return values


def _contradictions(values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Limits that do not contain each other: the key that was set, and what is wrong."""
    for small, large in (("retry_backoff", "retry_backoff_max"), ("max_stream_log_bytes", "max_log_bytes")):
        low, high = (values.get(key, getattr(_DEFAULTS, key)) for key in (small, large))
        if low > high:
            yield (small if small in values else large), f"{small} ({low}) must not be over {large} ({high})"
    if values.get("data") is not None and values.get("redis_url") is not None:
        yield "data", "contradicts redis_url: streams are kept either here or there, remove one of them"
