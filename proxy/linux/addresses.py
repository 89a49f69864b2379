"""The addresses of this network namespace (rtnetlink)."""

from contextlib import closing
from ipaddress import ip_address

from proxy.linux.netlink import ROUTE, Netlink, attributes, consistent
from proxy.model.values import Address

# linux/rtnetlink.h and linux/if_addr.h
_GET_ADDRESS = 22  # RTM_GETADDR
_HEADER_SIZE = 8  # bytes of struct ifaddrmsg
_ADDRESS, _LOCAL = 1, 2  # of a point-to-point link, IFA_ADDRESS is the peer's


def local_addresses() -> frozenset[Address]:
    """Return every address of this network namespace. Raises OSError."""
    with closing(Netlink(ROUTE)) as netlink:
        messages = consistent(lambda: list(netlink.dump(_GET_ADDRESS, bytes(_HEADER_SIZE))))
    found = (attributes(message[_HEADER_SIZE:]) for message in messages)
    return frozenset(
        ip_address(parts.get(_LOCAL) or parts[_ADDRESS]) for parts in found if _ADDRESS in parts
    )
