"""The threads of the warm server."""

import errno
import socket
import threading

import pytest

from cni_plugin.server import crew as module
from cni_plugin.server.crew import Crew


class Guests:
    """Clients, and a handler that keeps each connection until it is let go."""

    def __init__(self, path, most=64):
        self.path = str(path)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(self.path)
        self.listener.listen(100)
        self.go = threading.Event()
        self.inside = threading.Semaphore(0)
        self.crew = Crew(self.listener, self.handle, most)

    def handle(self, connection):
        with connection:
            self.inside.release()
            assert self.go.wait(30)
            connection.sendall(b"done")

    def come(self):
        guest = socket.socket(socket.AF_UNIX)
        guest.settimeout(30)
        guest.connect(self.path)
        return guest

    def came_in(self, count):
        return all(self.inside.acquire(timeout=30) for _ in range(count))


@pytest.fixture
def guests(tmp_path):
    made = Guests(tmp_path / "socket")
    yield made
    made.go.set()
    made.crew.close()


def served(guest):
    with guest:
        return guest.recv(10) == b"done"


def test_all_are_handled_at_once(guests):
    waiting = [guests.come() for _ in range(30)]
    assert guests.came_in(30)
    guests.go.set()
    assert all(map(served, waiting))


def test_no_more_than_the_most_are_handled_at_once_and_the_others_wait(tmp_path):
    guests = Guests(tmp_path / "socket", most=3)
    waiting = [guests.come() for _ in range(10)]
    assert guests.came_in(3)
    assert not guests.inside.acquire(timeout=0.2)
    guests.go.set()
    assert all(map(served, waiting))
    guests.crew.close()


def test_most_threads_go_when_there_is_nothing_to_do(guests):
    before = threading.active_count()
    waiting = [guests.come() for _ in range(20)]
    assert guests.came_in(20)
    assert threading.active_count() > before + 15
    guests.go.set()
    assert all(map(served, waiting))
    waited = threading.Event()
    for _ in range(1000):
        if threading.active_count() <= before + 3:
            break
        waited.wait(0.02)
    assert threading.active_count() <= before + 3
    assert served(guests.come())


def test_the_end_waits_for_whom_is_under_way(tmp_path):
    guests = Guests(tmp_path / "socket")
    guest = guests.come()
    assert guests.came_in(1)
    ending = threading.Thread(target=guests.crew.close)
    ending.start()
    ending.join(0.2)
    assert ending.is_alive()
    guests.go.set()
    ending.join(30)
    assert not ending.is_alive()
    assert served(guest)


def test_a_connection_that_cannot_be_taken_is_not_the_end(guests, monkeypatch):
    monkeypatch.setattr(module, "_RESPITE", 0.01)
    guests.go.set()
    refusals = iter([errno.EMFILE] * 3)
    accept = socket.socket.accept

    def reluctant(listener):
        if (number := next(refusals, None)) is not None:
            raise OSError(number, "too many open files")
        return accept(listener)

    monkeypatch.setattr(socket.socket, "accept", reluctant)
    assert all(served(guests.come()) for _ in range(5))
    assert next(refusals, None) is None
