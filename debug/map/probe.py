"""Measures one way: few ICMP echoes from the namespace that the calling thread is in.

The sizes that pass are found by halving: the kernel is told to set "don't fragment", and not to
believe in any path's MTU (IP_PMTUDISC_PROBE), so that each echo tells of its own size only.
Sources: ip(7), ipv6(7), RFC 792, RFC 4443.
"""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from contextlib import suppress
from ipaddress import ip_address
from statistics import median

from debug.map.effort import Effort
from debug.map.mesh import Way

_MTU_DISCOVER, _PROBE = {4: 10, 6: 23}, 3  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER; IP_PMTUDISC_PROBE
_MTU = {4: 14, 6: 24}  # IP_MTU, IPV6_MTU: of the path that the kernel would take
_LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_HEADERS = {4: 28, 6: 48}  # bytes of IP and ICMP
_LEAST = {4: 68, 6: 1280}  # what every path passes (RFC 791, RFC 8200)
_MARK = 4  # bytes of each payload that tell one run's echoes from another's
_PORT = 9  # discard: a connected UDP socket sends nothing, and knows its route's MTU


def measure(way: Way, effort: Effort) -> Way:
    """Return the way with what was measured. It never raises: the text says why nothing was."""
    try:
        with _Echoes(way.address) as echoes:
            return _measured(way, effort, echoes)
    except OSError as err:
        fault = err.strerror or str(err)
        return Way(way.source, way.destination, way.address, fault=fault)


def _measured(way: Way, effort: Effort, echoes: "_Echoes") -> Way:
    mtu = echoes.mtu()
    size = min(_LEAST[echoes.version] + 16, mtu)
    times = [echoes.time(size, effort.patience) for _ in range(effort.count)]
    got = [seconds for seconds in times if seconds is not None]
    # An answer takes as long as the others did: what takes ten times that does not come.
    patience = min(effort.patience, max(0.05, 10 * max(got))) if got else effort.patience
    return Way(
        *(way.source, way.destination, way.address),
        sent=len(times),
        received=len(got),
        latency=round(median(got) * 1000, 3) if got else None,
        largest=_largest(echoes, size, mtu, patience) if got else 0,
        mtu=mtu,
    )


def _largest(echoes: "_Echoes", passes: int, mtu: int, patience: float) -> int:
    """Return the size of the largest packet that passes; ``passes`` is one that does."""
    if echoes.passes(mtu, patience):
        return mtu
    fails = mtu
    while fails - passes > 1:
        middle = (passes + fails) // 2
        if echoes.passes(middle, patience):
            passes = middle
        else:
            fails = middle
    return passes


class _Echoes:
    """A raw ICMP socket to one address; raises OSError."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.version = ip_address(address).version
        protocol = socket.IPPROTO_ICMP if self.version == 4 else socket.IPPROTO_ICMPV6
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._family, self._sequence = family, 0
        self._mark = os.urandom(_MARK)

    def __enter__(self) -> "_Echoes":
        level = _LEVEL[self.version]
        try:
            self._socket.setsockopt(level, _MTU_DISCOVER[self.version], _PROBE)
            self._socket.connect((self._address, 0))
        except OSError:
            self._socket.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def mtu(self) -> int:
        """Return the MTU of the route, which is what the kernel believes until it learns more."""
        with socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as one:
            one.connect((self._address, _PORT))
            return int(one.getsockopt(_LEVEL[self.version], _MTU[self.version]))

    def passes(self, size: int, patience: float) -> bool:
        """Return True if one of two packets of a size is answered: one may be lost by chance."""
        return any(self.time(size, patience) is not None for _ in range(2))

    def time(self, size: int, patience: float) -> float | None:
        """Send a packet of a size; return the seconds until its answer, None if none came."""
        self._sequence += 1
        start = time.monotonic()
        try:
            self._socket.send(self._packet(size))
        except OSError as err:
            if err.errno == errno.EMSGSIZE:  # the first link is too small
                return None
            raise
        return next(self._answers(start, patience), None)

    def _packet(self, size: int) -> bytes:
        filling = bytes(max(0, size - _HEADERS[self.version] - _MARK))
        head = struct.pack("!BBHHH", _REQUEST[self.version], 0, 0, 0, self._sequence)
        packet = head + self._mark + filling
        if self.version == 6:  # the kernel computes its checksum
            return packet
        return packet[:2] + struct.pack("!H", _checksum(packet)) + packet[4:]

    def _answers(self, start: float, patience: float) -> Iterator[float]:
        while (left := start + patience - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return
            with suppress(ConnectionRefusedError):  # an ICMP error for an earlier packet
                data = self._socket.recv(65535)
                if self._is_answer(data[20:] if self.version == 4 else data):
                    yield time.monotonic() - start

    def _is_answer(self, data: bytes) -> bool:
        reply = struct.pack("!H", self._sequence) + self._mark
        return data[:1] == bytes([_REPLY[self.version]]) and data[6:12] == reply


def _checksum(data: bytes) -> int:
    """RFC 1071."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
