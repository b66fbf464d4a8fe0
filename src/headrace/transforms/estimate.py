"""How many tokens a text is, roughly, where nobody counted (P27).

A count needs the vocabulary of the model: megabytes for each family, and a model that is known by name. Here every
character has a weight by its kind, which its first byte in UTF-8 tells. Measured with 98 texts and the tokenizers of
four families, half of the estimates are within 9 % of the count, where the usual four characters a token are within
26 %; docs/decisions/0007 has the numbers, and where it is further off.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

import msgspec

from headrace.bodies import LongBody
from headrace.messages import Message, Request, Tool

_PER_TOKEN = 20
# Weights of one character, in twentieths of a token, by the first and the last value of its first byte; its further
# bytes weigh nothing. A later row beats an earlier one.
_KINDS = (
    (22, 0x00, 0x1F),  # line ends, tabs
    (10, 0x20, 0x7F),  # punctuation, and a run of spaces
    (18, ord("0"), ord("9")),
    (6, ord("A"), ord("Z")),
    (3, ord("a"), ord("z")),
    (22, 0xC2, 0xCD),  # accented Latin letters: they break a word into more tokens
    (5, 0xCE, 0xD3),  # Greek, Cyrillic
    (8, 0xD4, 0xE1),  # Armenian to Khmer: Hebrew, Arabic, the scripts of India, Thai
    (22, 0xE2, 0xE2),  # typographic punctuation, symbols
    (13, 0xE3, 0xED),  # kana, Chinese characters, Hangul
    (20, 0xEE, 0xEF),  # full-width forms, variation selectors
    (44, 0xF0, 0xF4),  # emoji, rare scripts
)
_SPACES = re.compile(b" {2,}")
"""Indentation is one token, however deep."""
_PER_MESSAGE = 4
"""Tokens that mark a message, its role and its end."""
_MOST_LOOKED_AT = 65_536
"""Characters, a millisecond's work: a longer text is taken to go on as it began. Nobody's tokens wait for 30 MB."""
_FEWEST_DELTAS, _MOST_DELTAS = 0.7, 2.0
"""Deltas for each token of the text's estimate between which they are taken for the tokens themselves."""


def _weights() -> bytes:
    table = bytearray(256)
    for weight, first, last in _KINDS:
        table[first : last + 1] = bytes([weight]) * (last + 1 - first)
    return bytes(table)


_WEIGHTS = _weights()


def tokens_of(text: str) -> int:
    """About how many tokens it is: at least one for any text, and never fewer when something is added to it."""
    if len(text) > _MOST_LOOKED_AT:
        return tokens_of(text[:_MOST_LOOKED_AT]) * len(text) // _MOST_LOOKED_AT
    data = _SPACES.sub(b" ", text.encode("utf-8", "surrogatepass"))
    return max(-(-sum(data.translate(_WEIGHTS)) // _PER_TOKEN), bool(text))


class PromptEstimate:
    """About how many tokens a prompt is. Images, reasoning and other parts that are no text are not counted."""

    def __init__(self) -> None:
        self._known = self._looked_at = self._left = self._messages = 0

    def add_tools(self, tools: Iterable[Tool]) -> None:
        """Count the descriptions of tools."""
        self._add("".join(map(_tool_text, tools)))

    def add(self, messages: Iterable[Message], body: LongBody | None = None) -> None:
        """Count messages; `body` is what the strings in them may stand for."""
        for message in messages:
            self._messages += 1
            if body is None:
                self._add("".join(_texts_of(message)))
            else:
                for text in _texts_of(message):
                    self._add(*body.sample(text))

    def _add(self, text: str, length: int | None = None) -> None:
        """Count a text, or a longer one that begins so."""
        length = len(text) if length is None else length
        if self._looked_at < _MOST_LOOKED_AT:
            self._known += tokens_of(text) * length // max(len(text), 1)
            self._looked_at += length
        else:
            self._left += length

    @property
    def tokens(self) -> int:
        """All so far."""
        return self._known + self._left * self._known // max(self._looked_at, 1) + _PER_MESSAGE * self._messages


def input_tokens_of(request: Request) -> int:
    """About how many tokens a prompt is, with its tools."""
    if request.input_tokens is not None:
        return request.input_tokens
    estimate = PromptEstimate()
    estimate.add_tools(request.tools)
    estimate.add(request.messages)
    return estimate.tokens


def _texts_of(message: Message) -> Iterator[str]:
    """Not reasoning: model servers take it back, and leave it out of what the model reads."""
    for part in message.parts:
        if part.kind in ("text", "refusal"):
            yield part.text
    for call in message.tool_calls:
        yield call.name
        yield call.arguments


def _tool_text(tool: Tool) -> str:
    return f"{tool.name} {tool.description or ''} {msgspec.json.encode(tool.parameters).decode()}\n"


def output_tokens_of(text: str, deltas: int) -> int:
    """About how many an answer is that came in so many pieces.

    Most servers send every token on its own: where the text says that this may be so, the pieces are the better count.
    """
    estimate = tokens_of(text)
    return deltas if _FEWEST_DELTAS * estimate <= deltas <= _MOST_DELTAS * estimate else estimate
