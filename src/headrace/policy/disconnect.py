"""What a leaving reader means for the model (P8): who decides, in which order."""

from __future__ import annotations

from headrace.config import Disconnect, parse_disconnect
from headrace.errors import BadRequest

HEADER = "headrace-on-disconnect"
CANCEL = Disconnect("cancel")
CONTINUE = Disconnect("continue")
GRACE = Disconnect("grace", 30.0)


def shape_default(*, stream: bool, has_key: bool, background: bool = False) -> Disconnect:
    """The shapes' default: a reader that lost its network gets 30 s to come back, one that is not expected all time."""
    if background:
        return CONTINUE
    return GRACE if stream or has_key else CANCEL


def decide(header: str | None, configured: Disconnect | None, default: Disconnect) -> Disconnect:
    """The request's header beats the model's and the global setting, which beat the shape's default.

    Raises:
        BadRequest: the header is not a policy.
    """
    if header is None:
        return configured or default
    try:
        return parse_disconnect(header)
    except ValueError as problem:
        raise BadRequest(f"Headrace-On-Disconnect: {problem}.", param=HEADER) from problem


def unread(policy: Disconnect) -> Disconnect:
    """The same for a stream that is made without a reader: `cancel` would stop it before anybody could come."""
    return GRACE if policy.mode == "cancel" else policy
