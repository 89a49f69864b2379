"""Announces addresses to routers by BGP (RFC 4271), with exabgp as the speaker of the protocol.

Every node that may take an address's traffic announces it, so that a router with several paths
spreads connections over them. exabgp reads its routes from a file when
it starts, and each change as a command from a program that it runs, ``cat`` of a pipe; the program
also tells which sessions are up. (A route that is gone from the file when it is read again, at
SIGUSR1, exabgp withdraws only after the peer's next message, up to a third of the hold time later.)
A route has a next hop of its own family, so each peer gets the routes of its own.
"""

import asyncio
import hashlib
import logging
import os
import sys
import tempfile
from base64 import b64encode
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, ip_address
from pathlib import Path

from control.client.backoff import Backoff
from control.cloud.speaker.choose import Candidates
from control.cloud.speaker.sessions import Sessions
from control.cloud.speaker.views import Address
from control.linux import whole

_MOST_AS = (1 << 32) - 1
# exabgp's own settings: no API of its own, no listening, its log to ours.
_SETTINGS = {
    "exabgp_api_ack": "false",
    "exabgp_api_cli": "false",
    "exabgp_api_respawn": "false",
    "exabgp_api_terminate": "true",
    "exabgp_daemon_daemonize": "false",
    "exabgp_daemon_user": "root",
    "exabgp_log_destination": "stderr",
    "exabgp_log_level": "WARNING",
    "exabgp_tcp_bind": "",
}
_MOST_PASSWORD = 80  # of the kernel, TCP_MD5SIG_MAXKEYLEN
_STABLE_SECONDS = 10.0
_PIECE = 65536  # bytes
logger = logging.getLogger(__name__)


class BgpError(Exception):
    """The settings of BGP are not valid; the text names the flag and the valid form."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A router."""

    address: Address
    number: int  # of its autonomous system


@dataclass(frozen=True, slots=True)
class Session:
    """What this node says to its routers.

    ``hold`` in seconds, at least 3 (RFC 4271, 4.2); ``restart`` the seconds for which routers keep
    the routes of a speaker that starts again (RFC 4724), or 0; ``password`` signs segments (RFC
    2385), or "".
    """

    node: str
    number: int
    peers: tuple[Peer, ...]
    addresses: tuple[Address, ...]  # of the node: a next hop for each family
    hold: int = 90
    restart: int = 0
    password: bytes = b""


def peer(text: str) -> Peer:
    """Read ``192.0.2.1,64512``; raises BgpError."""
    address, _, number = text.partition(",")
    try:
        return Peer(ip_address(address.strip()), system(number))
    except ValueError as err:
        raise BgpError(f"{text!r}: {err}; write it as 192.0.2.1,64512") from err


def system(text: str) -> int:
    """Read the number of an autonomous system; raises ValueError."""
    text = text.strip()
    if not (text.isascii() and text.isdecimal() and 1 <= int(text) <= _MOST_AS):
        raise ValueError(f"{text!r} is no number of an autonomous system, 1 to {_MOST_AS}")
    return int(text)


def password(content: bytes) -> bytes:
    """Return the password of a file, whose last line end is none of it; raises BgpError."""
    found = content.removesuffix(b"\n")
    if not 0 < len(found) <= _MOST_PASSWORD or not found.isascii() or b"\n" in found:
        raise BgpError(f"want one line of 1 to {_MOST_PASSWORD} ASCII characters")
    return found


def exports(may: Candidates, node: str) -> frozenset[Address]:
    """Return the addresses that a node announces: all whose traffic it may take."""
    return frozenset(address for address, nodes in may.items() if node in nodes)


def program(changes: Path, told: Path) -> str:
    """Return the script that exabgp runs: it reads commands, and writes what exabgp tells."""
    return f"#!/bin/sh\n/bin/cat '{changes}' &\nexec /bin/cat > '{told}'\n"


def configuration(session: Session, addresses: Iterable[Address], script: Path) -> str:
    """Return exabgp's file: what it announces at first, and the program of its commands.

    Raises BgpError if a peer's family has no address of the node.
    """
    process = f"process routes {{\n  run {script};\n  encoder text;\n}}\n"
    ordered = sorted(addresses, key=lambda each: (each.version, int(each)))
    return process + "".join(_neighbor(session, each, ordered) for each in session.peers)


def commands(session: Session, verb: str, addresses: Iterable[Address]) -> str:
    """Return exabgp's commands, a line each, that announce or withdraw addresses."""
    ordered = sorted(addresses, key=lambda each: (each.version, int(each)))
    return "".join(
        f"neighbor {to.address} {verb} route {each}/{each.max_prefixlen} "
        f"next-hop {_local(session, to)}\n"
        for each in ordered
        for to in session.peers
        if to.address.version == each.version
    )


def _local(session: Session, to: Peer) -> Address:
    version = to.address.version
    local = next((a for a in session.addresses if a.version == version), None)
    if local is None:
        raise BgpError(f"peer {to.address}: the node has no IPv{version} address")
    return local


def _neighbor(session: Session, to: Peer, addresses: Iterable[Address]) -> str:
    local = _local(session, to)
    routes = "".join(
        f"    route {each}/{each.max_prefixlen} next-hop {local};\n"
        for each in addresses
        if each.version == local.version
    )
    return (
        f"neighbor {to.address} {{\n"
        f"  router-id {_router_id(session)};\n  local-address {local};\n"
        f"  local-as {session.number};\n  peer-as {to.number};\n  hold-time {session.hold};\n"
        f"{_options(session)}"
        f"  family {{ ipv{to.address.version} unicast; }}\n"
        "  api { processes [ routes ]; neighbor-changes; }\n"
        "  adj-rib-out true;\n"  # a router that comes back is told again
        f"  static {{\n{routes}  }}\n}}\n"
    )


