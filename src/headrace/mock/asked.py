"""What a request asks for: its question, and what it says to the mock itself."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

import msgspec

from headrace.errors import BadRequest
from headrace.mock.faults import Fault, parse_faults
from headrace.mock.question import Question
from headrace.mock.settings import Overrides

_HEADERS = {
    "x-mock-tokens": "tokens",
    "x-mock-gap": "gap",
    "x-mock-ttft": "ttft",
    "x-mock-tool-calls": "tool-calls",
    "x-mock-reasoning": "reasoning",
    "x-mock-chunk-words": "chunk-words",
    "x-mock-stamp": "stamp",
}


class Asked(msgspec.Struct, frozen=True):
    """One request."""

    question: Question
    overrides: Overrides = Overrides()
    faults: tuple[Fault, ...] = ()


def read_wishes(question: Question, headers: Mapping[str, str]) -> Asked:
    """Add what is asked of the mock; the `mock` object of the body beats the `X-Mock-` headers, which come first.

    Raises:
        BadRequest: the mock is asked for something that it does not have.
    """
    wishes: dict[str, Any] = {_HEADERS[name]: value for name, value in headers.items() if name in _HEADERS}
    wishes.update(question.mock)
    written = wishes.pop("fault", "")
    listed: list[Any] = [headers.get("x-mock-fault", ""), *(_listed(written))]
    faults = tuple(fault for text in listed for fault in parse_faults(str(text)))
    return Asked(question, _overrides(wishes), faults)


def _listed(written: Any) -> list[Any]:
    return cast("list[Any]", written) if isinstance(written, list) else [written]


def _overrides(wishes: dict[str, Any]) -> Overrides:
    try:
        # Not strict: headers are text.
        return msgspec.convert(wishes, Overrides, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The mock was asked for what it does not have: {error}.", param="mock") from None
