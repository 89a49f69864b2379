"""A router in a namespace, into which packets are sent, and which tells what became of each.

Chains of the test's own, behind all others, log each packet that is still there: NFLOG has its
bytes and its mark. A last packet says that all before it are through; nothing waits for a clock.
"""

import re
import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass

from debug.places import Place, entered
from debug.ruleset.packet import ICMP, ICMP6, UDP, Packet, make
from proxy.linux.netlink import (
    ACK,
    NETFILTER,
    RECEIVE,
    REQUEST,
    attribute,
    attributes,
    messages,
    pack_message,
    text,
)
from tests.support.space import Space

GROUP = 77
_END = 0xFFFFFFFF
_MAGIC = b"case"
_TRIES = 30
HOOKS = ("prerouting", "input", "forward", "postrouting")
_PROBE = "".join(
    f"chain {hook} {{ type filter hook {hook} priority 5000; "
    f'log group {GROUP} prefix "{hook}"; }}\n'
    for hook in HOOKS
)
PROBE = (
    f"table inet probe {{\n{_PROBE}"
    "chain first { type filter hook prerouting priority -450; "
    f'ip daddr 10.2.255.255 log group {GROUP} prefix "end" drop; }}\n}}\n'
)


@dataclass(frozen=True)
class Seen:
    """A packet at the end of a hook."""

    hook: str
    mark: int
    packet: Packet


class Router:
    """Two neighbors, and the router between them, whose rules are tried."""

    def __init__(self, make: Callable[[str], Space]) -> None:
        self.space, self._ends = make("router"), (make("left"), make("right"))
        for at, end in enumerate(self._ends):
            self.space.veth(f"r{at}", end, "e0")
            self.space.ip_batch(f"link set r{at} address 02:00:00:00:00:1{at}")
            end.ip_batch("link set e0 address 02:00:00:00:00:01", "link set e0 arp off")
        self.space.sysctls(
            {
                "net.ipv4.ip_forward": 1,
                "net.ipv6.conf.all.forwarding": 1,
                "net.netfilter.nf_conntrack_checksum": 0,
                "net.netfilter.nf_conntrack_tcp_be_liberal": 1,
                **{f"net.ipv4.conf.{name}.rp_filter": 0 for name in ("all", "r0", "r1")},
            }
        )
        self.space.ip_batch(*_addresses())
        self.place = Place("router", 1, str(self.space.path))
        self.refused: list[str] = []  # what nft did not take
        with entered(self.place):
            self._log = _logged()
        self._sending = [_raw(end) for end in self._ends]

    def close(self) -> None:
        """Close the sockets."""
        for one in (self._log, *self._sending):
            one.close()

    def install(self, ruleset: str) -> None:
        """Install a ruleset, and nothing else."""
        lines = f"flush ruleset\n{PROBE}{ruleset}".splitlines()
        for _ in range(_TRIES):
            refused = self._refused(lines)
            if not refused:
                return
            lines = [line for at, line in enumerate(lines, 1) if at not in refused]
        raise AssertionError("nft refused too much")

    def _refused(self, lines: list[str]) -> set[int]:
        """Install lines; return those that nft refuses, as they contradict themselves."""
        done = subprocess.run(
            self.space.argv("nft", "-f", "-"),
            check=False,
            capture_output=True,
            text=True,
            input="\n".join(lines),
        )
        found = {int(line) for line in re.findall(r":(\d+):[-\d]+: Error", done.stderr)}
        assert bool(found) == bool(done.returncode), done.stderr
        self.refused += done.stderr.splitlines()[::3] if found else []
        return found

    def send(self, packets: list[tuple[int, Packet]], side: int = 0) -> dict[int, list[Seen]]:
        """Send numbered packets from the left (0) or the right; return what was seen of each."""
        for number, packet in packets:
            self._sending[side].send(framed(packet, number, side))
        end = make("10.1.0.1", "10.2.255.255", UDP, 9, 9, payload=payload())
        self._sending[side].send(framed(end, _END, side))
        found: dict[int, list[Seen]] = {number: [] for number, _ in packets}
        for prefix, mark, data in self._logged():
            if prefix == "end":
                return found
            packet = parsed(data)
            if packet is not None and packet[0] in found:
                found[packet[0]].append(Seen(prefix, mark, packet[1]))
        raise AssertionError("unreachable")

    def _logged(self) -> Iterator[tuple[str, int, bytes]]:
        while True:
            for message in messages(self._log.recv(RECEIVE)):
                if message.kind == 0x400:
                    parts = attributes(message.body[4:])
                    mark = int.from_bytes(parts.get(2, b""), "big")
                    yield text(parts.get(10, b"")), mark, parts.get(9, b"")


