"""What a server logs, and how a line looks."""

from __future__ import annotations

import logging
from typing import Any, Final

STREAMS: Final = "headrace.streams"
"""The logger of the lines of ended streams, which are complete as they are."""


class _Expected(logging.Filter):
    """Leaves out what uvicorn reports as an error and is none."""

    _LINES = (
        # This is how a body is aborted: a stream that has not finished must not look finished (P5).
        "ASGI callable returned without completing response.",
        # The reason is shown without it.
        "Application startup failed. Exiting.",
    )

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether to keep the record."""
        return record.msg not in self._LINES


def settings(level: str, process: str = "") -> dict[str, Any]:
    """Ours at the configured level; uvicorn's only from warnings up, unless somebody debugs.

    `process` says in every line of text whose it is, where several processes write into one log.
    """
    whose = f" {process}" if process else ""
    uvicorn_level = "DEBUG" if level == "debug" else "ERROR" if level == "error" else "WARNING"
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {"format": f"%(asctime)s %(levelname)s{whose} %(name)s: %(message)s"},
            "bare": {"format": "%(message)s"},
        },
        "filters": {"expected": {"()": _Expected}},
        "handlers": {
            "stderr": {"class": "logging.StreamHandler", "formatter": "line", "stream": "ext://sys.stderr"},
            "streams": {"class": "logging.StreamHandler", "formatter": "bare", "stream": "ext://sys.stderr"},
        },
        "root": {"handlers": ["stderr"], "level": "WARNING"},
        "loggers": {
            "headrace": {"level": level.upper()},
            STREAMS: {"level": level.upper(), "handlers": ["streams"], "propagate": False},
            "uvicorn": {"level": uvicorn_level},
            "uvicorn.error": {"level": uvicorn_level, "filters": ["expected"]},
            "asyncio": {"level": "WARNING"},
        },
    }
