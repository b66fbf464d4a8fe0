"""What `headrace serve` prints once it listens."""

from __future__ import annotations

import shlex
from typing import Final

import msgspec

from headrace import __version__
from headrace.config import EMBEDDED_MODEL, Config, Model, is_loopback

# As many as fit on a screen with the rest.
_MODELS_SHOWN: Final = 8
_DEMO: Final = "135M demo model, facts are often wrong"
# Nobody can connect to these: what to write instead.
_ANY_ADDRESS: Final = {"0.0.0.0": "127.0.0.1", "::": "::1", "[::]": "::1"}


def greeting(config: Config, port: int) -> str:
    """What somebody needs who has just started the server; shows no key."""
    every = " (all addresses)" if config.host in _ANY_ADDRESS else ""
    return "\n".join(
        (
            f"Headrace {__version__} listens on {_url(config.host, port)}" + every,
            *_model_lines(config),
            f"Keys: {_access(config)}",
            *_process_lines(config),
            *_page_lines(config, port),
            "Try:",
            f"  {_curl(config, port)}",
            "Ctrl-C stops.",
        )
    )


def _process_lines(config: Config) -> list[str]:
    """How many serve and what becomes of the streams; nothing where one process keeps them, as by default."""
    if not config.supervised:
        return []
    if config.data is not None:
        kept = f"in {config.data}, also over a restart"
    elif config.redis_url is not None:
        kept = "where redis_url says"
    else:
        kept = "in memory, until the server ends"
    return [f"Workers: {config.workers}", f"Streams: {kept}"]


def _page_lines(config: Config, port: int) -> list[str]:
    return [f"Playground: {_url(_reachable(config), port)}/"] if config.playground else []


def _model_lines(config: Config) -> list[str]:
    shown = [_model_line(model) for model in config.models[:_MODELS_SHOWN]]
    more = len(config.models) - len(shown)
    return ["Models:", *shown, *([f"  and {more} more: GET /v1/models"] if more else [])]


def _model_line(model: Model) -> str:
    if model.name.endswith("*"):
        return f"  {model.name} (any model of {model.provider})"
    return f"  {model.name} ({_DEMO if model.protocol == 'local' else model.provider})"


def _access(config: Config) -> str:
    if config.api_keys:
        count = len(config.api_keys)
        return f"required, {count} configured; export HEADRACE_API_KEY with one of them for the line below"
    if is_loopback(config.host):
        return "none needed, only this machine can connect"
    return "none needed: EVERYBODY who can reach this address can use it (--no-auth)"


def _curl(config: Config, port: int) -> str:
    """A command for a POSIX shell that works as it is."""
    body = {
        "model": _model_to_try(config),
        "stream": True,
        "messages": [{"role": "user", "content": "Write one sentence about a river."}],
    }
    parts = [f"curl -N {_url(_reachable(config), port)}/v1/chat/completions"]
    if config.api_keys:
        parts.append('-H "Authorization: Bearer $HEADRACE_API_KEY"')
    parts += ["-H 'Content-Type: application/json'", "-d " + shlex.quote(msgspec.json.encode(body).decode())]
    return " ".join(parts)


def _reachable(config: Config) -> str:
    return _ANY_ADDRESS.get(config.host, config.host)


def _model_to_try(config: Config) -> str:
    """The first name; where only patterns are served, a model of OpenAI's that every key has."""
    if config.model_names:
        return config.model_names[0]
    return config.wildcards[0].removesuffix("*") + "gpt-4o-mini" if config.wildcards else EMBEDDED_MODEL


def _url(host: str, port: int) -> str:
    bare = host.strip("[]")
    return f"http://[{bare}]:{port}" if ":" in bare else f"http://{bare}:{port}"
