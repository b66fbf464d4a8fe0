"""What an answer cost, by the list prices that genai-prices maintains."""

from __future__ import annotations

import importlib
from typing import Any

from headrace.events import Usage


def load() -> None:
    """Read the price list, so that nobody waits for it later."""
    cost_of(Usage(1, 1), "openai", "gpt-4o-mini")


def cost_of(usage: Usage, provider: str, model: str) -> float | None:
    """US dollars for these tokens at the provider's list prices; None where the list does not have the model.

    `provider` is a name that a `model` of the configuration may begin with, and `model` the provider's own name. The
    first call, which `load` makes, reads the list: a tenth of a second; half a millisecond after that.
    """
    prices: Any = importlib.import_module("genai_prices")
    tokens = prices.Usage(
        input_tokens=usage.input,
        output_tokens=usage.output,
        cache_read_tokens=usage.cached or None,
        cache_write_tokens=usage.cache_write or None,
    )
    try:
        return float(prices.calc_price(tokens, model_ref=model, provider_id=provider).total_price)
    except (LookupError, ValueError):  # unknown, or counts that do not fit each other
        return None
