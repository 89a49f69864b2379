"""The addresses of this network namespace (rtnetlink)."""

import struct
from contextlib import closing
from ipaddress import ip_address

from proxy.linux.netlink import ROUTE, Netlink, attributes, consistent
from proxy.model.values import Address

# linux/rtnetlink.h and linux/if_addr.h
_GET_ADDRESS = 22  # RTM_GETADDR
_HEADER = struct.Struct("=4xI")  # struct ifaddrmsg: the interface's index
_ADDRESS, _LOCAL = 1, 2  # of a point-to-point link, IFA_ADDRESS is the peer's


def local_addresses() -> frozenset[Address]:
    """Return every address of this network namespace. Raises OSError."""
    return frozenset(address for _, address in addresses_of_links())


def addresses_of_links() -> list[tuple[int, Address]]:
    """Return every address, each with the index of its interface. Raises OSError."""
    with closing(Netlink(ROUTE)) as netlink:
        messages = consistent(lambda: list(netlink.dump(_GET_ADDRESS, bytes(_HEADER.size))))
    found = ((*_HEADER.unpack_from(one), attributes(one[_HEADER.size :])) for one in messages)
    return [
        (link, ip_address(parts.get(_LOCAL) or parts[_ADDRESS]))
        for link, parts in found
        if _ADDRESS in parts
    ]
