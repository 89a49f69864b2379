"""Deletes connections of conntrack that a new or a removed port mapping makes wrong.

Source: include/uapi/linux/netfilter/nfnetlink_conntrack.h of Linux 6.18.
"""

import struct
from _socket import IPPROTO_UDP
from contextlib import suppress

from cni_plugin.linux import uapi
from cni_plugin.linux.log import warn
from cni_plugin.linux.netlink import NetlinkError, Socket, pack, unpack

_NFNL_SUBSYS_CTNETLINK = 1 << 8
_GET, _DELETE = _NFNL_SUBSYS_CTNETLINK | 1, _NFNL_SUBSYS_CTNETLINK | 2
_NFGENMSG = struct.Struct("!BBH")  # family, version, resource
_CTA_TUPLE_ORIG, _CTA_ZONE = 1, 18
_CTA_TUPLE_PROTO, _CTA_PROTO_NUM, _CTA_PROTO_DST_PORT = 2, 1, 3


_CTA_STATUS, _IPS_DST_NAT = 3, 1 << 5


def forget_udp(ports: frozenset[int], *, mapped: bool = False) -> None:
    """Delete the UDP flows to ports of the host; with ``mapped`` only those of some container.

    Each packet refreshes its flow, so a client's packets would go to the old container for ever.
    As with the reference plugin, it is no error if the kernel refuses: then flows end by time.
    """
    try:
        _forget(ports, mapped=mapped)
    except OSError as err:
        warn("UDP flows to ports %s may go on for a time: %s", sorted(ports), err)


def _forget(ports: frozenset[int], *, mapped: bool) -> None:
    with Socket(uapi.NETLINK_NETFILTER) as kernel:
        flows = [
            (family, attributes)
            for family in (uapi.AF_INET, uapi.AF_INET6)
            for item in kernel.stream(_GET, _NFGENMSG.pack(family, 0, 0))
            if _is_udp_to(ports, attributes := unpack(item, _NFGENMSG.size))
            and (not mapped or _is_mapped(attributes))
        ]
        for family, attributes in flows:
            key = {kind: attributes.get(kind) for kind in (_CTA_TUPLE_ORIG, _CTA_ZONE)}
            with suppress(NetlinkError):  # the flow has timed out
                kernel.change(_DELETE, _NFGENMSG.pack(family, 0, 0) + pack(key))


def _is_mapped(attributes: dict[int, bytes]) -> bool:
    return bool(int.from_bytes(attributes.get(_CTA_STATUS, b""), "big") & _IPS_DST_NAT)


def _is_udp_to(ports: frozenset[int], attributes: dict[int, bytes]) -> bool:
    protocol = unpack(unpack(attributes.get(_CTA_TUPLE_ORIG, b"")).get(_CTA_TUPLE_PROTO, b""))
    port = int.from_bytes(protocol.get(_CTA_PROTO_DST_PORT, b""), "big")
    return protocol.get(_CTA_PROTO_NUM) == bytes([IPPROTO_UDP]) and port in ports
