"""The threads that accept the warm server's connections."""

import errno
import socket
import threading

import pytest

from cni_plugin.server import accept_pool
from cni_plugin.server.accept_pool import AcceptPool


class Clients:
    """Clients of a pool, whose handler keeps each connection until ``go`` is set."""

    def __init__(self, path, most=64):
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(100)
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)
        self.pool = AcceptPool(self.listener, self.handle, most)

    def handle(self, connection):
        with connection:
            self.inside.release()
            assert self.go.wait(30)
            connection.sendall(b"done")

    def connect(self):
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(30)
        client.connect(self.path)
        return client

    def are_accepted(self, count):
        return all(self.inside.acquire(timeout=30) for _ in range(count))


@pytest.fixture
def clients(tmp_path):
    made = Clients(tmp_path / "socket")
    yield made
    made.go.set()
    made.pool.close()


def is_served(client):
    with client:
        return client.recv(10) == b"done"


def test_connections_are_handled_concurrently(clients):
    waiting = [clients.connect() for _ in range(30)]
    assert clients.are_accepted(30)
    clients.go.set()
    assert all(map(is_served, waiting))


def test_connections_above_the_limit_wait(tmp_path):
    clients = Clients(tmp_path / "socket", most=3)
    waiting = [clients.connect() for _ in range(10)]
    assert clients.are_accepted(3)
    assert not clients.inside.acquire(timeout=0.2)
    clients.go.set()
    assert all(map(is_served, waiting))
    clients.pool.close()


def test_idle_threads_end(clients):
    before = threading.active_count()
    waiting = [clients.connect() for _ in range(20)]
    assert clients.are_accepted(20)
    assert threading.active_count() > before + 15
    clients.go.set()
    assert all(map(is_served, waiting))
    waited = threading.Event()
    for _ in range(1000):
        if threading.active_count() <= before + 3:
            break
        waited.wait(0.02)
    assert threading.active_count() <= before + 3
    assert is_served(clients.connect())


def test_close_waits_for_running_connections(tmp_path):
    clients = Clients(tmp_path / "socket")
    client = clients.connect()
    assert clients.are_accepted(1)
    ending = threading.Thread(target=clients.pool.close)
    ending.start()
    ending.join(0.2)
    assert ending.is_alive()
    clients.go.set()
    ending.join(30)
    assert not ending.is_alive()
    assert is_served(client)


def test_a_failed_accept_is_repeated(clients, monkeypatch):
    monkeypatch.setattr(accept_pool, "_PAUSE", 0.01)
    clients.go.set()
    refusals = iter([errno.EMFILE] * 3)
    accept = socket.socket.accept

    def reluctant(listener):
        if (number := next(refusals, None)) is not None:
            raise OSError(number, "too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", reluctant)
    assert all(is_served(clients.connect()) for _ in range(5))
    assert next(refusals, None) is None
