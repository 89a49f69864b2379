"""Restarts of components."""

import ast
import os
import signal
import time

import pytest

from lab.spec import Component
from lab.supervise import (
    MAX_DELAY_SECONDS,
    STABLE_SECONDS,
    ComponentsError,
    Supervisor,
    fork,
    next_delay,
    rotate,
)


def test_a_stable_component_is_restarted_at_once():
    assert next_delay(lived=STABLE_SECONDS, delay=MAX_DELAY_SECONDS) == 0


def test_a_failing_component_waits_longer_each_time_up_to_a_limit():
    delays = [0.0]
    for _ in range(12):
        delays.append(next_delay(lived=0.01, delay=delays[-1]))
    assert delays == sorted(delays)
    assert delays[1] > 0
    assert delays[-1] == MAX_DELAY_SECONDS


def eventually(check, seconds=60.0):
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "did not happen"
        time.sleep(0.01)


class Supervised:
    """A supervisor in its own process; its components write their name, arguments and pid."""

    def __init__(self, folder):
        self.folder, self.out, self.list = folder, folder / "starts", folder / "components"
        self.want(sleeper=("600",))
        self.pid = fork(lambda: Supervisor(self.load, self.log, self.run).supervise())

    def want(self, **components):
        """Replace the list as a whole, because the supervisor may be reading it."""
        part = self.list.with_suffix(".part")
        part.write_text(repr(components))
        part.rename(self.list)

    def load(self):
        try:
            rows = ast.literal_eval(self.list.read_text())
        except SyntaxError as err:
            raise ComponentsError(str(err)) from err
        return [Component(name, argv) for name, argv in rows.items()]

    def log(self, name):
        return str(self.folder / f"{name}.log")

    def run(self, argv):
        with self.out.open("a") as stream:
            stream.write(f"{argv[0]} {os.getpid()}\n")
        time.sleep(float(argv[0]))

    def starts(self):
        lines = self.out.read_text().splitlines() if self.out.exists() else []
        return [(argument, int(pid)) for argument, pid in map(str.split, lines)]

    def end(self):
        os.kill(self.pid, signal.SIGTERM)
        os.waitpid(self.pid, 0)


@pytest.fixture
def supervised(tmp_path):
    made = Supervised(tmp_path)
    yield made
    made.end()


def is_alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_a_killed_component_is_started_again(supervised):
    eventually(lambda: len(supervised.starts()) == 1)
    os.kill(supervised.starts()[0][1], signal.SIGKILL)
    eventually(lambda: len(supervised.starts()) == 2)


def test_a_changed_component_is_replaced_and_the_others_are_left_alone(supervised):
    supervised.want(sleeper=("600",), other=("500",))
    eventually(lambda: len(supervised.starts()) >= 1)
    os.kill(supervised.pid, signal.SIGHUP)
    eventually(lambda: {a for a, _ in supervised.starts()} == {"600", "500"})
    pids = dict(supervised.starts())
    supervised.want(sleeper=("600",), other=("400",))
    os.kill(supervised.pid, signal.SIGHUP)
    eventually(lambda: [a for a, _ in supervised.starts()][2:] == ["400"])
    assert is_alive(pids["600"])
    eventually(lambda: not is_alive(pids["500"]))


def test_a_removed_component_is_not_restarted(supervised):
    eventually(lambda: len(supervised.starts()) == 1)
    supervised.want(other=("500",))
    os.kill(supervised.pid, signal.SIGHUP)
    eventually(lambda: [a for a, _ in supervised.starts()] == ["600", "500"])
    eventually(lambda: not is_alive(supervised.starts()[0][1]))


def test_an_unreadable_list_changes_nothing(supervised):
    eventually(lambda: len(supervised.starts()) == 1)
    supervised.list.write_text("{'sleeper': (")
    os.kill(supervised.pid, signal.SIGHUP)
    os.kill(supervised.starts()[0][1], signal.SIGKILL)
    eventually(lambda: [a for a, _ in supervised.starts()] == ["600", "600"])


def test_a_component_may_be_a_program(tmp_path):
    log = tmp_path / "log"
    part = Component("echo", ("sh", "-c", "echo $0 says $1; exec sleep 600", "x", "y"), True)
    pid = fork(lambda: Supervisor(lambda: [part], lambda _: str(log), lambda _: None).supervise())
    try:
        eventually(lambda: log.exists() and log.read_text() == "x says y\n")
    finally:
        os.kill(pid, signal.SIGTERM)
        os.waitpid(pid, 0)


def test_sigterm_ends_the_components_first(tmp_path):
    made = Supervised(tmp_path)
    eventually(lambda: len(made.starts()) == 1)
    made.end()
    assert not is_alive(made.starts()[0][1])


def test_a_large_log_is_moved_aside_while_its_writer_goes_on(tmp_path, monkeypatch):
    monkeypatch.setattr("lab.supervise.LOG_BYTES", 10)
    log = tmp_path / "a.log"
    rotate(log)  # there is none yet
    with log.open("a") as writer:
        for text in ("short", "second part", "new"):
            writer.write(text)
            writer.flush()
            rotate(log)
    assert (tmp_path / "a.log.1").read_text() == "shortsecond part"
    assert log.read_text() == "new"
