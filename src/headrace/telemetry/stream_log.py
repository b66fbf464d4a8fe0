"""One JSON line per ended stream: what happened, how long it took and what it cost; never what was said (P36)."""

from __future__ import annotations

import json
import logging
from datetime import UTC, datetime
from typing import Any

from headrace.engine.observer import Content, Ended, Observer
from headrace.engine.outcomes import outcome
from headrace.events import Failed

LOGGER = "headrace.streams"
"""Its messages are complete JSON objects: give it a handler without a format of its own."""

_log = logging.getLogger(LOGGER)

_LONGEST_CONTENT = 65_536
"""Characters of a request, or of an answer, that one line may have."""
_LONGEST_CHARACTER = 4
"""Bytes in UTF-8."""


class StreamLog(Observer):
    """Writes the line: at `warning` for a stream that failed, otherwise at `info`."""

    def ended(self, stream: Ended) -> None:
        """See `Observer`."""
        level = logging.WARNING if isinstance(stream.terminal, Failed) else logging.INFO
        if _log.isEnabledFor(level):
            # ASCII: right in every locale, and no character in it ends a line for anybody.
            _log.log(level, "%s", json.dumps(_line(stream, level), separators=(",", ":")))


def _line(stream: Ended, level: int) -> dict[str, Any]:
    start, usage = stream.start, stream.usage
    state, code = outcome(stream.terminal)
    line: dict[str, Any] = {
        "time": datetime.fromtimestamp(stream.at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "level": logging.getLevelName(level).lower(),
        "event": "stream",
        "id": start.id,
        "request_id": stream.request_id,
        "owner": start.owner,
        "model": start.model,
        "dialect": start.dialect,
        "upstream": f"{stream.source.provider}/{stream.upstream_model}",
        "status": state,
        "code": code,
        "ttft_ms": _ms(stream.ttft),
        "duration_ms": _ms(stream.duration),
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "cached_tokens": usage.cached,
        "reasoning_tokens": usage.reasoning,
        "usage_source": usage.source,
        "retries": stream.retries,
        "readers": stream.readers,
        "resumes": stream.resumes,
        "records": stream.records,
        "bytes": stream.bytes,
    }
    if stream.content is not None:
        line |= _said(stream, stream.content)
    return line


def _said(stream: Ended, content: Content) -> dict[str, Any]:
    """What `log_content` adds. An error's message is among it: model servers repeat there what they were sent."""
    terminal = stream.terminal
    request = content.request[: _LONGEST_CONTENT * _LONGEST_CHARACTER].decode("utf-8", "replace")
    return {
        "message": terminal.message if isinstance(terminal, Failed) else None,
        "request": request[:_LONGEST_CONTENT],
        "answer": content.answer[:_LONGEST_CONTENT],
    }


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 3)
