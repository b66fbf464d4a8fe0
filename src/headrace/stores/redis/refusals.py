"""What a server says when it does not do what it was asked, in words that tell what to do.

Of the server's own words only the first is used, its code: the rest may repeat what it was sent (P36). Which server it
is and what is to be done there stands in the detail of an error, for the operator: callers are told only what it means.
"""

from __future__ import annotations

import hiredis

from headrace.errors import LogFull, StoreError, StoreUnavailable

OLDEST = 7
"""The first version with everything that is needed: sharded pub/sub, and scripts that may run when memory is full."""


class Misconfigured(StoreUnavailable):
    """Somebody has to change the configuration, here or there: that ends it, and not to try again."""

    code = "store_misconfigured"
    retryable = False

    def __init__(self, detail: str) -> None:
        """`detail` says what is to be changed."""
        super().__init__("The store of the streams cannot be used; the server's log says why.", detail=detail)


class UnknownScript(StoreError):
    """The server does not have the script, or not any more: it wants the text."""

    code = "unknown_script"


class Moved(Exception):
    """Another server of the cluster has the key: for good, or for this once (`ask`)."""

    def __init__(self, reply: str) -> None:
        word, slot, address = reply.split(" ")[:3]
        super().__init__(word)
        self.ask = word == "ASK"
        self.slot = int(slot)
        host, _, port = address.rpartition(":")
        self.host = host
        self.port = int(port)


_REFUSED = "The store of the streams did not do what it was asked; the server's log says why."
_SAYS = {
    "LOADING": "still loads its data",
    "READONLY": "is a replica and takes no writes: a failover is going on, or redis_url names a replica",
    "MASTERDOWN": "is a replica that has lost its primary",
    "CLUSTERDOWN": "belongs to a cluster that is down: some of its slots have no server",
    "TRYAGAIN": "is moving these keys to another server of its cluster",
    "BUSY": "is held up by somebody's script",
    "MISCONF": "takes no writes because it cannot save them: see its own log",
    "NOREPLICAS": "takes no writes because too few replicas follow it (min-replicas-to-write)",
}
"""States that pass, or that somebody there has to end."""

_NOT_ALLOWED = "does not let this user do what the store needs: see docs/operations.md for its ACL"
_DENIALS = {
    "NOAUTH": "wants a password: write it into redis_url, as in redis://:password@host",
    "WRONGPASS": "does not take this user and password: correct redis_url",
    "NOPERM": _NOT_ALLOWED,
    "NOPROTO": f"is too old: Redis {OLDEST} or Valkey is needed",
}
_STALE = frozenset({"READONLY", "LOADING", "MASTERDOWN"})


def is_stale(error: hiredis.ReplyError) -> bool:
    """Whether another server may stand behind the same name by now, so that it is worth to connect anew."""
    return _word(error) in _STALE


def refusal(error: hiredis.ReplyError, name: str) -> Exception:
    """The error that stands for the reply of the server called `name`; a `StoreError`, or `Moved`."""
    word = _word(error)
    if word in ("MOVED", "ASK"):
        return Moved(str(error))
    if word == "NOSCRIPT":
        return UnknownScript(_REFUSED, detail=f"Redis at {name} has lost a script.")
    if word == "OOM":
        detail = f"Redis at {name} is full (maxmemory): give it more, or shorten retention_seconds."
        return LogFull("The store of the streams is full.", detail=detail)
    if word in _DENIALS:
        return Misconfigured(f"Redis at {name} {_DENIALS[word]}.")
    if word in _SAYS:
        return unavailable(f"Redis at {name} {_SAYS[word]}; try again in a moment.")
    return StoreError(_REFUSED, detail=f"Redis at {name} refused a command ({word}).")


def refusal_of_greeting(error: hiredis.ReplyError, name: str) -> Exception:
    """The same for a reply to HELLO, which servers before version 6 do not know."""
    if "max number of clients" in str(error):
        return unavailable(f"Redis at {name} has as many connections as it may have (maxclients).")
    return too_old(name, "below 6") if _word(error) == "ERR" else refusal(error, name)


def refused(name: str) -> Misconfigured:
    """The server does not allow something."""
    return Misconfigured(f"Redis at {name} {_NOT_ALLOWED}.")


def too_old(name: str, version: str) -> Misconfigured:
    """The server's version is below `OLDEST`."""
    return Misconfigured(f"Redis at {name} is version {version}, but {OLDEST} or newer is needed, or Valkey.")


def unreachable(name: str, why: str) -> StoreUnavailable:
    """There is no connection, or it broke."""
    return unavailable(f"Redis at {name} cannot be reached ({why}); check that it runs and redis_url.")


def silent(name: str) -> StoreUnavailable:
    """There is a connection, and no answer in time."""
    return unavailable(f"Redis at {name} does not answer in time; check that it runs and is not busy.")


def unavailable(detail: str) -> StoreUnavailable:
    """It does not serve now; `detail` says which and why."""
    text = "The store of the streams cannot be reached; try again in a moment."
    return StoreUnavailable(text, retry_after=1, detail=detail)


def closed(name: str) -> StoreError:
    """This node has let go of the server."""
    return StoreError(_REFUSED, detail=f"Redis at {name} is not asked any more: the store is closed.")


def _word(error: hiredis.ReplyError) -> str:
    return str(error).partition(" ")[0]
