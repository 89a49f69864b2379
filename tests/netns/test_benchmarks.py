"""The namespaces in which benchmarks run: a signal leaves nothing of them behind."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from bench.cpus import pin, placements
from bench.versus import ROOT

PROGRAM = """
import os, subprocess, sys, time
from contextlib import contextmanager
from bench.sealed import seal

@contextmanager
def outside():
    yield "provided"
    print("left", flush=True)

provided = seal("touch /run/netns/ready", outside())
subprocess.Popen(["setsid", "sleep", "600"])
print(os.readlink("/proc/self/ns/pid"), os.getpid(), provided, flush=True)
while os.getpriority(os.PRIO_PROCESS, 0) != -20:  # the parent sets it meanwhile
    time.sleep(0.01)
if len(sys.argv) > 1:
    sys.exit(int(sys.argv[1]))
time.sleep(600)
"""

pytestmark = pytest.mark.netns


def start(*args: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, *args],
        cwd=ROOT,
        env={name: value for name, value in os.environ.items() if name != "PODWIRE_BENCH_INSIDE"},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )


def members(namespace: str) -> list[Path]:
    """The processes of a PID namespace, but for those that have ended and wait to be buried."""
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/pid"):
        process = link.parents[1]
        with suppress(OSError):  # it has ended
            dead = (process / "stat").read_text().rpartition(")")[2].split()[0] in "XZ"
            if str(link.readlink()) == namespace and not dead:
                found.append(process)
    return found


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_signal_ends_all_that_runs_inside(number):
    with start() as program:
        assert program.stdout is not None
        namespace, pid, provided = program.stdout.readline().split()
        assert (pid, provided) == ("1", "provided")
        assert len(members(namespace)) == 2  # the program, and the one that it has started
        program.send_signal(number)
        status = program.wait()
        killed = number == signal.SIGKILL
        assert status == (-number if killed else 128 + number)
        assert program.stdout.read() == ("" if killed else "left\n")
    while members(namespace):  # the test's own limit ends it
        time.sleep(0.02)


def test_status_is_the_programs_own():
    with start("7") as program:
        assert program.stdout is not None
        lines = program.stdout.read().splitlines()
        assert program.wait() == 7
    assert lines[1:] == ["left"]


def test_every_thread_is_pinned():
    threads = 3
    program = (
        "import threading, time\n"
        f"for _ in range({threads}): threading.Thread(target=time.sleep, args=(600,)).start()\n"
        "print(flush=True)"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout is not None
            child.stdout.readline()
            clients, _ = placements()["1 CPU"]
            pin([child.pid], clients)
            tasks = [int(task.name) for task in Path(f"/proc/{child.pid}/task").iterdir()]
            assert len(tasks) == threads + 1
            assert all(os.sched_getaffinity(task) == clients for task in tasks)
        finally:
            child.kill()
