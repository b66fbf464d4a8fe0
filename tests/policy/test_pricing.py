"""What tokens cost at list prices."""

import pytest

from headrace.events import Usage
from headrace.policy.pricing import cost_of


def test_an_answer_has_the_price_of_its_tokens() -> None:
    once = cost_of(Usage(1000, 100), "openai", "gpt-4o-mini")
    assert once is not None and once > 0
    assert cost_of(Usage(2000, 200), "openai", "gpt-4o-mini") == pytest.approx(2 * once)


def test_what_came_from_the_cache_is_cheaper() -> None:
    fresh, cached = (
        cost_of(usage, "anthropic", "claude-sonnet-4-5") for usage in (Usage(1000, 1), Usage(1000, 1, 900))
    )
    assert fresh is not None and cached is not None and cached < fresh


@pytest.mark.parametrize(
    ("usage", "provider", "model"),
    [
        (Usage(1, 1), "openai", "no-such-model"),
        (Usage(1, 1), "vllm", "gpt-4o-mini"),
        (Usage(1, 1), "local", "smollm2-135m"),
        (Usage(1, 1, cached=5), "openai", "gpt-4o-mini"),
    ],
)
def test_what_is_not_in_the_list_has_no_price(usage: Usage, provider: str, model: str) -> None:
    assert cost_of(usage, provider, model) is None
