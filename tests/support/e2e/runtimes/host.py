"""A machine with the plugin installed, and a neighbor on a veth pair."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.support.e2e.harness import CHECKOUT, eventually
from tests.support.e2e.runtimes.machine import Daemon, Machine

BIN_DIR, CONF_DIR = Path("/opt/cni/bin"), Path("/etc/cni/net.d")
SOCKET = Path("/run/podwire/cni.sock")
_LINGERING, _LOCK = Path(f"{SOCKET}.lingering"), Path(f"{SOCKET}.lingering.lock")
_DISMISS = f"""
from pathlib import Path
from cni_plugin.server.lingering import dismiss
print(dismiss(Path({str(_LINGERING)!r})))
"""
ADDRESS, OUTSIDE = "192.0.2.1", "192.0.2.2"
_RECORDER = """#!/bin/sh
call=$(mktemp --directory {log}/$(date +%s%N)-XXXX)
env | grep ^CNI_ > $call/environment
cat > $call/stdin
exec {real} < $call/stdin
"""
_LEFT = """
iptables-save; ip6tables-save; nft list ruleset; tc qdisc show | grep -v noqueue
find /var/lib/cni -type f ! -name 'lock' ! -name 'last_reserved_ip*' ! -name '.*'; ls /run/netns
"""


def wget(address: str, port: int) -> tuple[str, ...]:
    """The command line of an HTTP request (busybox 1.35's own -T crashes)."""
    host = f"[{address}]" if ":" in address else address
    return ("timeout", "2", "busybox", "wget", "-q", "-O", "-", f"http://{host}:{port}/")


@dataclass(frozen=True)
class Call:
    """One call of the plugin by a runtime."""

    environment: Mapping[str, str]
    stdin: Mapping[str, Any]

    @property
    def verb(self) -> str:
        return self.environment["CNI_COMMAND"]


@dataclass(frozen=True)
class Host:
    """The machine. The neighbor is its network namespace ``outside``."""

    machine: Machine

    def podwire(self, *args: str | Path) -> str:
        """The output of ``podwire ARGS`` on the machine. It must succeed."""
        return self.machine.run(CHECKOUT / "bin/podwire", *args)

    @contextmanager
    def network(self, name: str, plugins: list[dict[str, Any]], *versions: str) -> Iterator[None]:
        """Install a network list before all others, for the block. Its bridge is ``chain0``."""
        conf = {"cniVersion": "1.0.0", "cniVersions": versions, "name": name, "plugins": plugins}
        path = CONF_DIR / f"00-{name}.conflist"
        self.machine.run(
            "sh", "-c", f"cat > {path}.new && mv {path}.new {path}", stdin=json.dumps(conf)
        )
        try:
            yield
        finally:
            self.machine.run("rm", path)
            self.machine.try_run("ip", "link", "del", "chain0")

    def from_outside(self, *argv: str) -> str:
        """The output of a command of the neighbor; empty if it fails."""
        return self.machine.try_run("ip", "netns", "exec", "outside", *argv).stdout

    def fetch(self, address: str, port: int) -> str:
        """The answer to an HTTP request of the neighbor; empty if there is none."""
        return self.from_outside(*wget(address, port)).strip()

    def links(self) -> dict[str, Any]:
        """The machine's links, by name."""
        found = json.loads(self.machine.run("ip", "-d", "-j", "link", "show"))
        return {item["ifname"]: item for item in found}

    def buckets(self) -> dict[str, int]:
        """The rate of each limited link, in bits per second."""
        found = json.loads(self.machine.run("tc", "-j", "qdisc", "show"))
        return {it["dev"]: it["options"]["rate"] * 8 for it in found if it["kind"] == "tbf"}

    def rules(self) -> str:
        """All rules of the packet filter, of every backend."""
        return self.machine.run("sh", "-c", "nft list ruleset; iptables-save; ip6tables-save")

    def left(self) -> set[str]:
        """All leftovers of containers. Bridges do not count: the next container uses them."""
        kinds = {name: it.get("linkinfo", {}).get("info_kind") for name, it in self.links().items()}
        lines = self.machine.run("sh", "-c", _LEFT).splitlines()
        return {
            line for line in lines if line and not line.startswith(("#", "*", ":", "COMMIT"))
        } | {name for name, kind in kinds.items() if kind != "bridge"}

    @contextmanager
    def served(self) -> Iterator[Daemon]:
        """Run the warm server on the machine for the block."""
        serve = (CHECKOUT / "bin/podwire", "cni", "serve", "-v")
        self.machine.run(
            "rm", "-f", SOCKET
        )  # of one that was killed; this one listens when it is there
        with self.machine.running("cni-server", *serve) as server:
            eventually(lambda: self.machine.try_run("test", "-S", SOCKET).returncode == 0, 30)
            yield server

    @contextmanager
    def unserved(self) -> Iterator[None]:
        """Let calls of the plugin leave no server behind, for the block."""
        self.dismiss()
        self.machine.run("mkdir", "-p", _LOCK)  # in the place of a file
        try:
            yield
        finally:
            self.machine.run("rmdir", _LOCK)

    def dismiss(self) -> bool:
        """End the server that a call has left behind. Returns true if there is one."""
        there = "True" in self.machine.run(CHECKOUT / ".venv/bin/python", "-c", _DISMISS)
        eventually(lambda: self.machine.try_run("test", "-e", _LINGERING).returncode == 1, 30)
        return there

    def log(self) -> str:
        """The warm server's log so far."""
        path = self.machine.files / "cni-server.log"
        return path.read_text() if path.exists() else ""

    @contextmanager
    def recorded(self) -> Iterator[list[Call]]:
        """Record the calls of the plugin. The list is filled at the end of the block."""
        log = self.machine.files / "calls"
        log.mkdir()
        program, real = BIN_DIR / "podwire-cni", BIN_DIR / "podwire-cni.real"
        self.machine.run("mv", program, real)
        recorder = _RECORDER.format(log=log, real=real)
        self.machine.run("sh", "-c", f"cat > {program} && chmod +x {program}", stdin=recorder)
        calls: list[Call] = []
        try:
            yield calls
        finally:
            self.machine.run("mv", real, program)
            calls += [_read_call(folder) for folder in sorted(log.iterdir())]
            log.rename(log.with_name(f"calls-{len(list(self.machine.files.iterdir()))}"))


def _read_call(folder: Path) -> Call:
    lines = (folder / "environment").read_text().splitlines()
    environment = dict(line.split("=", 1) for line in lines)
    return Call(environment, json.loads((folder / "stdin").read_text()))


def host(machine: Machine, *subnets: str) -> Host:
    """Install the plugin with its own command, and make the veth pair."""
    made = Host(machine)
    machine.run(
        "sh",
        "-ec",
        f"""
        ip netns add outside
        ip link add out0 type veth peer name eth0 netns outside
        ip addr add {ADDRESS}/24 dev out0 && ip link set out0 up
        ip -n outside addr add {OUTSIDE}/24 dev eth0 && ip -n outside link set eth0 up
    """,
    )
    ranges = [item for subnet in subnets for item in ("--subnet", subnet)]
    made.podwire("cni", "install", *ranges)
    return made
