"""Links on which a packet appears without being received anew.

The kernel hands a packet from the link where it came in to a VLAN's, a bond's or a macvlan's, and
passes its tracepoint no second time (another_round of __netif_receive_skb_core). Packet sockets
hear it there.
"""

import struct
from contextlib import closing

from proxy.linux.netlink import ROUTE, Netlink, attributes, consistent, text

_GET_LINK = 18
_HEADER = struct.Struct("=BxHiII")  # struct ifinfomsg
_NAME, _INFO, _KIND = 3, 18, 1
_STACKED = ("vlan", "macvlan", "macvtap", "ipvlan", "ipvtap", "bond", "team", "hsr")


def stacked_links() -> list[str]:
    """Return the names of such links of this thread's network namespace. Raises OSError."""
    with closing(Netlink(ROUTE)) as netlink:
        found = consistent(lambda: list(netlink.dump(_GET_LINK, bytes(_HEADER.size))))
    links = [attributes(one[_HEADER.size :]) for one in found]
    return [
        text(link[_NAME])
        for link in links
        if text(attributes(link.get(_INFO, b"")).get(_KIND, b"")) in _STACKED
    ]
