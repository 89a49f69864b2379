"""ICMP echoes from the network namespace that the calling thread is in.

The kernel is told to set "don't fragment", and not to believe in any path's MTU
(IP_PMTUDISC_PROBE), so that each echo tells of its own size only.
Sources: ip(7), ipv6(7), RFC 792, RFC 1071, RFC 4443.
"""

import errno
import os
import select
import socket
import struct
import time
from collections.abc import Iterator
from ipaddress import ip_address

HEADERS = {4: 28, 6: 48}  # bytes of IP and ICMP
_MTU_DISCOVER, _PROBE = {4: 10, 6: 23}, 3  # IP_MTU_DISCOVER, IPV6_MTU_DISCOVER; IP_PMTUDISC_PROBE
_MTU = {4: 14, 6: 24}  # IP_MTU, IPV6_MTU: of the path that the kernel would take
_LEVEL = {4: socket.IPPROTO_IP, 6: socket.IPPROTO_IPV6}
_REQUEST, _REPLY = {4: 8, 6: 128}, {4: 0, 6: 129}
_MARK = 4  # bytes of each payload that tell one run's echoes from another's
# What a firewall's ICMP errors become (net/ipv4/icmp.c, icmp_err_convert): no answer.
_TOLD = (errno.ECONNREFUSED, errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EACCES)
_PORT = 9  # discard: a connected UDP socket sends nothing, and knows its route's MTU


class Echoes:
    """A raw ICMP socket to one address; raises OSError."""

    def __init__(self, address: str) -> None:
        self._address = address
        self.version = ip_address(address).version
        protocol = socket.IPPROTO_ICMP if self.version == 4 else socket.IPPROTO_ICMPV6
        family = socket.AF_INET if self.version == 4 else socket.AF_INET6
        self._socket = socket.socket(family, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol)
        self._family, self._sequence = family, 0
        self._mark = os.urandom(_MARK)

    def __enter__(self) -> "Echoes":
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
            if err.errno == errno.EMSGSIZE or err.errno in _TOLD:  # too large for the first link
                return None
            raise
        return next(self._answers(start, patience), None)

    def _packet(self, size: int) -> bytes:
        filling = bytes(max(0, size - HEADERS[self.version] - _MARK))
        head = struct.pack("!BBHHH", _REQUEST[self.version], 0, 0, 0, self._sequence)
        packet = head + self._mark + filling
        if self.version == 6:  # the kernel computes its checksum
            return packet
        return packet[:2] + struct.pack("!H", checksum(packet)) + packet[4:]

    def _answers(self, start: float, patience: float) -> Iterator[float]:
        while (left := start + patience - time.monotonic()) > 0:
            if not select.select([self._socket], [], [], left)[0]:
                return
            if self._is_answer(self._receive()):
                yield time.monotonic() - start

    def _receive(self) -> bytes:
        """Return a message from its ICMP header on; an error is of an earlier packet, and none."""
        try:
            data = self._socket.recv(65535)
        except OSError as err:
            if err.errno not in _TOLD:
                raise
            return b""
        return _message(data) if self.version == 4 else data

    def _is_answer(self, data: bytes) -> bool:
        reply = struct.pack("!H", self._sequence) + self._mark
        return data[:1] == bytes([_REPLY[self.version]]) and data[6:12] == reply


def _message(packet: bytes) -> bytes:
    """Return what follows the IPv4 header, which may have options."""
    return packet[(packet[0] & 15) * 4 :]


def checksum(data: bytes) -> int:
    """The Internet's checksum (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data[: len(data) // 2 * 2]))
    total += data[-1] << 8 if len(data) % 2 else 0
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF
