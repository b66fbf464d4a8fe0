"""One look at a server before anything is measured: whether it is there, by which address, and what it serves."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from typing import Final

import msgspec

from headrace.bench.connection import tls_context
from headrace.bench.exchange import connection_failure
from headrace.bench.shapes.base import reason
from headrace.bench.target import Target
from headrace.codecs.http_response import ProtocolError, Response
from headrace.errors import HeadraceError

_PATIENCE_S: Final = 10.0
_LONGEST: Final = 4 << 20


class _Model(msgspec.Struct):
    id: str


class _Models(msgspec.Struct):
    data: list[_Model]


async def reach(target: Target, *, insecure: bool = False) -> Target:
    """The target with the address that answered, so that no request of a measurement looks up a name.

    Raises:
        HeadraceError: none of its addresses can be connected to.
    """
    loop = asyncio.get_running_loop()
    try:
        found = await loop.getaddrinfo(target.host, target.port, type=1)
    except OSError as error:
        raise HeadraceError(f"{target.url}: there is no address for {target.host!r} ({error.strerror})") from None
    problem = ""
    for *_, address in dict.fromkeys(found):
        tried = msgspec.structs.replace(target, address=str(address[0]))
        try:
            async with asyncio.timeout(_PATIENCE_S):
                _, writer = await _connect(tried, insecure)
        except TimeoutError:
            problem = f"no connection within {_PATIENCE_S:.0f} s"
        except OSError as error:
            problem = connection_failure(error)[1]
        else:
            writer.transport.abort()
            return tried
    hint = "--insecure trusts any certificate" if target.tls else "is the server running, and is this its address?"
    raise HeadraceError(f"{target.url}: {problem}; {hint}")


async def first_model(target: Target, headers: Mapping[str, str], *, insecure: bool = False) -> str:
    """The first model that `GET /v1/models` names, beside the endpoint.

    Raises:
        HeadraceError: the server names none.
    """
    path, _, _ = target.path.partition("/v1/")
    models = target.at(f"{path}/v1/models")
    try:
        async with asyncio.timeout(_PATIENCE_S):
            status, body = await _get(models, headers, insecure)
    except (OSError, TimeoutError, ProtocolError) as error:
        raise HeadraceError(f"{models.url}: {str(error) or 'no answer'}; name the model with --model") from None
    if status != 200:
        raise HeadraceError(f"{models.url}: status {status}: {_said(body)}; name the model with --model")
    try:
        return msgspec.json.decode(body, type=_Models).data[0].id
    except (msgspec.DecodeError, UnicodeDecodeError, IndexError):
        raise HeadraceError(f"{models.url} names no model; name it with --model") from None


async def _get(target: Target, headers: Mapping[str, str], insecure: bool) -> tuple[int, bytes]:
    reader, writer = await _connect(target, insecure)
    try:
        lines = {"host": target.authority, "accept": "application/json", "connection": "close", **headers}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        writer.write(f"GET {target.path} HTTP/1.1\r\n{head}\r\n".encode())
        response, body = Response(), b""
        while not response.complete and len(body) < _LONGEST:
            data = await reader.read(65_536)
            body += response.feed(data) if data else b""
            if not data and not response.finish():
                raise ProtocolError("the answer was cut off")
        return response.status, body
    finally:
        writer.transport.abort()


async def _connect(target: Target, insecure: bool) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    context: ssl.SSLContext | None = tls_context(insecure) if target.tls else None
    name = target.host if context else None
    return await asyncio.open_connection(target.address or target.host, target.port, ssl=context, server_hostname=name)


def _said(body: bytes) -> str:
    try:
        return reason(bytes(msgspec.json.decode(body, type=dict[str, msgspec.Raw])["error"]))
    except (msgspec.DecodeError, UnicodeDecodeError, KeyError):
        return body.decode("utf-8", "replace").strip().partition("\n")[0][:200]
