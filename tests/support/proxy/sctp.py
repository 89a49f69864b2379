"""SCTP by raw sockets, for kernels without SCTP: an INIT, and the INIT ACK that answers it.

Balancing, NAT and connection tracking see no more of a new association (RFC 9260).
"""

import contextlib
import itertools
import socket
import struct
import threading

_IPPROTO_SCTP = 132
_COMMON = struct.Struct("!HHII")  # ports, verification tag, checksum
_INIT = struct.Struct("!BBHIIHHI")  # chunk header, tag, window, streams out and in, sequence number
_SENT, _ACKNOWLEDGED = 1, 2
# An ICMP error goes to every raw socket that is connected to its address.
_one_at_a_time = threading.Lock()
_ports = itertools.count(20000)


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC = _table()


def _checksum(data: bytes) -> int:
    """CRC32c (RFC 9260, appendix A)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def _packet(source: int, destination: int, tag: int, kind: int, text: bytes = b"") -> bytes:
    cookie = struct.pack("!HH", 7, 4 + len(text)) + text + bytes(-len(text) % 4) if text else b""
    chunk = _INIT.pack(kind, 0, _INIT.size + len(cookie), 0x1234, 65535, 1, 1, 1) + cookie
    zero = _COMMON.pack(source, destination, tag, 0)
    crc = struct.unpack("<I", struct.pack(">I", _checksum(zero + chunk)))[0]
    return _COMMON.pack(source, destination, tag, crc) + chunk


def init(source: int, destination: int) -> bytes:
    """Return an INIT, the first packet of an association, without its IP header."""
    return _packet(source, destination, 0, _SENT)


def serve(name: str, port: int) -> None:
    """Answer every INIT with ``NAME PEER``, in the background."""
    for family in (socket.AF_INET, socket.AF_INET6):
        raw = socket.socket(family, socket.SOCK_RAW, _IPPROTO_SCTP)
        threading.Thread(target=_serve, args=(raw, name, port), daemon=True).start()


def _serve(raw: socket.socket, name: str, port: int) -> None:
    while True:
        data, peer = raw.recvfrom(2000)
        payload = _payload(raw, data)
        source, destination, _, _ = _COMMON.unpack_from(payload)
        if destination == port and payload[_COMMON.size] == _SENT:
            tag = _INIT.unpack_from(payload, _COMMON.size)[3]
            text = f"{name} {peer[0]}".encode()
            raw.sendto(_packet(port, source, tag, _ACKNOWLEDGED, text), (peer[0], 0))


def _payload(raw: socket.socket, data: bytes) -> bytes:
    """Return the SCTP packet. IPv4 raw sockets return the IP header too."""
    return data[(data[0] & 0xF) * 4 :] if raw.family == socket.AF_INET else data


def ask(address: str, port: int, timeout: float) -> tuple[str, str]:
    """Return the answer to an INIT, ``NAME PEER``, and its source.

    Raises ConnectionRefusedError, TimeoutError.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with _one_at_a_time, socket.socket(family, socket.SOCK_RAW, _IPPROTO_SCTP) as raw:
        raw.settimeout(timeout)
        raw.connect((address, 0))
        mine = next(_ports)
        with contextlib.suppress(PermissionError):  # dropped on its way out; perhaps rejected
            raw.send(_packet(mine, port, 0, _SENT))
        while True:
            payload = _payload(raw, raw.recv(2000))
            source, destination, _, _ = _COMMON.unpack_from(payload)
            if (source, destination) == (port, mine):
                length = struct.unpack_from("!HH", payload, _COMMON.size + _INIT.size)[1] - 4
                text = payload[_COMMON.size + _INIT.size + 4 :][:length]
                return text.decode(), raw.getsockname()[0]
