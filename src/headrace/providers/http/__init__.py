"""One streaming POST to a model server, on a bare asyncio protocol: the hot path's first half.

Nothing stands between the socket and the relay, a connection is ours to cut, and an open stream takes 12 KiB less than
with an HTTP library (docs/decisions/0010).
"""

from headrace.providers.http.reply import Reply
from headrace.providers.http.upstream import EVENT_STREAM, JSON, HttpSettings, Upstream

__all__ = ["EVENT_STREAM", "JSON", "HttpSettings", "Reply", "Upstream"]
