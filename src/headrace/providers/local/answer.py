"""llama.cpp's frames as events. They are chat completion chunks with a field more: the progress in the prompt."""

from __future__ import annotations

import re
import secrets

import msgspec

from headrace.codecs import NOT_JSON
from headrace.errors import BadRequest, HeadraceError, UpstreamError, UpstreamProtocol, UpstreamRejected
from headrace.events import ArgsDelta, ChoiceEnd, Chunk, Event, ItemEnd, ItemStart, StepEnd, StepStart, TextDelta, Usage

DIALECT = "openai.chat"

# The grammar fixes the order; white space is tolerated where JSON does.
_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*(?=\S)')


class _Delta(msgspec.Struct, frozen=True):
    content: str | None = None


class _Choice(msgspec.Struct, frozen=True):
    delta: _Delta
    finish_reason: str | None = None


class _PromptDetails(msgspec.Struct, frozen=True):
    cached_tokens: int = 0


class _Usage(msgspec.Struct, frozen=True):
    prompt_tokens: int
    completion_tokens: int
    prompt_tokens_details: _PromptDetails = _PromptDetails()


class _Progress(msgspec.Struct, frozen=True):
    total: int
    cache: int = 0


class _Error(msgspec.Struct, frozen=True):
    message: str = ""
    code: int = 500
    type: str = ""
    n_prompt_tokens: int = 0
    n_ctx: int = 0


class _Frame(msgspec.Struct, frozen=True):
    id: str = ""
    choices: list[_Choice] = []
    usage: _Usage | None = None
    prompt_progress: _Progress | None = None
    error: _Error | None = None


_frames = msgspec.json.Decoder(_Frame)


class Text:
    """An answer in words: item 0 from the first frame to the last."""

    def start(self) -> list[Event]:
        """What is known before the first token."""
        return [ItemStart(0, "text")]

    def feed(self, text: str) -> list[Event]:
        """The events of one piece of text."""
        return [TextDelta(0, text)]

    def end(self) -> list[Event]:
        """What is left to say after the last token."""
        return [ItemEnd(0)]

    def finish(self) -> str:
        """The choice's reason when the model ended by itself."""
        return "stop"


class Call:
    """The JSON `{"name": …, "arguments": {…}}`, taken apart while it is written."""

    def __init__(self) -> None:
        self._head = ""
        self._started = False
        self._value = _ObjectEnd()

    def start(self) -> list[Event]:
        """Nothing: the item has to carry the name."""
        return []

    def feed(self, text: str) -> list[Event]:
        """The item once its name is whole, then the arguments exactly as they were written (P18).

        Raises:
            UpstreamRejected: this is not the JSON that was asked for.
        """
        if self._started:
            return self._arguments(text)
        self._head += text
        found = _HEAD.match(self._head)
        if found is None:
            if not self._head.lstrip().startswith("{"):
                raise _no_call()
            return []
        try:
            name = msgspec.json.decode(found[1], type=str)
        except msgspec.DecodeError as problem:  # a line break or half a character in it
            raise _no_call() from problem
        self._started = True
        start = ItemStart(0, "tool_call", name=name, call_id=f"call_{secrets.token_hex(12)}")
        return [start, *self._arguments(self._head[found.end() :])]

    def end(self) -> list[Event]:
        """The item's end, if it began: the answer may have been cut in the name."""
        return [ItemEnd(0)] if self._started else []

    def finish(self) -> str:
        """The choice's reason when the model ended by itself.

        Raises:
            UpstreamRejected: it has not written a call.
        """
        if not self._started:
            raise _no_call()
        return "tool_calls"

    def _arguments(self, text: str) -> list[Event]:
        piece = self._value.take(text)
        return [ArgsDelta(0, piece)] if piece else []


def _no_call() -> UpstreamRejected:
    # llama.cpp drops a grammar that it cannot use, and says so only in its log.
    return UpstreamRejected(
        "llama.cpp cannot hold the model to the schema of these functions: simplify their parameters", param="tools"
    )


