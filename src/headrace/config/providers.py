"""The provider names that a `model` may start with, and what each presets."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final, Literal

import msgspec

Protocol = Literal["openai", "openai-responses", "anthropic", "local", "replay"]
"""What a provider is spoken to in."""
APIS: Final[Mapping[str, Protocol]] = MappingProxyType({"chat": "openai", "responses": "openai-responses"})
"""The two APIs of OpenAI, by their names in `api`."""


class Provider(msgspec.Struct, frozen=True):
    """One row: `base_url` None means that the entry must give it, `key_variable` None that no key is needed."""

    protocol: Protocol
    base_url: str | None = None
    key_variable: str | None = None


# Base addresses and variable names are those of each vendor's own documentation.
PROVIDERS: Final[Mapping[str, Provider]] = MappingProxyType(
    {
        "openai": Provider("openai", "https://api.openai.com/v1", "OPENAI_API_KEY"),
        "anthropic": Provider("anthropic", "https://api.anthropic.com", "ANTHROPIC_API_KEY"),
        "groq": Provider("openai", "https://api.groq.com/openai/v1", "GROQ_API_KEY"),
        "openrouter": Provider("openai", "https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
        "together": Provider("openai", "https://api.together.xyz/v1", "TOGETHER_API_KEY"),
        "mistral": Provider("openai", "https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
        "deepseek": Provider("openai", "https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
        "fireworks": Provider("openai", "https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
        "xai": Provider("openai", "https://api.x.ai/v1", "XAI_API_KEY"),
        "ollama": Provider("openai", "http://localhost:11434/v1"),
        "vllm": Provider("openai"),
        "llamacpp": Provider("openai"),
        "local": Provider("local"),
        "replay": Provider("replay"),
    }
)

EMBEDDED_MODEL: Final = "smollm2-135m"
LOCAL_MODELS: Final = (EMBEDDED_MODEL,)
