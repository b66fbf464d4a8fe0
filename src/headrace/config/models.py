"""`model_list` -> `Model`s, and the models that are served when there is no such list."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path as FilePath
from typing import Any, Final

import msgspec

from headrace.config.conversion import scalar_types
from headrace.config.problems import Problems, as_list, as_mapping, shown, suggest
from headrace.config.providers import APIS, EMBEDDED_MODEL, LOCAL_MODELS, PROVIDERS, Protocol, Provider
from headrace.config.schema import CallSettings, Model
from headrace.config.secret import Secret
from headrace.config.section import Keys, Section
from headrace.config.upstream import check_anthropic_url, check_api_key, check_base_url, check_header

_OWN: Final = ("model", "api_key", "base_url", "api", "headers", "stream", "speed")
_PARAMS: Final = (*_OWN, *CallSettings.__struct_fields__)
# LiteLLM's words for the same things, and the two levels of an entry mixed up.
_IN_ENTRY: Final = Keys(
    ("model_name", "params"),
    aliases={"litellm_params": "params"},
    hints=dict.fromkeys(_PARAMS, "it belongs under params"),
)
_IN_PARAMS: Final = Keys(
    _PARAMS,
    aliases={"api_base": "base_url"},
    hints={
        "timeout": "did you mean total_timeout?",
        "stream_timeout": "did you mean ttft_timeout?",
        "max_retries": "did you mean retries?",
        "model_name": "it belongs one level up, beside params",
    },
)
# What each protocol has no use for.
_UNUSED: Final = {
    "openai": ("speed",),
    "anthropic": ("api", "speed"),
    "local": ("api", "api_key", "base_url", "headers", "stream", "speed"),
    "replay": ("api", "api_key", "base_url", "headers", "stream"),
}
_SERVERS: Final = frozenset({"openai", "anthropic"})
"""Protocols that are spoken over HTTP."""
_ADDRESSES: Final = {"openai": "OPENAI_BASE_URL", "anthropic": "ANTHROPIC_BASE_URL"}
"""Variables that the vendors' own clients read."""
_MODEL_EXPECTED = "write provider/model, such as openai/gpt-4o-mini or local/smollm2-135m"


class _Target(msgspec.Struct, frozen=True):
    provider: str
    row: Provider
    upstream_model: str


class ModelReader:
    """Reads entries; `defaults` are the global call settings, `folder` is where relative recordings lie."""

    def __init__(
        self, environ: Mapping[str, str], problems: Problems, defaults: Mapping[str, Any], folder: FilePath
    ) -> None:
        self._environ = environ
        self._problems = problems
        self._defaults = defaults
        self._folder = folder

    def without_list(self) -> tuple[Model, ...]:
        """With a vendor's variables set any model there, with both vendors' set `claude-*` there; else the embedded."""
        openai, anthropic = (
            any(map(self._variable, names))
            for names in (("OPENAI_API_KEY", "OPENAI_BASE_URL"), ("ANTHROPIC_API_KEY", "ANTHROPIC_BASE_URL"))
        )
        served = [("claude-*", "anthropic/claude-*")] if openai and anthropic else []
        if openai or anthropic:
            served.append(("*", "openai/*" if openai else "anthropic/*"))
        found = (
            self._model(name, Section({"model": model}, (), _IN_PARAMS, self._problems))
            for name, model in served or [(EMBEDDED_MODEL, f"local/{EMBEDDED_MODEL}")]
        )
        return tuple(model for model in found if model)

    def read(self, value: object) -> tuple[Model, ...]:
        """Every entry that can be read; what is wrong with the others is noted."""
        entries = as_list(value)
        if not entries:
            self._problems.value(("model_list",), "expected a list of models: add one, or remove the key")
        models: list[Model] = []
        first: dict[str, int] = {}
        for index, item in enumerate(entries or []):
            entry = Section(item, ("model_list", index), _IN_ENTRY, self._problems)
            name = _name(entry)
            if first.setdefault(name, index) != index and name:
                entry.note("model_name", f"{name} is already model_list[{first[name]}]: each name can be there once")
            if "params" not in entry:
                entry.note_missing("params", "a mapping with model: provider/model")
                continue
            params = Section(entry.get("params"), entry.path("params"), _IN_PARAMS, self._problems)
            if model := self._model(name, params):
                models.append(model)
        return tuple(models)

    def _model(self, name: str, params: Section) -> Model | None:
        settings: dict[str, Any] = {**self._defaults, **params.scalars(scalar_types(Model))}
        _check_backoff(params, settings)
        target = _target(params)
        if target is None:
            return None
        for key in _UNUSED[target.row.protocol]:
            if key in params:
                params.note_key(key, f"{target.provider}/… has no use for it: remove it")
        if target.upstream_model.endswith("*") and not name.endswith("*"):
            params.note("model", f"the * is what matched the one in model_name: write model_name: {target.provider}/*")
        if target.row.protocol in _SERVERS:
            settings |= self._connection(target, params)
        return Model(
            name=name,
            provider=target.provider,
            protocol=_protocol(target, params),
            upstream_model=self._upstream_model(target, params),
            **settings,
        )

    def _upstream_model(self, target: _Target, params: Section) -> str:
        model = target.upstream_model
        if target.row.protocol == "local" and model not in LOCAL_MODELS:
            params.note("model", f"there is no embedded model {shown(model)}; {suggest(model, LOCAL_MODELS)}")
        if target.row.protocol == "replay":
            path = self._folder / model
            if not path.exists():
                params.note("model", f"there is no recording at {path}")
            return str(path.absolute())
        return model

    def _connection(self, target: _Target, params: Section) -> dict[str, Any]:
        base_url = self._base_url(target, params)
        headers = self._headers(params)
        # Whoever sets the header by hand means it, also where the provider's key variable happens to be set.
        if any(name.lower() in ("authorization", "x-api-key") for name, _ in headers):
            return {"base_url": base_url, "headers": headers}
        api_key = self._api_key(target, params)
        variable = target.row.key_variable
        given = "api_key" in params or self._variable(variable or "")
        if variable and not given and base_url == target.row.base_url:
            params.note_missing("api_key", f"set it, or the environment variable {variable}")
        return {"base_url": base_url, "api_key": api_key, "headers": headers}

    def _base_url(self, target: _Target, params: Section) -> str:
        check = check_anthropic_url if target.row.protocol == "anthropic" else check_base_url
        variable = _ADDRESSES.get(target.provider, "")
        if "base_url" in params:
            return _checked(check, params.get("base_url"), lambda text: params.note("base_url", text)) or ""
        if url := self._variable(variable):
            return _checked(check, url, lambda text: self._problems.at(variable, text)) or ""
        if target.row.base_url is None:
            params.note_missing("base_url", f"{target.provider}/… needs one, such as http://localhost:8080/v1")
        return target.row.base_url or ""

    def _api_key(self, target: _Target, params: Section) -> Secret | None:
        if "api_key" in params:
            key = _checked(check_api_key, params.get("api_key"), lambda text: params.note("api_key", text))
        else:
            variable = target.row.key_variable or ""
            value = self._variable(variable)
            key = _checked(check_api_key, value, lambda text: self._problems.at(variable, text)) if value else None
        return Secret(key) if key else None

    def _headers(self, params: Section) -> tuple[tuple[str, Secret], ...]:
        if "headers" not in params:
            return ()
        headers = as_mapping(params.get("headers"))
        if headers is None:
            params.note("headers", "expected a mapping of names to values")
        found: list[tuple[str, Secret]] = []
        for name, value in (headers or {}).items():
            try:
                found.append((name, Secret(check_header(name, value))))
            except ValueError as error:
                self._problems.value((*params.path("headers"), name), str(error))
        return tuple(found)

    def _variable(self, name: str) -> str:
        return self._environ.get(name, "").strip()


