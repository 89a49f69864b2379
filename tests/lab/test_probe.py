"""The demo's probe: it begins to count when every server has answered."""

import itertools
import socket
import threading
from collections.abc import Iterator

import pytest

from lab.probe import count, wait


@pytest.fixture
def service() -> Iterator[int]:
    """Give the port of a Service whose proxy knows one endpoint at first, and later two."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        for number in itertools.count():
            try:
                connection, _ = listener.accept()
            except OSError:  # it was shut down
                return
            with connection:
                connection.recv(4096)
                name = b"b" if number > 4 and number % 2 else b"a"
                connection.sendall(b"HTTP/1.0 200 OK\r\n\r\n" + name)

    thread = threading.Thread(target=serve)
    thread.start()
    yield listener.getsockname()[1]
    listener.shutdown(socket.SHUT_RDWR)
    thread.join()
    listener.close()


def test_counting_begins_when_every_server_has_answered(service: int) -> None:
    assert wait("127.0.0.1", service, 2, 20)
    assert count("127.0.0.1", service, 10)["answers"] == {"a": 5, "b": 5}


def test_a_server_that_never_answers_is_not_waited_for_forever(service: int) -> None:
    assert not wait("127.0.0.1", service, 3, 0.5)
