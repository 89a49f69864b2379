"""Named network namespaces for tests with real packets; bin/test seals them off the host.

A worker in each of many namespaces imports this, so it imports little: the fixture is in
tests/support/spaces.py.
"""

import contextlib
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path


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

    def ip_batch(self, *lines: str) -> None:
        """Run ``ip LINE`` inside for each line, in one process: a start costs more than a link."""
        self.run("ip", "-batch", "-", stdin="".join(f"{line}\n" for line in lines))

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
        self.sysctls({key: value})

    def sysctls(self, values: Mapping[str, int | str]) -> None:
        """Set sysctls inside, in one process."""
        self.run("sysctl", "-qw", *(f"{key}={value}" for key, value in values.items()))

    def veth(self, ifname: str, peer: "Space", peer_ifname: str) -> None:
        """Connect this namespace to another: ``ifname`` here, ``peer_ifname`` there, both up."""
        self.ip_batch(
            f"link add {ifname} type veth peer name {peer_ifname} netns {peer.name}",
            f"link set {ifname} up",
        )
        peer.ip("link", "set", peer_ifname, "up")

    def remove(self) -> None:
        """Kill the processes inside, then remove the namespace."""
        for pid in self.run("ip", "netns", "pids", self.name).split():
            with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
                os.kill(int(pid), signal.SIGKILL)
        subprocess.run(["ip", "netns", "del", self.name], check=True)
