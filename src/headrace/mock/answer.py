"""Answers: text that only the seed, the prompt and the number of words decide, as chat completion chunks or as one."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import msgspec

from headrace.mock.asked import Asked
from headrace.mock.settings import Settings
from headrace.mock.steps import End, Frame, Pause, Step, Steps

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
_encode = msgspec.json.encode


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


class Answer:
    """One answer, before anything goes wrong with it."""

    def __init__(self, asked: Asked, settings: Settings, number: int) -> None:
        """`number` counts requests; it is in the id."""
        self._asked = asked
        self._settings = settings
        limit = asked.max_tokens or settings.tokens
        self._cut_short = limit < settings.tokens
        self._content = _words(settings.seed, asked.prompt, min(limit, settings.tokens))
        self._reasoning = _words(settings.seed, asked.prompt + "\0reasoning", settings.reasoning)
        self._calls = [self._call(index) for index in range(settings.tool_calls)]
        self.text = "".join(self._content)
        self.sha256 = hashlib.sha256(self.text.encode()).hexdigest()
        self._top: dict[str, Any] = {
            "id": f"chatcmpl-mock-{number}",
            "object": "chat.completion.chunk",
            "created": int(time.time()),
            "model": asked.model,
            # Survives proxies, which the headers do not.
            "system_fingerprint": f"fp_{self.sha256[:16]}",
        }

    def steps(self) -> Steps:
        """The body of a stream."""
        settings = self._settings
        if settings.ttft:
            yield Pause(settings.ttft)
        yield self._frame({"role": "assistant", "content": ""}, "opening")
        yield from self._stamps() if settings.stamp else self._paced(self._deltas())
        yield Frame(self._chunk([{"index": 0, "delta": {}, "finish_reason": self._finish}]), part="finish")
        if self._sends_usage:
            yield Frame(self._chunk([], usage=self._usage), part="finish")
        yield Frame(b"data: [DONE]\n\n", part="done")
        yield End()

    def whole(self) -> Steps:
        """The body of an answer that is not streamed; it comes when the last token of a stream would."""
        pauses = (step.seconds for step in self.steps() if isinstance(step, Pause))
        seconds = sum(pauses)
        if seconds:
            yield Pause(seconds)
        yield Frame(self.body, self._tokens)
        yield End()

    @property
    def body(self) -> bytes:
        """The answer as one JSON value."""
        message: dict[str, Any] = {"role": "assistant", "content": self.text or None, "refusal": None}
        if self._reasoning:
            message["reasoning_content"] = "".join(self._reasoning)
        if self._calls:
            message["tool_calls"] = self._calls
        choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": self._finish}
        value = {**self._top, "object": "chat.completion", "choices": [choice]}
        return _encode({**value, "usage": self._usage} if self._settings.usage is not False else value)

    @property
    def _finish(self) -> str:
        return "length" if self._cut_short else "tool_calls" if self._calls else "stop"

    @property
    def _tokens(self) -> int:
        fragments = sum(1 for call in self._calls for _ in _fragments(call["function"]["arguments"]))
        return len(self._content) + len(self._reasoning) + fragments

    @property
    def _sends_usage(self) -> bool:
        return self._asked.include_usage if self._settings.usage is None else self._settings.usage

    @property
    def _usage(self) -> dict[str, Any]:
        read, written = len(self._asked.prompt.split()), self._tokens
        return {
            "prompt_tokens": read,
            "completion_tokens": written,
            "total_tokens": read + written,
            "completion_tokens_details": {"reasoning_tokens": len(self._reasoning)},
        }

    def _call(self, index: int) -> dict[str, Any]:
        names = self._asked.tools or ("mock_tool",)
        words = answer_text(self._settings.seed, f"{self._asked.prompt}\0{index}", 6)
        arguments = _encode({"query": words, "index": index}).decode()
        function = {"name": names[index % len(names)], "arguments": arguments}
        return {
            "id": f"call_{index}_{hashlib.sha256(arguments.encode()).hexdigest()[:12]}",
            "type": "function",
            "function": function,
        }

    def _deltas(self) -> Iterator[Frame]:
        yield from self._text_frames("reasoning_content", self._reasoning)
        yield from self._text_frames("content", self._content)
        for index, call in enumerate(self._calls):
            opening = {**call, "index": index, "function": {**call["function"], "arguments": ""}}
            yield self._frame({"tool_calls": [opening]}, "opening")
            for fragment in _fragments(call["function"]["arguments"]):
                piece = {"index": index, "function": {"arguments": fragment}}
                yield self._frame({"tool_calls": [piece]}, "content", 1)

    def _text_frames(self, field: str, words: Sequence[str]) -> Iterator[Frame]:
        """The frames of nearly every answer, so their constant bytes are made once."""
        opening, ending = self._around(field)
        size = self._settings.chunk_words
        for start in range(0, len(words), size):
            count = min(size, len(words) - start)
            text = words[start] if count == 1 else "".join(words[start : start + count])
            yield Frame(opening + _encode(text) + ending, count)

    def _stamps(self) -> Steps:
        """A token is made when it is written, so this is apart from `_paced`, which holds a frame while it waits."""
        draw = self._settings.gap.drawer(f"{self._settings.seed}/{self.sha256}")
        opening, ending = self._around("content")
        digest = hashlib.sha256()
        for index in range(len(self._content)):
            if index and draw is not None:
                yield Pause(draw())
            # The clock that all processes of a machine share.
            text = f"{index}:{time.monotonic_ns()} ".encode()
            digest.update(text)
            yield Frame(b'%b"%b"%b' % (opening, text, ending), 1)
        yield Frame(b'%b"sha256:%b"%b' % (opening, digest.hexdigest().encode(), ending))

    def _around(self, field: str) -> tuple[bytes, bytes]:
        """A frame with one text in `field`, without that text: what is before it and what is after it."""
        empty = self._chunk([{"index": 0, "delta": {field: ""}, "finish_reason": None}])
        opening, _, ending = empty.partition(b'""}')
        return opening, b"}" + ending

    def _paced(self, frames: Iterable[Frame]) -> Iterator[Step]:
        draw = self._settings.gap.drawer(f"{self._settings.seed}/{self.sha256}")
        if draw is None:
            yield from frames
            return
        first = True
        for frame in frames:
            if frame.part == "content":
                # The first token comes with the first frame: the time to it has passed.
                if not first:
                    yield Pause(draw())
                first = False
            yield frame

    def _frame(self, delta: dict[str, Any], part: Any, tokens: int = 0) -> Frame:
        return Frame(self._chunk([{"index": 0, "delta": delta, "finish_reason": None}]), tokens, part)

    def _chunk(self, choices: list[dict[str, Any]], **fields: Any) -> bytes:
        return b"data: " + _encode({**self._top, "choices": choices, **fields}) + b"\n\n"


def _fragments(text: str) -> Iterator[str]:
    return (text[start : start + _FRAGMENT] for start in range(0, len(text), _FRAGMENT))
