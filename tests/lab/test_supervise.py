"""Components end, and come back."""

import os
import signal
import time

import pytest

from lab.spec import Component
from lab.supervise import MAX_DELAY_SECONDS, STABLE_SECONDS, fork, next_delay, supervise


def test_a_component_that_had_been_stable_comes_back_at_once():
    assert next_delay(lived=STABLE_SECONDS, delay=MAX_DELAY_SECONDS) == 0


def test_a_component_that_keeps_failing_waits_ever_longer_to_a_limit():
    delays = [0.0]
    for _ in range(12):
        delays.append(next_delay(lived=0.01, delay=delays[-1]))
    assert delays == sorted(delays)
    assert delays[1] > 0
    assert delays[-1] == MAX_DELAY_SECONDS


def eventually(check, seconds=20.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


@pytest.fixture
def supervised(tmp_path):
    """A supervisor in a process of its own; its component writes its pid, then waits."""
    out = tmp_path / "pids"

    def run(argv):
        with out.open("a") as stream:
            stream.write(f"{os.getpid()}\n")
        time.sleep(float(argv[0]))

    component = Component("sleeper", ("600",))
    pid = fork(lambda: supervise([component], lambda name: str(tmp_path / name), run))
    yield pid, lambda: out.read_text().split() if out.exists() else []
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def test_a_killed_component_is_started_again(supervised):
    _, pids = supervised
    eventually(lambda: len(pids()) == 1)
    os.kill(int(pids()[0]), signal.SIGKILL)
    eventually(lambda: len(pids()) == 2)
    os.kill(int(pids()[1]), signal.SIGKILL)


def test_sigterm_ends_the_components_first(tmp_path):
    out = tmp_path / "pid"

    def run(argv):
        out.write_text(str(os.getpid()))
        time.sleep(600)

    pid = fork(lambda: supervise([Component("x", ("y",))], lambda _: os.devnull, run))
    eventually(lambda: out.exists() and out.read_text())
    os.kill(pid, signal.SIGTERM)
    os.waitpid(pid, 0)
    with pytest.raises(ProcessLookupError):
        os.kill(int(out.read_text()), 0)
