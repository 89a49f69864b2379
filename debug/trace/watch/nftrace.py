"""nftables' trace events: which rule had which verdict (linux/netfilter/nf_tables.h).

The rules of iptables-nft are such rules too. The kernel puts a packet's headers into the first
event of each base chain that it enters.
"""

import struct
from collections.abc import Iterator
from dataclasses import dataclass

from debug.trace.watch.taps import MOST_AT_ONCE
from proxy.linux.listener import NetfilterListener
from proxy.linux.netlink import attributes, messages, text

_GROUP = 9  # NFNLGRP_NFTRACE
_TRACE = 10 << 8 | 17  # subsystem nf_tables, NFT_MSG_TRACE
FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_TYPES = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {
    **{0: "drop", 1: "accept", 2: "stolen", 3: "queue", 4: "repeat"},
    **{-1: "continue", -2: "break", -3: "jump", -4: "goto", -5: "return"},
}
_STATES = {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}


@dataclass(frozen=True, slots=True)
class NftTrace:
    """One event. ``kind`` is rule, return or policy; headers are only in a chain's first event."""

    packet: int  # the kernel's number for it
    family: str
    table: str
    chain: str
    kind: str
    verdict: str
    handle: int = 0
    target: str = ""  # the chain of jump and goto
    network: bytes = b""
    transport: bytes = b""
    link_in: int = 0
    link_out: int = 0
    mark: int = 0
    state: str = ""  # of its connection, as "ct state" has it; from Linux 6.16


class NftTracer(NetfilterListener):
    """Receives the events of the network namespace where it was made. Raises OSError."""

    def __init__(self) -> None:
        super().__init__((_GROUP,))

    def read(self) -> list[NftTrace]:
        """Return events since the last call; the others next time. Raises OSError."""
        found: list[NftTrace] = []
        for data in self.receive(MOST_AT_ONCE):
            found += decode(data)
        return found


def decode(data: bytes) -> Iterator[NftTrace]:
    """Yield the events in received data. Raises OSError for what is malformed."""
    for message in messages(data):
        if message.kind == _TRACE and message.body:
            yield _event(message.body[0], attributes(message.body[4:]))


def _event(family: int, parts: dict[int, bytes]) -> NftTrace:
    verdict = attributes(parts.get(5, b""))
    code = _signed(verdict[1]) if 1 in verdict else _number(parts.get(16, b""))
    return NftTrace(
        packet=_number(parts.get(6, b"")),
        family=FAMILIES.get(family, str(family)),
        table=text(parts.get(1, b"")),
        chain=text(parts.get(2, b"")),
        kind=_TYPES.get(_number(parts.get(4, b"")), ""),
        verdict=_VERDICTS.get(code, str(code)),
        handle=_number(parts.get(3, b"")),
        target=text(verdict.get(2, b"")),
        network=parts.get(8, b""),
        transport=parts.get(9, b""),
        link_in=_number(parts.get(10, b"")),
        link_out=_number(parts.get(12, b"")),
        mark=_number(parts.get(14, b"")),
        state=_STATES.get(_number(parts.get(21, b"")), ""),
    )


def _number(value: bytes) -> int:
    return int.from_bytes(value, "big")


def _signed(value: bytes) -> int:
    return int(struct.unpack("!i", value)[0]) if len(value) == 4 else 0
