"""Named network namespaces for tests with real packets; bin/test seals them off the host."""

import contextlib
import itertools
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_numbers = itertools.count(1)


class Space:
    """A network namespace under /run/netns, with loopback up."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.path = Path("/run/netns") / name
        subprocess.run(["ip", "netns", "add", name], check=True)
        self.ip("link", "set", "lo", "up")

    def ip(self, *args: str) -> str:
        """Run ``ip ARGS`` inside, and return its output."""
        return self.run("ip", *args)

    def argv(self, *argv: str) -> list[str]:
        """Return the command line that runs ``argv`` inside (``ip netns exec`` would hide /sys)."""
        return ["nsenter", f"--net={self.path}", *argv]

    def run(self, *argv: str, check: bool = True, stdin: str | None = None) -> str:
        """Run a command inside, and return its output; raises AssertionError on failure."""
        done = subprocess.run(
            self.argv(*argv), check=False, capture_output=True, text=True, input=stdin
        )
        if check and done.returncode:
            raise AssertionError(f"{argv} in {self.name}: {done.returncode}: {done.stderr}")
        return done.stdout

    def sysctl(self, key: str, value: int | str) -> None:
        """Set a sysctl such as ``net.ipv4.ip_forward`` inside."""
        self.run("sysctl", "-qw", f"{key}={value}")

    def veth(self, ifname: str, peer: "Space", peer_ifname: str) -> None:
        """Connect this namespace to another: ``ifname`` here, ``peer_ifname`` there, both up."""
        self.ip(
            "link", "add", ifname, "type", "veth", "peer", "name", peer_ifname, "netns", peer.name
        )
        self.ip("link", "set", ifname, "up")
        peer.ip("link", "set", peer_ifname, "up")

    def remove(self) -> None:
        """Kill the processes inside, then remove the namespace."""
        for pid in self.run("ip", "netns", "pids", self.name).split():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], check=True)


@pytest.fixture(scope="module")
def spaces() -> Iterator[Callable[[str], Space]]:
    """Give a function that makes namespaces, ``spaces("pod")``; remove all after the module."""
    if "eth0:" in Path("/proc/net/dev").read_text() or os.geteuid() != 0:
        pytest.fail("tests with packets run sealed off the host, as root: use bin/test")
    made: list[Space] = []

    def make(name: str) -> Space:
        made.append(Space(f"{name}-{os.getpid()}-{next(_numbers)}"))
        return made[-1]

    yield make
    for space in reversed(made):
        space.remove()
