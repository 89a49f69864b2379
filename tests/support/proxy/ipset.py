"""Makes IP sets, as the command ``ipset create`` does."""

import struct
from contextlib import closing

from proxy.linux.netlink import NETFILTER, Netlink, attribute, nested

_CREATE = 6 << 8 | 2
_PORT, _PORT_TO, _BIG_ENDIAN = 4, 5, 0x4000


def make_set(name: str, kind: str, family: int) -> None:
    """Make an empty set of a kind in this network namespace."""
    parts = []
    if kind.startswith("bitmap"):
        family = 0
        parts = [
            attribute(_PORT | _BIG_ENDIAN, struct.pack(">H", 0)),
            attribute(_PORT_TO | _BIG_ENDIAN, struct.pack(">H", 65535)),
        ]
    body = [
        struct.pack("=BBH", family, 0, 0),
        attribute(1, b"\6"),
        attribute(2, name.encode() + b"\0"),
        attribute(3, kind.encode() + b"\0"),
        attribute(4, b"\0" if kind.startswith("bitmap") else b"\1"),
        attribute(5, bytes([family])),
        nested(7, parts),
    ]
    with closing(Netlink(NETFILTER)) as netlink:
        netlink.request(_CREATE, b"".join(body))