def _name(entry: Section) -> str:
    name = entry.get("model_name")
    if "model_name" not in entry:
        entry.note_missing("model_name", "the name that clients ask for")
    elif not isinstance(name, str):
        entry.note("model_name", f"expected a string, got {shown(name)}: put it in quotes")
    elif not name or not name.isprintable() or name != name.strip():
        entry.note("model_name", "expected a name without control characters and without spaces around it")
    elif "*" in name[:-1]:
        entry.note("model_name", "a * may stand at the end only, such as openai/*")
    else:
        return str(name)
    return ""


def _target(params: Section) -> _Target | None:
    model = params.get("model")
    if "model" not in params:
        params.note_missing("model", _MODEL_EXPECTED)
    elif not isinstance(model, str):
        params.note("model", f"expected a string, got {shown(model)}: {_MODEL_EXPECTED}")
    else:
        provider, slash, upstream = model.partition("/")
        row = PROVIDERS.get(provider)
        if slash and row is None:
            params.note("model", f"unknown provider {shown(provider)}; {suggest(provider, PROVIDERS)}")
        elif row is None or not upstream.strip():
            params.note("model", f"expected a provider and a model, got {shown(model)}: {_MODEL_EXPECTED}")
        elif "*" in upstream[:-1] or (upstream.endswith("*") and row.protocol not in _SERVERS):
            params.note("model", "a * may stand at the end only, and only for a model server, such as openai/*")
        else:
            return _Target(provider, row, upstream)
    return None


def _protocol(target: _Target, params: Section) -> Protocol:
    """What is spoken: chat completions, unless the entry says `api: responses`."""
    if "api" not in params or target.row.protocol != "openai":
        return target.row.protocol
    api = params.get("api")
    if not isinstance(api, str) or api not in APIS:
        params.note("api", f"expected {' or '.join(APIS)}, got {shown(api)}")
        return target.row.protocol
    return APIS[api]


def _check_backoff(params: Section, settings: Mapping[str, Any]) -> None:
    own = [key for key in ("retry_backoff", "retry_backoff_max") if key in params]
    if own and settings["retry_backoff"] > settings["retry_backoff_max"]:
        params.note(own[0], "retry_backoff must not be over retry_backoff_max")


def _checked(check: Callable[[object], str], value: object, note: Callable[[str], None]) -> str | None:
    try:
        return check(value)
    except ValueError as error:
        note(str(error))
        return None
