"""The IP sets of kube-proxy's mode ipvs (linux/netfilter/ipset/ip_set.h)."""

import errno
import logging
import struct
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from proxy.linux.netlink import NETFILTER, Netlink, attribute, attributes, text
from proxy.model.errors import KernelRefusedError

logger = logging.getLogger("podwire.proxy")

_V4 = (
    *("LOOP-BACK", "CLUSTER-IP", "EXTERNAL-IP", "EXTERNAL-IP-LOCAL", "IPVS-IPS"),
    *("LOAD-BALANCER", "LOAD-BALANCER-FW", "LOAD-BALANCER-LOCAL"),
    *("LOAD-BALANCER-SOURCE-IP", "LOAD-BALANCER-SOURCE-CIDR", "HEALTH-CHECK-NODE-PORT"),
    *("NODE-PORT-TCP", "NODE-PORT-LOCAL-TCP", "NODE-PORT-UDP", "NODE-PORT-LOCAL-UDP"),
    *("NODE-PORT-SCTP-HASH", "NODE-PORT-LOCAL-SCTP-HASH"),
)
_LONGEST = 31  # bytes of a name; upstream cuts IPv6 names to it
NAMES = frozenset(f"{prefix}{name}"[:_LONGEST] for prefix in ("KUBE-", "KUBE-6-") for name in _V4)

_MODULE = Path("/sys/module/ip_set")
_DESTROY, _LIST = 6 << 8 | 3, 6 << 8 | 7
_PROTOCOL, _SET_NAME, _FLAGS = 1, 2, 6
_NAMES_ONLY = struct.pack(">I", 1 << 1)
_BIG_ENDIAN = 0x4000  # NLA_F_NET_BYTEORDER
_HEADER = struct.pack("=BBH", 2, 0, 0) + attribute(_PROTOCOL, b"\6")


def found() -> list[str]:
    """Return the sets that are there. Raises KernelRefusedError."""
    if not _MODULE.exists():  # asking would load it
        return []
    try:
        with closing(Netlink(NETFILTER)) as netlink:
            request = _HEADER + attribute(_FLAGS | _BIG_ENDIAN, _NAMES_ONLY)
            names = [text(attributes(body[4:])[_SET_NAME]) for body in netlink.dump(_LIST, request)]
    except OSError as err:
        raise KernelRefusedError(f"IP sets cannot be listed: {err.strerror}") from err
    return sorted(NAMES.intersection(names))


def remove() -> Iterator[str]:
    """Remove the sets, but those that a rule still uses; yield what was removed."""
    for name in found():
        try:
            with closing(Netlink(NETFILTER)) as netlink:
                netlink.request(_DESTROY, _HEADER + attribute(_SET_NAME, name.encode() + b"\0"))
        except OSError as err:
            if err.errno != errno.ENOENT:
                logger.warning(
                    "IP set %s of kube-proxy's mode ipvs stays, because a rule uses it; find the"
                    " rule by `iptables-save | grep %s`",
                    name,
                    name,
                )
            continue
        yield name
