"""A model server that answers as fast, as slowly and as badly as it is told: for tests, demonstrations and load.

It speaks OpenAI chat completions, OpenAI Responses and Anthropic Messages, each by a module of `shapes`. `faults` is
the list of what can go wrong, `server` the thing that listens, and docs/mock.md the description for people. Nothing of
Headrace but the command `headrace mock` uses it.
"""

from headrace.mock.answer import answer_text
from headrace.mock.faults import parse_faults
from headrace.mock.scenario import read_scenario
from headrace.mock.server import MockServer
from headrace.mock.settings import Settings

__all__ = ["MockServer", "Settings", "answer_text", "parse_faults", "read_scenario"]
