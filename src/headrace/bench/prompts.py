"""What is asked: prompts out of a file, or made up."""

from __future__ import annotations

import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Protocol

import msgspec

from headrace.errors import ConfigError

Message = dict[str, Any]

# Frequent short words: one token each in the vocabularies of most models.
_VOCABULARY: Final = (
    "the of and to in is that it was for on are with as his they be at one have this from or had by hot but some what "
    "there we can out other were all your when up use word how said an each she which do their time if will way about "
    "many then them would write like so these her long make thing see him two has look more day could go come did my "
    "sound no most number who over know water than call first people may down side been now find any new work part "
    "take get place made live where after back little only round man year came show every good me give our under name"
)
_WORDS: Final = _VOCABULARY.split()
_POOL: Final = 16_384


class Prompt(msgspec.Struct, frozen=True):
    """One question."""

    messages: Sequence[Message]
    """As OpenAI writes them: `{"role": …, "content": …}`."""
    output_len: int | None = None
    """The most tokens to answer with, where this question says so itself."""

    @property
    def text(self) -> str:
        """The text of all messages, for shapes that know nothing else."""
        return "\n".join(content for message in self.messages if isinstance(content := message.get("content"), str))


class Prompts(Protocol):
    """Prompts by the number of the request, counted from 0; every number has one."""

    def __getitem__(self, number: int) -> Prompt: ...


class RandomPrompts:
    """Prompts of `length` words, each with its own beginning, so that no server has one in its cache.

    They depend on the seed and the number alone. To take a piece of one long text costs little while requests run.
    """

    def __init__(self, length: int, seed: str) -> None:
        self._length = length
        self._seed = seed
        draw = random.Random(f"{seed}/prompts")
        self._pool = draw.choices(_WORDS, k=_POOL + length)

    def __getitem__(self, number: int) -> Prompt:
        start = (number * 7919) % _POOL  # a prime: far from the one before
        words = [f"{self._seed}.{number}", *self._pool[start : start + self._length - 1]]
        return Prompt([{"role": "user", "content": " ".join(words)}])


class FilePrompts:
    """The prompts of a file, in its order, and again from the start when there are more requests."""

    def __init__(self, prompts: Sequence[Prompt]) -> None:
        self._prompts = prompts

    def __len__(self) -> int:
        return len(self._prompts)

    def __getitem__(self, number: int) -> Prompt:
        return self._prompts[number % len(self._prompts)]


class _Line(msgspec.Struct):
    """One line of JSONL; `output_tokens` as in the custom data sets of vLLM."""

    prompt: str | None = None
    messages: list[Message] | None = None
    output_tokens: int | None = None


_decode = msgspec.json.Decoder(_Line | str).decode


def read_prompts(path: Path) -> FilePrompts:
    """Read a file of JSONL, or of text with a prompt on each line. Empty lines are passed over.

    A line of JSON is `{"prompt": "…"}`, `{"messages": […]}` or a string. Whether the file is one or the other is
    decided by its first line.

    Raises:
        ConfigError: it cannot be read, has no prompt, or a line is wrong; the message names the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"--dataset-path: {path} cannot be read: {error}") from None
    lines = [(number, line) for number, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ConfigError(f"--dataset-path: {path} has no prompt")
    if not lines[0][1].lstrip().startswith(("{", '"')):
        return FilePrompts([_user(line.strip()) for _, line in lines])
    return FilePrompts([_parse(path, number, line) for number, line in lines])


def _user(text: str, output_len: int | None = None) -> Prompt:
    return Prompt([{"role": "user", "content": text}], output_len)


def _parse(path: Path, number: int, line: str) -> Prompt:
    try:
        read = _decode(line)
    except msgspec.DecodeError as error:
        raise ConfigError(f"--dataset-path: {path}:{number}: {error}") from None
    if isinstance(read, str):
        return _user(read)
    if read.messages:
        return Prompt(read.messages, read.output_tokens)
    if read.prompt is not None:
        return _user(read.prompt, read.output_tokens)
    raise ConfigError(f'--dataset-path: {path}:{number}: expected {{"prompt": "…"}} or {{"messages": […]}}')
