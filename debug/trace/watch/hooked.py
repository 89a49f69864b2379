"""Which families of tables this thread's network namespace has rules in (nf_tables.h)."""

from contextlib import closing

from debug.trace.watch import nftrace
from proxy.linux.netlink import NETFILTER, Netlink, attributes, text

FAMILIES = ("ip", "ip6", "bridge")  # in which packets are traced
_GET_TABLE = 0xA01
_SERVES = {"inet": ("ip", "ip6"), "ip": ("ip",), "ip6": ("ip6",), "bridge": ("bridge",)}


def families(own: str) -> frozenset[str]:
    """Return the families (ip, ip6, bridge) of all tables but those named ``own``.

    Where there are none, there is nothing to trace, and no packet should pay for that.
    Raises OSError.
    """
    with closing(Netlink(NETFILTER)) as netlink:
        found = [(body[0], attributes(body[4:])) for body in netlink.dump(_GET_TABLE, bytes(4))]
    others = (
        nftrace.FAMILIES.get(number, "") for number, one in found if text(one.get(1, b"")) != own
    )
    return frozenset(served for family in others for served in _SERVES.get(family, ()))
