"""Inputs out of inputs: damage to bytes, and changes to the JSON in them that leave it JSON.

Both engines use it: hypothesis gives it the `Random`, libFuzzer the seed of one. Bytes alone would nearly always break
the syntax and never get behind the parser.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from random import Random
from typing import Any

# Where parsers part ways: limits of number types, halves of characters, our own markers, words of the formats.
_VALUES: list[Any] = [
    *(None, True, False, 0, -0.0, -1, 1, 7, 0.5, 255, 2**31, 2**53 + 1, 2**63, 2**64, -(2**63) - 1, 2**70, 1e308),
    *("", "a", "é€😀", "\ud83d", "\ude00", "\u2028", "\x00", "\x85", '"\\', "\r\n", "[DONE]", "0", "1.5", "null", "*"),
    *("text", "stop", "assistant", "user", "function", "openai.chat", "grace(30)", "a" * 300, "é" * 200),
    *([], {}, [[]], [None], {"": None}, [{}], {"error": {}}, [0, "a", {}]),
]
_PIECES: list[bytes] = [
    *(b"\n", b"\r", b"\r\n", b"\n\n", b"\0", b":", b" ", b",", b";", b"=", b"{", b"}", b"[", b"]", b'"', b"\\u", b"\\"),
    *(b"data: ", b"event: ", b"id: ", b"retry: ", b"[DONE]", b"null", b"${", b"}", b"*", b"&a ", b"*a", b"<<: ", b"!!"),
    *(
        b"\xef\xbb\xbf",
        b"\xff",
        b"\xe2\x82",
        b"\xf0\x9f\x98\x80",
        b"-1",
        b"1e999",
        b"9" * 40,
        b"[" * 300,
        b'{"a":' * 300,
    ),
]
_DEEPEST = 300


def mutated(data: bytes, random: Random, largest: int) -> bytes:
    """One to three changes, and at most `largest` bytes."""
    for _ in range(random.randint(1, 3)):
        data = (_damaged if random.random() < 0.4 else _changed)(data, random)
    return data[:largest]


def _damaged(data: bytes, random: Random) -> bytes:
    """A change of bytes, wherever that is."""
    start = random.randint(0, len(data))
    end = min(len(data), start + random.choice((0, 1, 2, 8, 64)))
    match random.randint(0, 4):
        case 0:
            return data[:start] + data[end:]
        case 1:
            return data[:start] + random.choice(_PIECES) + data[end:]
        case 2:
            return data[:end] + data[start:end] * random.choice((1, 2, 20)) + data[end:]
        case 3:
            return data[:start] + random.randbytes(end - start) + data[end:]
        case _:
            other = random.randint(0, len(data))
            return data[:start] + data[other : other + end - start] + data[end:]


def _changed(data: bytes, random: Random) -> bytes:
    """A change of the JSON of one line, or of the order of the lines; of bytes where there is no JSON."""
    lines = data.split(b"\n")
    number = random.randrange(len(lines))
    if len(lines) > 1 and random.random() < 0.2:
        return b"\n".join(_reordered(lines, number, random))
    start = next((place for place, byte in enumerate(lines[number]) if byte in b"{["), -1)
    try:
        value = json.loads(lines[number][start:] if start >= 0 else b"null")
        text = json.dumps(_edited(value, random), ensure_ascii=random.random() < 0.5) if value else ""
    except (ValueError, RecursionError):
        text = ""
    if not text:
        return _damaged(data, random)
    lines[number] = lines[number][:start] + text.encode("utf-8", "surrogatepass")
    return b"\n".join(lines)


def _reordered(lines: list[bytes], number: int, random: Random) -> list[bytes]:
    line = lines[number]
    match random.randint(0, 2):
        case 0:
            return [*lines[:number], *lines[number + 1 :]]
        case 1:
            return [*lines[:number], line, *lines[number:]]
        case _:
            other = random.randrange(len(lines))
            lines[number], lines[other] = lines[other], line
            return lines


def _edited(value: Any, random: Random) -> Any:
    """The value with one place in it changed."""
    places = list(_places(value))
    if not places:
        return random.choice(_VALUES)
    holder, key = random.choice(places)
    _EDITS[random.randrange(len(_EDITS))](holder, key, places, random)
    return value


Place = tuple[Any, Any]


def _places(value: Any) -> Iterator[Place]:
    """Every value inside, as what holds it and its key there."""
    waiting = [value]
    while waiting:
        holder = waiting.pop()
        keys: Sequence[Any] = list(holder) if isinstance(holder, dict) else range(len(holder))
        for key in keys:
            yield holder, key
            if isinstance(holder[key], dict | list):
                waiting.append(holder[key])


def _replace(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    holder[key] = random.choice(_VALUES)


def _remove(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    del holder[key]


def _copy(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    other, name = random.choice(places)
    holder[key] = json.loads(json.dumps(other[name]))


def _add(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    """One more field or element; a field by a name that is known elsewhere."""
    value = random.choice(_VALUES)
    if isinstance(holder, list):
        holder += [value if random.random() < 0.5 else json.loads(json.dumps(holder[key]))] * random.choice((1, 3))
    else:
        names = [name for _, name in places if isinstance(name, str)]
        holder[random.choice([*names, "x_vendor"])] = value


def _wrap(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    value = holder[key]
    for _ in range(random.choice((1, 1, 1, 2, _DEEPEST))):
        value = [value]
    holder[key] = value if random.random() < 0.5 else {"text": value}


def _nudge(holder: Any, key: Any, places: list[Place], random: Random) -> None:
    """Nearly the same value."""
    value = holder[key]
    if isinstance(value, str):
        place = random.randint(0, len(value))
        text = next(each for each in random.sample(_VALUES, len(_VALUES)) if isinstance(each, str))
        holder[key] = value[:place] + text + value[place:]
    elif isinstance(value, int | float):
        holder[key] = value + random.choice((-1, 1))


_EDITS: list[Callable[[Any, Any, list[Place], Random], None]] = [
    _replace,
    _replace,
    _remove,
    _copy,
    _add,
    _wrap,
    _nudge,
]
