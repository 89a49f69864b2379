"""Routers with a BGP of their own make, BIRD and FRR, in a network namespace."""

import json
import shutil
import subprocess
import tempfile
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path

from tests.support.space import Space

ROUTER_AS, NODE_AS = 64512, 64513


@dataclass(frozen=True)
class Neighbor:
    """A node that calls the router, one entry for each family."""

    name: str
    version: int
    address: str
    local: str  # the router's own address of this family


class Router(ABC):
    """A router's processes, and the folder of its files and sockets."""

    def __init__(self, space: Space, neighbors: list[Neighbor], password: str) -> None:
        self._space = space
        self._folder = Path(tempfile.mkdtemp(prefix="router-", dir="/tmp"))
        self._running: list[subprocess.Popen[bytes]] = []
        self._configure(neighbors, password)

    @abstractmethod
    def _configure(self, neighbors: list[Neighbor], password: str) -> None:
        """Write the configuration."""

    @abstractmethod
    def _commands(self) -> list[list[str]]:
        """Return the command lines of the processes, in the order of their start."""

    @abstractmethod
    def sessions(self) -> int:
        """Return how many sessions are established."""

    def start(self) -> None:
        """Start the processes."""
        self._running = [
            subprocess.Popen(self._space.argv(*argv), stderr=subprocess.DEVNULL)
            for argv in self._commands()
        ]

    def is_running(self) -> bool:
        """Return True if no process has ended."""
        return all(process.poll() is None for process in self._running)

    def stop(self) -> None:
        """End the processes."""
        for process in reversed(self._running):
            process.terminate()
            process.wait()

    def remove(self) -> None:
        """End the processes, and remove the folder."""
        self.stop()
        shutil.rmtree(self._folder)

    def _ask(self, *argv: str) -> bytes:
        """Run a command on the router; return its output, "" if it fails."""
        done = subprocess.run(self._space.argv(*argv), capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else b""


class Bird(Router):
    """BIRD 2, one process."""

    def _configure(self, neighbors: list[Neighbor], password: str) -> None:
        text = "router id 192.0.2.1;\nprotocol device { scan time 1; }\n"
        for version in (4, 6):
            text += f"protocol kernel {{ ipv{version} {{ export all; }}; merge paths on; }}\n"
        for each in neighbors:
            text += (
                f"protocol bgp {each.name}v{each.version} {{\n"
                f'  local {each.local} as {ROUTER_AS}; passive on; password "{password}";\n'
                f"  neighbor {each.address} as {NODE_AS};\n"
                f"  ipv{each.version} {{ import all; export none; }};\n}}\n"
            )
        (self._folder / "bird.conf").write_text(text)

    def _commands(self) -> list[list[str]]:
        files = "-c", str(self._folder / "bird.conf"), "-s", str(self._folder / "ctl")
        return [["/usr/sbin/bird", "-f", *files]]

    def sessions(self) -> int:
        shown = self._ask("/usr/sbin/birdc", "-s", str(self._folder / "ctl"), "show", "protocols")
        return shown.count(b"Established")


class Frr(Router):
    """FRR: zebra writes the kernel's routes, bgpd speaks; both run as the package's user."""

    def _configure(self, neighbors: list[Neighbor], password: str) -> None:
        (self._folder / "zebra.conf").write_text("hostname router\n")
        lines = [
            f"router bgp {ROUTER_AS}",
            *(" bgp router-id 192.0.2.1", " no bgp default ipv4-unicast"),
            " no bgp ebgp-requires-policy",
        ]
        for each in neighbors:
            lines.append(f" neighbor {each.address} remote-as {NODE_AS}")
            lines.append(f" neighbor {each.address} passive")
            lines.append(f" neighbor {each.address} password {password}")
        for version in (4, 6):
            lines += [f" address-family ipv{version} unicast", "  maximum-paths 8"]
            mine = [each for each in neighbors if each.version == version]
            lines += [f"  neighbor {each.address} activate" for each in mine]
            lines.append(" exit-address-family")
        (self._folder / "bgpd.conf").write_text("\n".join(lines) + "\n")
        shutil.chown(self._folder, "frr", "frr")

    def _commands(self) -> list[list[str]]:
        return [self._daemon("zebra"), self._daemon("bgpd")]

    def _daemon(self, name: str) -> list[str]:
        folder = self._folder
        argv = [f"/usr/lib/frr/{name}", "-f", str(folder / f"{name}.conf"), "-P", "0"]
        argv += ["-z", str(folder / "zserv.api"), "-i", str(folder / f"{name}.pid")]
        return [*argv, "--vty_socket", str(folder)]

    def sessions(self) -> int:
        show = "show bgp summary established json"
        shown = self._ask("/usr/bin/vtysh", "--vty_socket", str(self._folder), "-c", show)
        try:
            families = json.loads(shown)
        except ValueError:  # bgpd does not answer yet
            return 0
        return sum(len(each.get("peers", ())) for each in families.values())
