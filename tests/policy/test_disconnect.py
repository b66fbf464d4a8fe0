"""Who decides what a leaving reader means (P8)."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import Disconnect
from headrace.errors import BadRequest
from headrace.policy.disconnect import CANCEL, CONTINUE, GRACE, decide, shape_default, unread

pytestmark = pytest.mark.promise("P8")

POLICIES = st.sampled_from([CANCEL, CONTINUE, GRACE, Disconnect("grace", 5.0)])


@pytest.mark.parametrize(
    ("stream", "has_key", "policy"),
    [(True, False, GRACE), (True, True, GRACE), (False, True, GRACE), (False, False, CANCEL)],
)
def test_the_shapes_default(stream: bool, has_key: bool, policy: Disconnect) -> None:
    assert shape_default(stream=stream, has_key=has_key) == policy


@given(st.none() | POLICIES, POLICIES)
def test_without_a_header_the_configured_policy_beats_the_default(
    configured: Disconnect | None, default: Disconnect
) -> None:
    assert decide(None, configured, default) == (configured or default)


@given(POLICIES, st.none() | POLICIES, POLICIES)
def test_the_header_beats_everything(asked: Disconnect, configured: Disconnect | None, default: Disconnect) -> None:
    assert decide(str(asked), configured, default) == asked


@pytest.mark.parametrize(
    ("header", "policy"),
    [
        ("cancel", CANCEL),
        (" Continue ", CONTINUE),
        ("grace=30", GRACE),
        ("grace(30)", GRACE),
        ("grace=1.5", Disconnect("grace", 1.5)),
        ("grace=0", Disconnect("grace", 0.0)),
        ("grace=86400", Disconnect("grace", 86400.0)),
    ],
)
def test_the_header_is_read(header: str, policy: Disconnect) -> None:
    assert decide(header, None, CANCEL) == policy


@pytest.mark.promise("P25")
@given(st.text())
def test_any_header_is_a_policy_with_finite_seconds_or_refused_by_its_name(header: str) -> None:
    for text in (header, f"grace={header}", f"grace({header})"):
        try:
            policy = decide(text, GRACE, CANCEL)
        except BadRequest as refused:
            assert refused.param == "headrace-on-disconnect"
        else:
            assert policy.mode in ("cancel", "continue", "grace") and 0 <= policy.seconds <= 86_400


def test_a_stream_that_nobody_reads_yet_is_not_cancelled_at_once() -> None:
    assert unread(CANCEL) == GRACE
    for policy in (CONTINUE, GRACE, Disconnect("grace", 5.0)):
        assert unread(policy) == policy
