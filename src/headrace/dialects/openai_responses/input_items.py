"""What a stored request said, as `GET …/input_items` lists it: a page of items, each with an id."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw

from headrace.bodies import LongBody
from headrace.dialects.openai_responses.chain import Asked, said_by

_elements_of = msgspec.json.Decoder(list[dict[str, Raw]]).decode
_text_of = msgspec.json.Decoder(str).decode
_encode = msgspec.json.encode
_PREFIXES = {"message": "msg", "function_call": "fc", "function_call_output": "fco", "reasoning": "rs"}


class Item(msgspec.Struct, frozen=True):
    """One item: its id, and its JSON object."""

    id: str
    fields: dict[str, Any]


class Page:
    """The items of one page, found one after the other; nothing else is kept."""

    def __init__(self, *, limit: int, after: str | None, newest_first: bool) -> None:
        """`after` is the id that the page before ended with."""
        self._limit = limit
        self._after = after
        self._newest_first = newest_first
        self._found: deque[Item] = deque(maxlen=limit + 1)
        self._collects = after is None or newest_first
        self.met = after is None
        """Whether `after` is one of the items so far."""
        self.full = False
        """Whether the items that are left do not matter."""

    def add(self, items: list[Item]) -> None:
        """Take the next ones, in the order in which they were said."""
        for item in items:
            if self.full:
                return
            if item.id == self._after:
                self.met = self._collects = True
                self.full = self._newest_first
            elif self._collects:
                self._found.append(item)
                self.full = not self._newest_first and len(self._found) > self._limit

    def json(self, asked: Asked) -> bytes:
        """The list object; `asked` is the request that the items are of."""
        found = list(reversed(self._found)) if self._newest_first else list(self._found)
        more = len(found) > self._limit
        found = found[: self._limit]
        listed = {
            "object": "list",
            "data": [item.fields for item in found],
            "first_id": found[0].id if found else None,
            "last_id": found[-1].id if found else None,
            "has_more": more,
        }
        data = _encode(listed)
        return b"".join(asked.restored(data)) if isinstance(asked, LongBody) else data


def batches(asked: Asked, stream_id: str) -> Iterator[list[Item]]:
    """All items of a request, some at a time."""
    index = 0
    for run in said_by(asked):
        elements = _elements_of(b"[%b]" % run)
        yield [_item(stream_id, number, fields) for number, fields in enumerate(elements, index)]
        index += len(elements)


def _item(stream_id: str, index: int, fields: dict[str, Raw]) -> Item:
    """As it came, with the fields that official clients require; an id of ours is the same in every read."""
    kind = _text(fields.get("type")) or "message"
    name = _text(fields.get("id")) or f"{_PREFIXES.get(kind, 'item')}_{stream_id}_in{index}"
    whole: dict[str, Any] = {"status": "completed"} if kind == "message" else {}
    whole |= {**fields, "id": name, "type": kind}
    content = fields.get("content")
    if kind == "message" and content is not None and bytes(content).startswith(b'"'):
        said = "output_text" if _text(fields.get("role")) == "assistant" else "input_text"
        whole["content"] = [{"type": said, "text": content}]
    return Item(name, whole)


def _text(value: Raw | None) -> str:
    """A field that is a string; nothing of one that is not."""
    return _text_of(value) if value is not None and bytes(value).startswith(b'"') else ""
