"""Named packet counters in the kernel, which rules raise (nfnetlink_acct, the match ``nfacct``).

Their names are kube-proxy's. They belong to the network namespace, and both families share them.
"""

import errno
import struct
from collections.abc import Iterable, Mapping
from contextlib import closing

from proxy.linux.netlink import NETFILTER, Netlink, attribute, attributes, text

INVALID_DROPPED = "ct_state_invalid_dropped_pkts"
LOOPBACK_ACCEPTED = "localhost_nps_accepted_pkts"
NAMES = frozenset({INVALID_DROPPED, LOOPBACK_ACCEPTED})

_NEW, _GET, _DELETE = 7 << 8, 7 << 8 | 1, 7 << 8 | 3  # linux/netfilter/nfnetlink_acct.h
_NAME, _PACKETS = 1, 2
_HEADER = bytes(4)  # struct nfgenmsg


def ensure(names: Iterable[str]) -> None:
    """Make counters that are not there yet. Raises OSError."""
    _each(_NEW, names, passing=errno.EBUSY)  # it is there


def remove(names: Iterable[str] = NAMES) -> None:
    """Remove counters that no rule uses; the others stay. Raises OSError."""
    try:
        _each(_DELETE, names, passing=errno.EBUSY)
    except OSError as err:
        if err.errno != errno.EINVAL:  # this kernel has none of them
            raise


def read() -> Mapping[str, int]:
    """Return the packets that each of our counters has counted. Raises OSError."""
    with closing(Netlink(NETFILTER)) as netlink:
        found = [attributes(body[len(_HEADER) :]) for body in netlink.dump(_GET, _HEADER)]
    packets = {text(one[_NAME]): struct.unpack(">Q", one[_PACKETS])[0] for one in found}
    return {name: count for name, count in packets.items() if name in NAMES}


def _each(kind: int, names: Iterable[str], passing: int) -> None:
    with closing(Netlink(NETFILTER)) as netlink:
        for name in names:
            try:
                netlink.request(kind, _HEADER + attribute(_NAME, name.encode() + b"\0"))
            except OSError as err:
                if err.errno not in (passing, errno.ENOENT):
                    raise
