"""What the last holder of an address left with the kernel, and the next one must not inherit.

podwire's proxy keeps the policies of each address in nftables, and lets pass the flows that
connection tracking knows. It learns of a Pod's end from the API, so later than the address may be
given away. An address in the set ``taken`` counts as unknown, and so is closed, until the proxy
knows from the API whose it is now, and takes it out again. The element's comment is the Pod's UID.
Source: include/uapi/linux/netfilter/nf_tables.h, nfnetlink.h, nfnetlink_conntrack.h of Linux 6.18.
"""

import errno
import struct
from collections.abc import Iterable
from contextlib import suppress
from ipaddress import IPv4Address, IPv6Address

from cni_plugin.linux import uapi
from cni_plugin.linux.log import warn
from cni_plugin.linux.netlink import NetlinkError, Socket, Value, pack, unpack

TABLE, TAKEN = "podwire-policy", "taken"  # proxy/policy/render.py
_NFTABLES, _CTNETLINK = 10, 1 << 8
_GET_TABLE = _NFTABLES << 8 | 1
_NEW_ELEMENTS, _DELETE_ELEMENTS = _NFTABLES << 8 | 12, _NFTABLES << 8 | 14
_TRIES = 5
_GET_FLOWS, _DELETE_FLOW = _CTNETLINK | 1, _CTNETLINK | 2
_NFGENMSG = struct.Struct("!BBH")  # family, version, resource
_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY, _CTA_ZONE = 1, 2, 18
_CTA_TUPLE_IP = 1
_CTA_IPS = {uapi.AF_INET: (1, 2), uapi.AF_INET6: (3, 4)}  # source, destination
_FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}


def take_over(addresses: Iterable[IPv4Address | IPv6Address], pod_uid: str) -> None:
    """Close addresses to policies, and end their flows, before a container of a Pod has them.

    Where the proxy has no policies it does nothing. It is no error if the kernel refuses: then an
    address is judged as its last holder until the API tells of that one's end.
    """
    try:
        with Socket(uapi.NETLINK_NETFILTER) as kernel:
            mine = [(_FAMILY[one.version], one.packed) for one in addresses]
            mine = [one for one in mine if _has_policies(kernel, one[0])]
            for family, address in mine:
                _close(kernel, family, address, pod_uid)
            for family, address in mine:
                _end_flows(kernel, family, address)
    except OSError as err:
        warn("policies of an earlier container may hold for %s: %s", [*map(str, addresses)], err)


def _has_policies(kernel: Socket, family: int) -> bool:
    head = _NFGENMSG.pack(family, 0, 0)
    try:
        return kernel.get(_GET_TABLE, head + pack({1: TABLE})) is not None
    except NetlinkError as err:
        if err.errno in (errno.EINVAL, errno.EOPNOTSUPP):  # a kernel without nftables
            return False
        raise


def _body(family: int, element: dict[int, Value]) -> bytes:
    # Not inside _close: an image of the plugin cannot hold types that a running function reads.
    return _NFGENMSG.pack(family, 0, 0) + pack({1: TABLE, 2: TAKEN, 3: {1: element}})


def _close(kernel: Socket, family: int, address: bytes, pod_uid: str) -> None:
    """Put an address into the set, in place of the element that an earlier Pod's may have left.

    The proxy may take that out meanwhile. Adding it again would keep the earlier comment.
    """
    key: dict[int, Value] = {1: {1: address}}
    named = _body(family, key | {6: _comment(pod_uid)})
    new = _NEW_ELEMENTS, named, uapi.NLM_F_CREATE | uapi.NLM_F_EXCL
    requests = [new]
    for _ in range(_TRIES):
        try:
            return kernel.change_in_batch(_NFTABLES, requests)
        except NetlinkError as err:
            if err.errno == errno.EEXIST:
                requests = [(_DELETE_ELEMENTS, _body(family, key), 0), new]
            elif err.errno == errno.ENOENT and len(requests) > 1:
                requests = [new]
            else:
                return None  # the table has just gone, or is an older version's
    return None


def _comment(pod_uid: str) -> bytes | None:
    """Pack a comment as libnftnl does: its sort (0), its size, and the text."""
    text = pod_uid.encode() + b"\0"
    return bytes((0, len(text))) + text if pod_uid else None


def _end_flows(kernel: Socket, family: int, address: bytes) -> None:
    """Delete the flows from and to an address."""
    head = _NFGENMSG.pack(family, 0, 0)
    flows = [
        attributes
        for item in kernel.stream(_GET_FLOWS, head)
        if address in item and _is_of(address, family, attributes := unpack(item, _NFGENMSG.size))
    ]
    for attributes in flows:
        key = {kind: attributes.get(kind) for kind in (_CTA_TUPLE_ORIG, _CTA_ZONE)}
        with suppress(NetlinkError):  # the flow has timed out
            kernel.change(_DELETE_FLOW, head + pack(key))


def _is_of(address: bytes, family: int, attributes: dict[int, bytes]) -> bool:
    for kind in (_CTA_TUPLE_ORIG, _CTA_TUPLE_REPLY):
        ends = unpack(unpack(attributes.get(kind, b"")).get(_CTA_TUPLE_IP, b""))
        if address in (ends.get(one) for one in _CTA_IPS[family]):
            return True
    return False
