"""TLS, with Debian's Redis: the Valkey of the wheel is built without it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.config.redis_url import parse_redis_url
from headrace.errors import ConfigError, StoreError
from headrace.stores.redis.link import Link
from tests.stores.contract import TTL
from tests.stores.redis.rigs import make, running
from tests.stores.redis.servers import Server, free_port, redis_server, serving

pytestmark = pytest.mark.anyio


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A key and its certificate, signed by itself."""
    folder = tmp_path_factory.mktemp("tls")
    command = "openssl req -x509 -newkey rsa:2048 -nodes -keyout key.pem -out cert.pem -days 2 -subj /CN=headrace-test"
    subprocess.run(
        [*command.split(), "-addext", "subjectAltName=IP:127.0.0.1"], cwd=folder, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def server(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Server, int]]:
    port = free_port()
    options = ("--tls-port", str(port), "--tls-cert-file", str(files / "cert.pem"), "--tls-key-file")
    more = (str(files / "key.pem"), "--tls-ca-cert-file", str(files / "cert.pem"), "--tls-auth-clients", "optional")
    with serving(redis_server(), tmp_path_factory.mktemp("redis"), *options, *more, port=free_port()) as server:
        yield server, port


@pytest.mark.parametrize(
    "query",
    [
        "ssl_ca_certs={0}/cert.pem",
        "ssl_cert_reqs=none",
        "ssl_cert_reqs=none&ssl_certfile={0}/cert.pem&ssl_keyfile={0}/key.pem",
    ],
)
async def test_a_store_speaks_tls(server: tuple[Server, int], files: Path, query: str) -> None:
    store = make(f"rediss://127.0.0.1:{server[1]}?{query.format(files)}")
    async with running(store):
        lease = await store.acquire(query, "ann", b"{}", TTL)
        assert (await store.status(lease.id)).state == "running"


async def test_a_certificate_that_nobody_trusts_stops_the_start(server: tuple[Server, int]) -> None:
    store = make(f"rediss://127.0.0.1:{server[1]}")
    with pytest.raises(ConfigError, match=r"not trusted .*add \?ssl_ca_certs=FILE or \?ssl_cert_reqs=none"):
        await store.start()
    await store.close()


async def test_speaking_tls_to_who_does_not_is_an_error_that_says_so(server: tuple[Server, int]) -> None:
    link = Link(parse_redis_url(f"rediss://127.0.0.1:{server[0].port}"), lambda _, __: None, patience=0.2)
    with pytest.raises(StoreError, match="no TLS connection: perhaps it speaks none"):
        await link.connected()


async def test_a_wrong_way_to_speak_stops_the_start(server: tuple[Server, int]) -> None:
    for url, text in (
        (f"redis://127.0.0.1:{server[1]}", "does not speak Redis' protocol"),
        (f"rediss://127.0.0.1:{server[1]}?ssl_ca_certs=/no/such/file", "cannot be read"),
    ):
        store = make(url)
        with pytest.raises(ConfigError, match=text):
            await store.start()
        await store.close()
