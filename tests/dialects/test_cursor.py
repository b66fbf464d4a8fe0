import pytest
from hypothesis import given
from hypothesis import strategies as st

from headrace.dialects import cursor
from headrace.dialects.cursor import Cursor
from headrace.errors import InvalidCursor

letters = st.sampled_from("abcdefghijklmnopqrstuvwxyz")
cursors = st.builds(
    Cursor,
    code=letters,
    version=st.integers(0, 9999),
    params=st.text(letters, max_size=8),
    position=st.integers(0, 10**12 - 1),
)


@pytest.mark.promise("P4")
@given(cursors)
def test_a_cursor_survives_its_text_form(value: Cursor):
    assert cursor.parse(str(value)) == value
    assert str(value) == f"{value.prefix}{value.position}"


@pytest.mark.promise("P25")
@given(st.text(max_size=30) | st.from_regex(r"[a-z][0-9]{1,5}[a-z]{0,9}\.[0-9]{1,13}", fullmatch=False))
def test_any_text_is_a_cursor_or_an_invalid_cursor(text: str):
    try:
        value = cursor.parse(text)
    except InvalidCursor as problem:
        assert problem.param == "last_event_id"
        assert problem.status == 400
    else:
        assert str(value) == text


@pytest.mark.promise("P25")
@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "57",
        "c1",
        "c1.",
        "c1.-1",
        "c1.5 ",
        " c1.5",
        "c1.5\n",
        "C1.5",
        "c.5",
        "c1u5",
        "c1U.5",
        "c1.0x5",
        "c1.1_0",
        "c1.٣",
        "ç1.5",
        "c1.5.6",
        "c01.5",
        "c1.05",
        "c1." + "9" * 13,
        "c12345.5",
        "c1abcdefghi.5",
        "c1.5\x00",
    ],
)
def test_what_this_server_never_gave_out_is_refused(text: str):
    with pytest.raises(InvalidCursor):
        cursor.parse(text)
