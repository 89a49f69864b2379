"""What kube-proxy leaves on a node under names that are not ours, and would win over our rules.

Its iptables chains have our names, and that backend takes them over or removes them. Its mode
nftables has tables of its own, whose hooks may come first and translate first. Its mode ipvs makes
every ClusterIP an address of the node, at which NodePorts would answer, and leaves IP sets.
"""

import errno
import socket
from collections.abc import Iterable, Iterator
from contextlib import closing

from proxy.linux import ipsets, nft_names
from proxy.linux.libnftables import Libnftables
from proxy.linux.netlink import ROUTE, Netlink, attribute
from proxy.linux.nft_events import NftEvent, NftEventKind
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family

TABLE = "kube-proxy"
LINK = "kube-ipvs0"

_DELETE_LINK, _IFNAME, _HEADER_SIZE = 17, 3, 16  # linux/rtnetlink.h, struct ifinfomsg
_FAMILIES = {Family.V4: "ip", Family.V6: "ip6"}


def remove() -> list[str]:
    """Remove kube-proxy's tables and link; return what there was. Raises KernelRefusedError."""
    removed = [f"table {table}" for table in _tables()]
    if removed:
        Libnftables().commit("".join(f"delete {table}\n" for table in removed))
    return [*removed, *_remove_link(), *(f"IP set {name}" for name in ipsets.remove())]


def found() -> list[str]:
    """Return what of kube-proxy's is there. Raises KernelRefusedError."""
    links = (f"link {LINK}" for _, name in socket.if_nameindex() if name == LINK)
    sets = (f"IP set {name}" for name in ipsets.found())
    return [*(f"table {table}" for table in _tables()), *links, *sets]


def beginning(events: Iterable[NftEvent]) -> list[str]:
    """Return kube-proxy's tables that the events say were made."""
    return [
        f"table {TABLE}"
        for event in events
        if event.kind is NftEventKind.TABLE and event.table == TABLE and not event.deleted
    ]


def _tables() -> Iterator[str]:
    for family, name in _FAMILIES.items():
        if any(table == TABLE for table, _ in nft_names.chains(family)):
            yield f"{name} {TABLE}"


def _remove_link() -> Iterator[str]:
    body = bytes(_HEADER_SIZE) + attribute(_IFNAME, LINK.encode() + b"\0")
    try:
        with closing(Netlink(ROUTE)) as netlink:
            netlink.request(_DELETE_LINK, body)
    except OSError as err:
        if err.errno == errno.ENODEV:
            return
        raise KernelRefusedError(f"link {LINK} cannot be removed: {err.strerror}") from err
    yield f"link {LINK}"
