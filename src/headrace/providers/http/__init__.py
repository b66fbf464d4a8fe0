"""One streaming POST to a model server, on a bare asyncio protocol: the hot path's first half.

Measured against an HTTP library on the same path (docs/decisions/0010): half the CPU per token, a third of the memory
per open stream, and a connection that is ours to cut.
"""

from headrace.providers.http.reply import Reply
from headrace.providers.http.upstream import EVENT_STREAM, JSON, HttpSettings, Upstream

__all__ = ["EVENT_STREAM", "JSON", "HttpSettings", "Reply", "Upstream"]
