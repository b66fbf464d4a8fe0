"""How a target reads its input: a few numbers first, and a body that is cut as a network cuts it."""

from __future__ import annotations

from random import Random


def parted(data: bytes, count: int) -> tuple[list[int], bytes]:
    """The first bytes as numbers, missing ones as 0, and the rest."""
    numbers = list(data[:count])
    return numbers + [0] * (count - len(numbers)), data[count:]


def cut(body: bytes, seed: int) -> list[bytes]:
    """The body in pieces that the seed decides, some of them empty."""
    random = Random(seed)
    ends = sorted(random.randint(0, len(body)) for _ in range(random.randint(1, 8)))
    return [body[start:end] for start, end in zip([0, *ends], [*ends, len(body)], strict=True)]


def single(body: bytes) -> list[bytes]:
    """One byte after the other."""
    return [body[place : place + 1] for place in range(len(body))]


def head_and_body(data: bytes) -> tuple[str, list[tuple[str, str]], bytes]:
    """A request as people write it down: first line, headers with names in lower case, blank line, body."""
    head, _, body = data.partition(b"\n\n")
    first, *lines = head.decode("latin-1").split("\n")
    pairs = (line.partition(":") for line in lines)
    return first, [(name.strip().lower(), value.strip()) for name, colon, value in pairs if colon], body
