"""Where a namespace's routes lead: asked of the kernel (rtnetlink(7), RTM_GETROUTE)."""

import socket
import struct
from contextlib import closing
from dataclasses import dataclass
from ipaddress import ip_address

from debug.places import Place, inside_if_there
from proxy.linux.netlink import ROUTE, Netlink, attribute, attributes

_GET_ROUTE = 26  # RTM_GETROUTE
_MESSAGE = struct.Struct("=BBBBBBBBI")
_DESTINATION, _LINK, _GATEWAY = 1, 4, 5  # RTA_*
_KINDS = {1: "unicast", 2: "local", 3: "broadcast", 5: "multicast", 6: "blackhole"}


@dataclass(frozen=True, slots=True)
class Leads:
    """What the kernel answers. ``kind`` is local, unicast and so on; "" if there is no route."""

    kind: str
    link: str = ""
    gateway: str = ""


def leads(place: Place, destination: str) -> Leads:
    """Return where a place's routes lead; nowhere if it has ended."""

    def ask() -> Leads:
        address = ip_address(destination)
        family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
        length = address.max_prefixlen
        body = _MESSAGE.pack(family, length, 0, 0, 0, 0, 0, 0, 0)
        try:
            with closing(Netlink(ROUTE)) as netlink:
                found = netlink.get(_GET_ROUTE, body + attribute(_DESTINATION, address.packed))
        except OSError:
            return Leads("")
        return _read(found)

    return inside_if_there(place, ask, Leads(""))


def _read(body: bytes) -> Leads:
    kind = _KINDS.get(_MESSAGE.unpack_from(body)[7], "other")
    parts = attributes(body[_MESSAGE.size :])
    index = int.from_bytes(parts.get(_LINK, b""), "little")
    gateway = parts.get(_GATEWAY, b"")
    try:
        link = socket.if_indextoname(index) if index else ""
    except OSError:
        link = ""
    return Leads(kind, link, str(ip_address(gateway)) if len(gateway) in (4, 16) else "")
