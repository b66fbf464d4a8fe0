import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.config import Disconnect, parse_disconnect
from headrace.config.quantities import parse_bytes, parse_flag, parse_seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("0", 0), ("30", 30), ("0.5", 0.5), ("50ms", 0.05), ("30s", 30), ("5m", 300), ("1h", 3600), ("2 d", 172_800)],
)
def test_a_duration_is_read_in_seconds(text: str, seconds: float):
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1", "1e3", "inf", "nan", "5 minutes", "1h30m", "٣", "1.", "5M"])
def test_what_is_no_duration_is_refused_with_examples(text: str):
    with pytest.raises(ValueError, match="expected a duration such as 30, 30s, 5m or 1h"):
        parse_seconds(text)


@pytest.mark.parametrize(
    ("text", "size"),
    [("1", 1), ("8MB", 8_000_000), ("32MiB", 33_554_432), ("1 gib", 2**30), ("1.5KiB", 1536), ("7b", 7)],
)
def test_a_size_is_read_in_bytes(text: str, size: int):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-1", "8M", "1e6", "8 megabytes", "٣MB"])
def test_what_is_no_size_is_refused_with_examples(text: str):
    with pytest.raises(ValueError, match="expected a size such as 8388608, 8MB or 32MiB"):
        parse_bytes(text)


def test_a_fraction_of_a_byte_is_refused():
    with pytest.raises(ValueError, match="whole number of bytes"):
        parse_bytes("1.0001KB")


@pytest.mark.parametrize(("text", "flag"), [("TRUE", True), ("yes", True), ("1", True), ("off", False), ("No", False)])
def test_a_flag_is_read_as_people_write_it(text: str, flag: bool):
    assert parse_flag(text) is flag


def test_what_is_no_flag_is_refused():
    with pytest.raises(ValueError, match="expected true or false"):
        parse_flag("maybe")


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("cancel", Disconnect("cancel")),
        (" Continue ", Disconnect("continue")),
        ("grace(30)", Disconnect("grace", 30)),
        ("grace=30", Disconnect("grace", 30)),
        ("grace=0.5", Disconnect("grace", 0.5)),
        ("grace(5m)", Disconnect("grace", 300)),
        ("grace=0", Disconnect("grace", 0)),
    ],
)
def test_a_disconnect_policy_is_read(text: str, policy: Disconnect):
    assert parse_disconnect(text) == policy


@pytest.mark.parametrize(
    "text", ["", "grace", "grace()", "grace=", "grace(-1)", "grace(30", "grace(3)(4)", "stop", "cancel=3", "grace=nan"]
)
def test_what_is_no_disconnect_policy_is_refused_with_examples(text: str):
    with pytest.raises(ValueError, match=r"expected cancel, continue or grace\(seconds\), such as grace\(30\)"):
        parse_disconnect(text)


def test_a_grace_over_a_day_is_refused_with_the_alternative():
    with pytest.raises(ValueError, match="at most 86400 seconds; use continue"):
        parse_disconnect("grace(2d)")


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    "text", ["grace=1" + " " * 1_000_000 + "!", "grace(" + " " * 1_000_000, "grace=" + "1" * 1_000_000]
)
def test_a_policy_that_is_long_is_refused_as_fast_as_it_is_read(text: str):
    """A second for each is far too much; the search that this replaces took hours."""
    with pytest.raises(ValueError, match="expected"):
        parse_disconnect(text)


@given(st.builds(Disconnect, st.just("grace"), st.integers(0, 86_400).map(float)) | st.just(Disconnect("cancel")))
def test_a_written_policy_reads_back_as_itself(policy: Disconnect):
    assert parse_disconnect(str(policy)) == policy


@given(st.text())
def test_any_text_is_a_policy_or_a_value_error(text: str):
    for parse in (parse_disconnect, parse_seconds, parse_bytes, parse_flag):
        try:
            parse(text)
        except ValueError as error:
            assert "expected" in str(error) or "at most" in str(error)
