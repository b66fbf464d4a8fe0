"""deploy/alerts.yaml: that each rule can be read, and is explained; that Headrace has what it asks is in tests/e2e."""

from __future__ import annotations

from typing import Any

import promql_parser
import pytest

from tests.deploy.files import ROOT, alerts, metrics_in

RULES = pytest.mark.parametrize("rule", alerts(), ids=lambda rule: rule["alert"])


@RULES
def test_its_expression_is_promql(rule: dict[str, Any]) -> None:
    assert promql_parser.parse(rule["expr"])


@RULES
def test_what_it_looks_at_is_explained_in_operations(rule: dict[str, Any]) -> None:
    page = (ROOT / "docs" / "operations.md").read_text()
    for name in metrics_in(rule["expr"]):
        assert name.removesuffix("_bucket") in page


def test_each_says_how_bad_it_is_and_what_has_happened() -> None:
    rules = alerts()
    assert len({rule["alert"] for rule in rules}) == len(rules)
    assert {rule["labels"]["severity"] for rule in rules} == {"critical", "warning"}
    assert all(rule["annotations"]["summary"] for rule in rules)
