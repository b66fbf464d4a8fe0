"""Answers: text that only the seed, the prompt and the number of words decide, whatever the shape that says it."""

from __future__ import annotations

import hashlib
import time
from typing import Final

import msgspec

from headrace.mock.question import Question
from headrace.mock.settings import Settings

_VOCABULARY: Final = (
    "the a of and in to on by at for with from over under through after before between water river stream light stone "
    "hill road house field tree bird fish wind rain snow cloud sun moon star night day morning evening hour year time "
    "hand eye word story song name voice sound line page book door wall roof fire smoke iron gold glass salt bread "
    "milk wine seed leaf root grass flower branch shore island bridge boat sail rope wheel mill stair lamp clock map "
    "letter paper ink game child mother father friend stranger king farmer sailor baker teacher runs falls turns "
    "rises grows holds breaks opens closes carries follows finds loses keeps gives takes makes knows sees hears says "
    "asks waits"
)
_PLAIN: Final = _VOCABULARY.split()
# So that every answer has characters of two, three and four bytes.
_WIDE: Final = ("café", "naïve", "Zürich", "水", "川の", "río", "🌊", "déjà")
_WIDE_EVERY: Final = 8
_FRAGMENT: Final = 12


def _words(seed: int, prompt: str, count: int) -> list[str]:
    """Words, each but the first with the space before it; fewer words are always the beginning of more."""
    digest = hashlib.shake_128(f"{seed}\0{prompt}".encode("utf-8", "surrogatepass")).digest(count)
    words = [_TABLE[byte] for byte in digest]
    words[1::_WIDE_EVERY] = [_WIDE_TABLE[byte] for byte in digest[1::_WIDE_EVERY]]
    if words:
        words[0] = words[0][1:]
    return words


_TABLE: Final = tuple(f" {_PLAIN[byte % len(_PLAIN)]}" for byte in range(256))
_WIDE_TABLE: Final = tuple(f" {_WIDE[byte % len(_WIDE)]}" for byte in range(256))


def answer_text(seed: int, prompt: str, tokens: int) -> str:
    """What the mock answers: `prompt` is the text of all messages, joined by line feeds."""
    return "".join(_words(seed, prompt, tokens))


class Call(msgspec.Struct, frozen=True):
    """One tool call."""

    index: int
    name: str
    arguments: str

    @property
    def digest(self) -> str:
        """For an id that is the same for the same call, and another for each of one answer."""
        return f"{self.index}_{hashlib.sha256(self.arguments.encode()).hexdigest()[:12]}"

    @property
    def fragments(self) -> list[str]:
        """The arguments in pieces, of which each is a token."""
        return [self.arguments[start : start + _FRAGMENT] for start in range(0, len(self.arguments), _FRAGMENT)]


class Usage(msgspec.Struct, frozen=True):
    """Counted tokens."""

    input: int
    output: int
    reasoning: int
    """A part of `output`."""


class Answer(msgspec.Struct, frozen=True):
    """One answer, before any shape says it and before anything goes wrong with it."""

    question: Question
    settings: Settings
    number: int
    """Counts requests; it is in the id."""
    content: list[str]
    """The words of the text, each but the first with the space before it."""
    reasoning: list[str]
    calls: list[Call]
    finish: str
    """In OpenAI's chat words: `stop`, `length`, `tool_calls`, or a recording's own."""
    text: str
    sha256: str
    """Of the text."""
    created: int
    """Seconds since 1970."""

    @property
    def mark(self) -> str:
        """The beginning of its digest, for a field of the body: proxies may drop headers."""
        return self.sha256[:16]

    @property
    def usage(self) -> Usage:
        """What it costs; a token is a word, or a fragment of arguments."""
        output = len(self.content) + len(self.reasoning) + sum(len(call.fragments) for call in self.calls)
        return Usage(len(self.question.prompt.split()), output, len(self.reasoning))


def made_up(question: Question, settings: Settings, number: int) -> Answer:
    """The answer to a question; `number` counts requests."""
    seed, prompt = settings.seed, question.prompt
    limit = question.max_tokens or settings.tokens
    calls = [_call(question, seed, index) for index in range(settings.tool_calls)]
    return _answer(
        question,
        settings,
        number,
        _words(seed, prompt, min(limit, settings.tokens)),
        reasoning=_words(seed, prompt + "\0reasoning", settings.reasoning),
        calls=calls,
        finish="length" if limit < settings.tokens else "tool_calls" if calls else "stop",
    )


def quoted(question: Question, settings: Settings, text: str, finish: str) -> Answer:
    """A text from elsewhere as an answer."""
    words = [word if index == 0 else f" {word}" for index, word in enumerate(text.split(" "))] if text else []
    return _answer(question, settings, 0, words, reasoning=[], calls=[], finish=finish)


def _answer(
    question: Question,
    settings: Settings,
    number: int,
    content: list[str],
    *,
    reasoning: list[str],
    calls: list[Call],
    finish: str,
) -> Answer:
    text = "".join(content)
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    return Answer(question, settings, number, content, reasoning, calls, finish, text, digest, int(time.time()))


def _call(question: Question, seed: int, index: int) -> Call:
    names = question.tools or ("mock_tool",)
    words = answer_text(seed, f"{question.prompt}\0{index}", 6)
    arguments = msgspec.json.encode({"query": words, "index": index}).decode()
    return Call(index, names[index % len(names)], arguments)
