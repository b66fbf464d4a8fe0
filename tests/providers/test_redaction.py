from __future__ import annotations

import pytest

from headrace.errors import UpstreamError
from headrace.providers.redaction import Redactor

pytestmark = pytest.mark.promise("P36")


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        ("Incorrect API key provided: sk-abcdefgh.", "Incorrect API key provided: ***"),
        ("key sk-proj-AB_cd-12** is wrong", "key *** is wrong"),
        ("key sk-ab...wxyz is wrong", "key *** is wrong"),
        ("gsk_0123456789abc", "***"),
        ("AIzaSyA1234567", "***"),
        ("Authorization: Bearer abc.def-ghi", "Authorization: Bearer ***"),
        ("bearer  abc", "bearer  ***"),
        ('{"Authorization":"Basic dXNlcjpwYXNz"}', '{"Authorization":"Basic ***"}'),
        ("a task-list, sk- and risk-free words stay", "a task-list, sk- and risk-free words stay"),
    ],
)
def test_keys_of_any_vendor_are_masked(text: str, masked: str):
    assert Redactor([]).text(text) == masked


def test_configured_values_are_masked_wherever_they_stand():
    redactor = Redactor(["Bearer open-sesame", "open-sesame-long"])
    assert redactor.text("got open-sesame and open-sesame-long!") == "got *** and ***!"


def test_short_values_are_words_and_stay():
    assert Redactor(["true"]).text("that is true") == "that is true"


def test_an_error_is_masked_in_message_and_arguments():
    error = Redactor(["open-sesame"]).error(UpstreamError("open-sesame is wrong"))
    assert (error.message, str(error), "sesame" in repr(error)) == ("*** is wrong", "*** is wrong", False)
