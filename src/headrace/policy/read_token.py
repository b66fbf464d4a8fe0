"""Permission to read one stream for a while, as a text that fits into a URL.

Browsers' `EventSource` cannot set headers, and who shares an answer does not share the key. `r.<expiry>.<mac>`: the
Unix time in seconds up to which it holds, in hexadecimal, and the HMAC-SHA256 over what is allowed,
the stream's id and that time (RFC 2104), in base64url. Nothing is stored, so no token can be taken back; it ends by
itself, or with its stream.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets

from headrace.config import Secret
from headrace.errors import Unauthorized

LONGEST_TTL = 600
"""Seconds: a token is in a URL, which histories and logs of others may keep."""

SHARED_SECRET = "read-tokens"
"""Name of the claim under which all servers of one store find the secret that the first of them has drawn."""
FOR_EVER = 10 * 365 * 86_400.0
"""Seconds for which that claim holds."""

_MODE = "r"
_TOKEN = re.compile(r"r\.([0-9a-f]{1,12})\.([A-Za-z0-9_-]{43})", re.ASCII)


class ReadTokens:
    """Makes and checks tokens of one secret."""

    def __init__(self, secret: Secret | None) -> None:
        """Without a secret, one is drawn: its tokens end with the process, unless `sign_with` gives another."""
        self._key = secret.reveal().encode() if secret is not None else secrets.token_bytes(32)

    def sign_with(self, secret: str) -> None:
        """Use this one from now on."""
        self._key = secret.encode()

    def make(self, stream_id: str, expires: int) -> str:
        """The token that opens the stream until `expires`, Unix time in seconds."""
        return f"{_MODE}.{expires:x}.{self._mac(stream_id, expires)}"

    def check(self, token: str, stream_id: str, now: float) -> None:
        """Whether the token opens the stream; `now` is Unix time.

        Raises:
            Unauthorized: `invalid_token`, or `token_expired` for one that did.
        """
        match = _TOKEN.fullmatch(token)
        expires = int(match[1], 16) if match else 0
        # Compared in constant time, and before anything is said of its time.
        if match is None or not hmac.compare_digest(match[2], self._mac(stream_id, expires)):
            raise Unauthorized("This token does not open this stream.", code="invalid_token", param="token")
        if now >= expires:
            raise Unauthorized("This token has expired: ask for a new one.", code="token_expired", param="token")

    def _mac(self, stream_id: str, expires: int) -> str:
        said = f"headrace/{_MODE}/{stream_id}/{expires:x}".encode()
        digest = hmac.digest(self._key, said, hashlib.sha256)
        return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
