"""What the mock is asked for, and what must arrive of it: the truth that every stream is held against."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random
from typing import Any, Final, Literal, NamedTuple

import msgspec

from benchmarks.soak.faults import CLEAN, FINISHED, Fault, draw_fault
from headrace.mock import answer_text

_FRAGMENT: Final = 12
"""Characters of a tool call's arguments in one frame of the mock."""
_FRAGMENTS: Final = 6
"""About so many frames a call."""
_EMPTY: Final = 0.02
"""Of so many answers the text has no word."""
_LONGEST_GAP_S: Final = 2.0
_LONGEST_DRAWN_S: Final = 0.25
"""The mean of an exponential distribution; twenty times that is drawn once in a hundred million times."""
_CHUNK_WORDS: Final = (1, 1, 1, 1, 2, 5)


class Part(NamedTuple):
    """One frame of the answer that says something."""

    kind: Literal["reasoning", "text", "args"]
    text: str
    call: int = 0
    """Which tool call."""


class Recipe(NamedTuple):
    """One answer, and what goes wrong with it."""

    tokens: int
    """Words of text."""
    gap: str
    ttft: float
    reasoning: int
    tool_calls: int
    chunk_words: int
    seconds: float
    """About how long it takes when nothing goes wrong."""
    fault: Fault

    def wishes(self) -> dict[str, Any]:
        """As the mock reads it: in the body of a request, or in the settings of a rule."""
        return {
            "tokens": self.tokens,
            "gap": self.gap,
            "ttft": self.ttft,
            "reasoning": self.reasoning,
            "tool-calls": self.tool_calls,
            "chunk-words": self.chunk_words,
        }


def draw_recipe(random: Random, longest_s: float, *, once: bool) -> Recipe:
    """Lengths from nothing to a few hundred tokens, gaps from 4 ms to over a second; `once`: see `draw_fault`."""
    fewest = random.choice((2, 12, 12, 12))
    tokens = 0 if random.random() < _EMPTY else round(fewest * (300 / fewest) ** random.random())
    chunk_words = random.choice(_CHUNK_WORDS)
    frames = -(-tokens // chunk_words)
    fault = draw_fault(random, frames, once=once) if tokens else CLEAN
    reasoning = tool_calls = 0
    if tokens and not fault.plain:  # what arrives of a plain answer is only known where it is nothing but text
        reasoning = random.randint(1, 20) if random.random() < 0.25 else 0
        tool_calls = random.randint(1, 3) if random.random() < 0.15 else 0
    frames += reasoning // chunk_words + tool_calls * _FRAGMENTS
    gap_s = min(random.uniform(0.6, 1.0) * longest_s / max(frames, 1), _LONGEST_GAP_S)
    # An answer that never begins is asked for again, and all tries are within the time for the first token.
    ttft = random.choice((0.0, 0.0, 0.05, 0.5, 2.0)) if fault.exact else 0.0
    return Recipe(tokens, _gap(random, gap_s), ttft, reasoning, tool_calls, chunk_words, ttft + gap_s * frames, fault)


def _gap(random: Random, mean: float) -> str:
    pace = random.random()
    if pace < 0.3 and mean < _LONGEST_DRAWN_S:
        return f"exp:{mean:.4f}"
    if pace < 0.6:
        return f"uniform:{mean / 2:.4f},{mean * 1.5:.4f}"
    return f"{mean:.4f}"


def parts_of(recipe: Recipe, seed: int, prompt: str) -> list[Part]:
    """All that the mock has to say, frame by frame, before anything goes wrong."""
    size = recipe.chunk_words
    parts = [Part("reasoning", text) for text in _pieces(seed, f"{prompt}\0reasoning", recipe.reasoning, size)]
    parts += [Part("text", text) for text in _pieces(seed, prompt, recipe.tokens, size)]
    for call in range(recipe.tool_calls):
        words = answer_text(seed, f"{prompt}\0{call}", 6)
        arguments = msgspec.json.encode({"query": words, "index": call}).decode()
        starts = range(0, len(arguments), _FRAGMENT)
        parts += [Part("args", arguments[start : start + _FRAGMENT], call) for start in starts]
    return parts


def _pieces(seed: int, prompt: str, count: int, size: int) -> list[str]:
    """The words, each but the first with the space before it, so many in a piece."""
    if not count:
        return []
    first, *others = answer_text(seed, prompt, count).split(" ")
    words = [first, *(f" {word}" for word in others)]
    return ["".join(words[start : start + size]) for start in range(0, count, size)]


def arriving(recipe: Recipe, parts: Sequence[Part]) -> Sequence[Part]:
    """What the upstream's fault lets through; with `cut-bytes` at most."""
    fault = recipe.fault
    if fault.every:  # the opening frame is the first one
        return [part for number, part in enumerate(parts, 2) for _ in range(2 if number % fault.every == 0 else 1)]
    if fault.keeps is None:
        return parts
    if not fault.in_character:
        return parts[: fault.keeps]
    wide = [place for place, part in enumerate(parts) if place >= fault.keeps and not part.text.isascii()]
    return parts[: wide[0]] if wide else parts


def outcomes(recipe: Recipe, parts: Sequence[Part]) -> set[tuple[str, str]]:
    """The ends, as state and code, that the answer may come to when nobody stops it."""
    fault = recipe.fault
    if not fault.exact:
        return {fault.outcome, FINISHED}
    if fault.in_character and len(arriving(recipe, parts)) == len(parts):
        return {FINISHED}  # there was no such character
    return {fault.outcome}


def text_of(parts: Sequence[Part], kind: str, call: int = 0) -> str:
    """All of one kind, joined."""
    return "".join(part.text for part in parts if part.kind == kind and part.call == call)