def _addresses() -> Iterator[str]:
    for at in (0, 1):
        yield f"addr add 10.255.{at + 1}.1/24 dev r{at}"
        yield f"addr add fd00:ff:{at + 1}::1/64 dev r{at} nodad"
        yield f"neigh add 10.255.{at + 1}.2 lladdr 02:00:00:00:00:01 dev r{at} nud permanent"
        yield f"neigh add fd00:ff:{at + 1}::2 lladdr 02:00:00:00:00:01 dev r{at} nud permanent"
        yield f"route add 10.{at + 1}.0.0/16 via 10.255.{at + 1}.2"
        yield f"route add fd00:{at + 1}::/32 via fd00:ff:{at + 1}::2"
    yield "addr add 10.9.0.1/32 dev lo"
    yield "addr add fd00:9::1/128 dev lo nodad"


def _raw(space: Space) -> socket.socket:
    with entered(Place("end", 1, str(space.path))):
        sending = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        sending.bind(("e0", 0))
        return sending


def _logged() -> socket.socket:
    """A socket that gets every logged packet at once."""
    log = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, NETFILTER)
    log.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    log.bind((0, 0))
    for kind, value in ((1, b"\1"), (2, struct.pack("!IBx", 256, 2)), (5, struct.pack("!I", 1))):
        head = struct.pack("!BBH", 0, 0, GROUP)
        log.send(pack_message(0x401, REQUEST | ACK, head + attribute(kind, value)))
        (answer,) = messages(log.recv(RECEIVE))
        assert answer.body[:4] == bytes(4), answer
    log.settimeout(60)
    return log


def framed(packet: Packet, number: int, side: int) -> bytes:
    """Return the frame of a packet, with its number at the end and its IP checksum."""
    transport = packet.transport[:-4] + struct.pack("!I", number)
    network = packet.network
    if packet.version == 4:
        network = network[:10] + bytes(2) + network[12:]
        total = sum(struct.unpack("!10H", network))
        total = (total & 0xFFFF) + (total >> 16)
        network = network[:10] + struct.pack("!H", ~(total + (total >> 16)) & 0xFFFF) + network[12:]
    kind = b"\x08\0" if packet.version == 4 else b"\x86\xdd"
    return bytes([2, 0, 0, 0, 0, 0x10 + side, 2, 0, 0, 0, 0, 1]) + kind + network + transport


def parsed(data: bytes) -> tuple[int, Packet] | None:
    """Return the number and the packet of logged bytes; None for what the kernel sent itself."""
    length = 20 if data[0] >> 4 == 4 else 40
    packet = Packet(data[:length], data[length:])
    if data[-8:-4] != _MAGIC or (
        packet.protocol in (ICMP, ICMP6) and packet.transport[0] in (3, 1)
    ):
        return None
    return struct.unpack("!I", data[-4:])[0], packet


def payload() -> bytes:
    """The end of each packet: its number is written there when it is sent."""
    return _MAGIC + bytes(4)


@contextmanager
def router(make: Callable[[str], Space]) -> Iterator[Router]:
    """A router while the context lasts."""
    with closing(Router(make)) as made:
        yield made