def _options(session: Session) -> str:
    """Return the lines of what a session has only if it is asked for."""
    lines = ""
    if session.restart:
        lines += f"  capability {{ graceful-restart {session.restart}; }}\n"
    if session.password:  # in base64 no character of it has a meaning for exabgp
        lines += f"  md5-password {b64encode(session.password).decode()};\n  md5-base64 true;\n"
    return lines


def _router_id(session: Session) -> IPv4Address:
    """Return the node's IPv4 address; of a node without, a number made of its name."""
    for each in session.addresses:
        if isinstance(each, IPv4Address):
            return each
    return IPv4Address(hashlib.sha256(session.node.encode()).digest()[:4])


class Bgp:
    """Keeps exabgp running with this node's routes; implements Announcer."""

    protocol = "bgp"

    def __init__(self, session: Session) -> None:
        self._session = session
        self._exports: frozenset[Address] | None = None
        self._decided = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._changes = -1  # the pipe's descriptor, while exabgp starts and runs
        self._told = -1  # that of the pipe from exabgp
        self._sessions = Sessions()
        self._lost = False  # a command was; only a new start brings it
        self._folder = tempfile.TemporaryDirectory(prefix="podwire-bgp-")
        folder = Path(self._folder.name)
        self._file, self._script = folder / "exabgp.conf", folder / "program"
        self._pipe, self._ear = folder / "changes", folder / "told"
        whole.write(self._script, program(self._pipe, self._ear), 0o700)
        configuration(session, (), self._script)  # raises BgpError now, not in the background

    @property
    def addresses(self) -> frozenset[Address]:
        """The addresses that this node announces."""
        return self._exports or frozenset()

    def sessions(self) -> list[tuple[Peer, bool]]:
        """Return the routers, and whether the session with each is up."""
        return [(each, each.address in self._sessions.up) for each in self._session.peers]

    def routes(self, to: Peer) -> frozenset[Address]:
        """Return the addresses that a router is to hear of: those of its own family."""
        return frozenset(a for a in self.addresses if a.version == to.address.version)

    def decide(self, may: Candidates) -> None:
        """Announce what this node may take, and nothing else, from now on."""
        wanted = exports(may, self._session.node)
        if wanted == self._exports:
            return
        before, self._exports = self._exports or frozenset(), wanted
        for verb, changed in (("announce", wanted - before), ("withdraw", before - wanted)):
            for text in sorted(map(str, changed)):
                logger.info("%ss %s by BGP", verb, text)
            self._tell(commands(self._session, verb, changed))
        self._decided.set()

    def _tell(self, text: str) -> None:
        """Give exabgp commands; one that does not read them is started again, with all routes."""
        if self._changes < 0:
            return  # the next one reads them from the file
        try:
            self._lost |= os.write(self._changes, text.encode()) < len(text)
        except BlockingIOError:
            self._lost = True
        if self._lost and self._process is not None and self._process.returncode is None:
            self._process.terminate()

    async def run(self) -> None:
        """Run exabgp for ever; one that ends is started again."""
        pause, loop = Backoff(), asyncio.get_running_loop()
        try:
            await self._decided.wait()
            while True:
                began = loop.time()
                code = await self._once()
                if loop.time() - began > _STABLE_SECONDS:
                    pause.reset()
                logger.warning("exabgp ended with code %d; it is started again", code)
                await asyncio.sleep(pause.next())
        finally:
            self._folder.cleanup()

    async def _once(self) -> int:
        self._renew()
        program = [sys.executable, "-m", "exabgp", "server", os.fspath(self._file)]
        # It must not outlive this process: the next one's exabgp would be a second speaker.
        self._process = await asyncio.create_subprocess_exec(
            "setpriv", "--pdeathsig", "TERM", *program, env=os.environ | _SETTINGS
        )
        try:
            if self._lost:
                self._process.terminate()
            return await self._process.wait()
        finally:
            if self._process.returncode is None:
                self._process.terminate()
                await self._process.wait()
            self._close()

    def _close(self) -> None:
        """Close both pipes; no session is up without exabgp."""
        asyncio.get_running_loop().remove_reader(self._told)
        for opened in (self._changes, self._told):
            os.close(opened)
        self._changes = self._told = -1
        self._sessions.reset()

    def _hear(self) -> None:
        """Read what exabgp tells of its sessions."""
        try:
            piece = os.read(self._told, _PIECE)
        except BlockingIOError:
            return
        for address, is_up in self._sessions.take(piece):
            logger.info("session with %s is %s", address, "up" if is_up else "down")

    def _renew(self) -> None:
        """Make the file of what is announced, and pipes that no older program has."""
        text = configuration(self._session, self._exports or (), self._script)
        whole.write(self._file, text, 0o600)
        self._lost = False
        self._changes, self._told = _fresh_pipe(self._pipe), _fresh_pipe(self._ear)
        asyncio.get_running_loop().add_reader(self._told, self._hear)


def _fresh_pipe(path: Path) -> int:
    """Make a named pipe that no older program has; return a descriptor for both directions."""
    path.unlink(missing_ok=True)
    os.mkfifo(path, 0o600)
    # Both: it opens without another end, and does not end with one.
    return os.open(path, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
