"""The names of everything that is kept. What changes in one step shares a hash tag: a cluster keeps it together."""

from __future__ import annotations

import zlib

_PARTS = 16
"""Of the index of what runs, in a cluster: every stream that runs writes to it every few seconds."""


class Keys:
    """Of one stream: see `scripts`."""

    __slots__ = ("all", "append", "id", "lease", "log", "meta", "renew", "request")

    def __init__(self, prefix: str, stream_id: str) -> None:
        self.id = stream_id
        self.meta = f"{prefix}{{{stream_id}}}:meta"
        self.log = f"{prefix}{{{stream_id}}}:log"
        self.lease = f"{prefix}{{{stream_id}}}:lease"
        self.request = f"{prefix}{{{stream_id}}}:request"
        self.all = (self.meta, self.log, self.lease, self.request)
        self.append = (self.meta, self.log, self.lease)
        self.renew = (self.meta, self.lease)


class Names:
    """Of everything else, and of streams by their id."""

    __slots__ = ("prefix", "running")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self.running = (f"{prefix}running",)
        """Streams that have not ended, by the time at which their lease runs out: in parts."""

    def spread(self) -> None:
        """There is more than one server, so what one key would hold for all of them is in several."""
        self.running = tuple(f"{self.prefix}running:{number}" for number in range(_PARTS))

    def running_of(self, stream_id: str) -> str:
        """The part in which a stream is."""
        return self.running[zlib.crc32(stream_id.encode()) % len(self.running)]

    def stream(self, stream_id: str) -> Keys:
        """The keys of one stream."""
        return Keys(self.prefix, stream_id)

    def owner(self, owner: str) -> str:
        """The streams of an owner, in the order in which they were made."""
        return f"{self.prefix}owner:{owner}"

    def claim(self, name: str) -> str:
        """What holds a claimed name."""
        return f"{self.prefix}claim:{name}"

    def node(self, node: str) -> str:
        """The channel on which a node is asked to stop streams of its own."""
        return f"{self.prefix}node:{node}"
