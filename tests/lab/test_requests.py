"""What commands ask of a lab's first process: its answers, and what they do without one."""

import os
import socket
import threading
from contextlib import contextmanager

import pytest

from lab import readiness, requests, waiter
from lab.requests import NotReadyError
from lab.spec import make_spec
from lab.state import LabDir
from lab.supervise import fork

SAYS = b'{"say": "nodes ready: 0 of 1"}\n'
OLDER = b"machine wait {} cannot be started: lab a has no such machine: it has node1"


@contextmanager
def keeper(lab, answer):
    """A keeper that gives this answer to one request; yields the list of what it was asked."""
    asked = []
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(lab.requests))
        server.listen()

        def respond():
            with server.accept()[0] as connection:
                asked.append(connection.makefile("rb").read())
                connection.sendall(answer)

        thread = threading.Thread(target=respond)
        thread.start()
        yield asked
        thread.join()


@pytest.fixture
def said():
    return []


@pytest.fixture
def here(monkeypatch):
    """The names of nodes for which this process waited itself."""
    waited = []
    monkeypatch.setattr(
        readiness, "wait_ready", lambda _lab, names, _say, *, since: waited.append((names, since))
    )
    return waited


def test_the_keeper_waits_for_nodes(tmp_path, said, here):
    lab = LabDir(tmp_path)
    with keeper(lab, SAYS + b'{"ready": ""}\n') as asked:
        requests.wait_ready(lab, {"node2", "node1"}, said.append, since=7.5)
    assert asked == [b'wait {"names": ["node1", "node2"], "since": 7.5}']
    assert (said, here) == (["nodes ready: 0 of 1"], [])


def test_the_keeper_names_nodes_that_are_not_ready(tmp_path, said, here):
    lab = LabDir(tmp_path)
    with (
        keeper(lab, SAYS + b'{"fail": "not ready in time: node1"}\n'),
        pytest.raises(NotReadyError, match="not ready in time: node1"),
    ):
        requests.wait_ready(lab, {"node1"}, said.append, since=7.5)
    assert here == []


@pytest.mark.parametrize("answer", [b"", SAYS, OLDER, b"[]\n"], ids=["", "ends", "older", "odd"])
def test_the_command_waits_itself_if_the_keeper_cannot(tmp_path, said, here, answer):
    lab = LabDir(tmp_path)
    with keeper(lab, answer):
        requests.wait_ready(lab, {"node1"}, said.append, since=7.5)
    assert here == [({"node1"}, 7.5)]


def test_the_command_waits_itself_if_the_keeper_is_gone(tmp_path, said, here):
    requests.wait_ready(LabDir(tmp_path), {"node1"}, said.append, since=7.5)
    assert here == [({"node1"}, 7.5)]


def made(path):
    lab = LabDir(path / "a")
    lab.create(make_spec("a"))
    return lab


@contextmanager
def served(lab, wait_ready, monkeypatch):
    """A fork that waits by ``wait_ready``; yields the socket of who asked, and the process."""
    monkeypatch.setattr(readiness, "wait_ready", wait_ready)
    ours, its = socket.socketpair()
    request = b'wait {"names": ["node1"], "since": 7.5}'

    def child():
        ours.close()
        waiter.serve(lab, request, its)

    pid = fork(child)
    its.close()
    with ours:
        yield ours, pid


def test_a_fork_of_the_keeper_tells_how_it_ends(tmp_path, monkeypatch):
    def wait_ready(lab, names, say, *, since, kubeconfig):
        say(f"{names} {since} {kubeconfig.relative_to(lab.path)}")
        raise NotReadyError("not in time")

    with served(made(tmp_path), wait_ready, monkeypatch) as (asker, pid):
        lines = asker.makefile().read().splitlines()
        assert os.waitpid(pid, 0)[1] == 0
    inside = "machines/control/etc/scheduler.kubeconfig"
    assert lines == [f'{{"say": "[\'node1\'] 7.5 {inside}"}}', '{"fail": "not in time"}']


def test_a_fork_of_the_keeper_ends_when_nobody_listens(tmp_path, monkeypatch):
    def wait_ready(_lab, _names, say, **_how):
        while True:
            say("not yet")

    with served(made(tmp_path), wait_ready, monkeypatch) as (asker, pid):
        asker.close()
        status = os.waitpid(pid, 0)[1]
    assert os.WTERMSIG(status) == 13  # SIGPIPE
