import contextlib
import socket

import pytest

from headrace.cli.listening import bind
from headrace.errors import ConfigError, HeadraceError


@contextlib.contextmanager
def bound(host: str, port: int):
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(each) for each in bind(host, port)]


def test_a_free_port_is_the_same_on_every_address_of_the_host():
    with bound("localhost", 0) as sockets:
        assert sockets
        assert len({each.getsockname()[1] for each in sockets}) == 1
        assert len({each.family for each in sockets}) == len(sockets)


def test_nobody_can_connect_before_the_server_listens():
    with bound("127.0.0.1", 0) as sockets, pytest.raises(ConnectionRefusedError):
        socket.create_connection(sockets[0].getsockname(), timeout=5)


def test_a_port_that_is_taken_is_said_with_the_way_out():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.raises(HeadraceError, match=f"port {port} on 127.0.0.1 is taken.*--port") as caught:
            bind("127.0.0.1", port)
    assert not isinstance(caught.value, ConfigError)


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "a" * 80, ""])
def test_a_host_that_is_not_here_is_a_wrong_setting(host):
    with pytest.raises(ConfigError, match="--host"):
        bind(host, 0)


@pytest.mark.promise("P23")
def test_the_kernel_holds_little_for_a_client_that_does_not_read():
    with bound("127.0.0.1", 0) as (listener,):
        listener.listen()
        with socket.create_connection(listener.getsockname(), timeout=5):
            accepted, _ = listener.accept()
            taken = 0
            with accepted, contextlib.suppress(BlockingIOError):
                accepted.setblocking(False)
                while True:
                    taken += accepted.send(bytes(65536))
    assert taken < 1_000_000
