"""How a model server can fail in the middle of an answer."""

from __future__ import annotations

from collections.abc import Sequence

from tests.servers.scripted import END, Abort, Close, Step, chunk, delta, frame, head

PARTIAL = "The river runs"
"""What it said before."""
SAID = chunk(delta(role="assistant", content=""), delta(content="The river"), delta(content=" runs"))
OVERLOADED = frame({"error": {"message": "the model is overloaded", "type": "server_error", "code": 503}})

TRUNCATED: dict[str, Sequence[Step]] = {
    "clean end without a marker": (head(), SAID, END),
    "finished but not [DONE]": (head(), SAID, chunk(delta("stop")), END),
    "closed in the middle of the body": (head(), SAID, Close()),
    "closed without a length": (head(connection="close"), delta(content="The river"), delta(content=" runs"), Close()),
    "reset in the middle of a frame": (head(), SAID, chunk(delta(content=" down")[:40]), Abort()),
    "error frame": (head(), SAID, chunk(OVERLOADED), END),
    "error frame and [DONE]": (head(), SAID, chunk(OVERLOADED, b"data: [DONE]\n\n"), END),
    "not JSON": (head(), SAID, chunk(b"data: <html>\n\n"), END),
}
