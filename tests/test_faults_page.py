"""docs/faults.md lists every failure, as the tables of tests, and those of an outage, expect them."""

from __future__ import annotations

import re
from pathlib import Path

from tests.e2e.test_fault_table import REJECTED, SECTIONS
from tests.engine import test_outage
from tests.engine.test_fault_table import FAULTS

PAGE = (Path(__file__).parents[1] / "docs" / "faults.md").read_text(encoding="utf-8")
LISTED = {
    (code, int(status), help == "may help")
    for code, status, help in re.findall(
        r"^\| .* \| `(\w+)`.*? \| (\d+) \| (may help|does not help)", PAGE, re.MULTILINE
    )
}


def test_the_page_lists_what_the_streams_end_with() -> None:
    ends = {("cancelled" if end.state == "cancelled" else end.word, *end[2:4]) for _, end, _ in FAULTS.values()}
    assert ends - {("stop", 200, False)} | {test_outage.END} == LISTED


def test_the_page_lists_what_the_mock_leads_to() -> None:
    ends = {end for section in SECTIONS for _, end, _ in section.rows.values() if end.state == "failed"}
    assert {(end.word, end.status, end.retryable) for end in ends - {REJECTED}} <= LISTED
