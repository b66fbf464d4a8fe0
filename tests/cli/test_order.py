import pytest

from headrace.cli.order import Order, decode, encode
from headrace.config import load


@pytest.mark.promise("P36")
def test_a_worker_gets_the_whole_configuration_with_its_keys_in_one_line():
    config = load(
        None,
        {
            "OPENAI_API_KEY": "sk-up\\stream",
            "ANTHROPIC_API_KEY": "sk-ant",
            "HEADRACE_API_KEYS": "alice=sesame",
            "HEADRACE_ON_DISCONNECT": "grace(7)",
            "HEADRACE_REDIS_URL": "redis://:hunter2@localhost",
        },
    )
    order = Order(config, 3, "/run/headrace", (7, 8))
    line = encode(order)
    assert line.endswith(b"\n") and line.count(b"\n") == 1
    assert decode(line) == order
    assert "sesame" not in repr(order)
