"""The names of everything that is kept. What changes in one step shares a hash tag: a cluster keeps it together."""

from __future__ import annotations

import zlib

_PARTS = 16
"""Of each index in a cluster: one key would have what all streams of all servers write every few seconds."""


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

    __slots__ = ("_parts", "prefix")

    def __init__(self, prefix: str) -> None:
        self.prefix = prefix
        self._parts = [prefix]

    def spread(self) -> None:
        """There is more than one server: from now on the indexes are in parts, each of them in a slot of its own."""
        self._parts = [f"{self.prefix}{{part:{number}}}:" for number in range(_PARTS)]

    def part(self, stream_id: str) -> int:
        """The number of the part in which a stream is."""
        return zlib.crc32(stream_id.encode()) % len(self._parts)

    def running(self) -> list[str]:
        """Streams that have not ended, by the time at which their lease runs out: all parts."""
        return [f"{part}running" for part in self._parts]

    def running_of(self, stream_id: str) -> str:
        """The part that a stream is in."""
        return f"{self._parts[self.part(stream_id)]}running"

    def owner(self, owner: str) -> list[str]:
        """The streams of an owner, by the time at which they were made: all parts."""
        return [f"{part}owner:{owner}" for part in self._parts]

    def owner_of(self, owner: str, stream_id: str) -> str:
        """The part that a stream is in; where its part of `running` is."""
        return f"{self._parts[self.part(stream_id)]}owner:{owner}"

    def stream(self, stream_id: str) -> Keys:
        """The keys of one stream."""
        return Keys(self.prefix, stream_id)

    def claim(self, name: str) -> str:
        """What holds a claimed name."""
        return f"{self.prefix}claim:{name}"

    def node(self, node: str) -> str:
        """The channel on which a node is asked to stop streams of its own."""
        return f"{self.prefix}node:{node}"