class _ObjectEnd:
    """Finds where a JSON object ends, in pieces of any size."""

    def __init__(self) -> None:
        self._depth = 0
        self._quoted = False
        self._escaped = False
        self._ended = False

    def take(self, text: str) -> str:
        """The part of `text` that belongs to the object; empty after its end."""
        if self._ended:
            return ""
        for index, character in enumerate(text):
            if self._quoted:
                self._inside(character)
            else:
                self._outside(character)
            if self._ended:
                return text[: index + 1]
        return text

    def _inside(self, character: str) -> None:
        if self._escaped:
            self._escaped = False
        elif character == "\\":
            self._escaped = True
        elif character == '"':
            self._quoted = False

    def _outside(self, character: str) -> None:
        if character == '"':
            self._quoted = True
        elif character in "{[":
            self._depth += 1
        elif character in "}]":
            self._depth -= 1
            self._ended = self._depth == 0


class Answer:
    """One answer's frames, in order, to chunks. Sans-IO: `feed` takes what the thread brought."""

    def __init__(self, provider: str, model: str, item: Text | Call) -> None:
        self.closed = False
        """True once usage was seen, which is llama.cpp's last word."""
        self.error: HeadraceError | None = None
        """What llama.cpp refused or failed at; what came before it is valid."""
        self._provider = provider
        self._model = model
        self._item = item
        self._started = False
        self._finish = ""

    def feed(self, batch: list[bytes]) -> list[Chunk]:
        """A batch of frames; those that say nothing new, as the progress in the prompt, give no chunk."""
        chunks: list[Chunk] = []
        for data in batch:
            try:
                events = self._events(data)
            except HeadraceError as error:
                self.error = error
                break
            if events:
                chunks.append(Chunk(tuple(events)))
        return chunks

    def _events(self, data: bytes) -> list[Event]:
        try:
            frame = _frames.decode(data)
        except NOT_JSON as error:
            raise UpstreamProtocol(f"llama.cpp sent a frame that cannot be read: {error}") from error
        if frame.error is not None:
            raise _refusal(frame.error)
        events: list[Event] = []
        if not self._started:
            self._started = True
            events += self._start(frame)
        for choice in frame.choices:
            events += self._choice(choice)
        if frame.usage is not None:
            events += self._end(frame.usage)
        return events

    def _start(self, frame: _Frame) -> list[Event]:
        progress = frame.prompt_progress
        # Known before the first token: an answer that is stopped has at least its prompt's tokens.
        usage = Usage(progress.total, 0, progress.cache, source="partial") if progress else None
        step = StepStart(self._provider, self._model, dialect=DIALECT, upstream_id=frame.id, usage=usage)
        return [step, *self._item.start()]

    def _choice(self, choice: _Choice) -> list[Event]:
        events = self._item.feed(choice.delta.content) if choice.delta.content else []
        if choice.finish_reason is not None:
            self._finish = self._item.finish() if choice.finish_reason == "stop" else choice.finish_reason
            events += [*self._item.end(), ChoiceEnd(0, self._finish)]
        return events

    def _end(self, counts: _Usage) -> list[Event]:
        self.closed = True
        usage = Usage(counts.prompt_tokens, counts.completion_tokens, counts.prompt_tokens_details.cached_tokens)
        return [usage, StepEnd(self._finish, usage)]


def _refusal(error: _Error) -> HeadraceError:
    if error.type == "exceed_context_size_error":
        return BadRequest(
            f"the messages have {error.n_prompt_tokens} tokens and the embedded model's context holds {error.n_ctx}: "
            "shorten them",
            code="context_length_exceeded",
            param="messages",
        )
    message = f"llama.cpp: {error.message}"
    if 400 <= error.code < 500:
        return UpstreamRejected(message, status=error.code)
    return UpstreamError(message)
