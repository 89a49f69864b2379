"""Brings the kernel in line with a NetworkPlan. All netlink of the node network is here.

Our routes have a protocol number of their own, and the tunnel device has our name: nothing else is
changed or removed.
"""

import errno
import logging
import subprocess
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import pyroute2
from pyroute2.netlink import NLM_F_DUMP_INTR
from pyroute2.netlink.exceptions import NetlinkError

from control.node_network.plan import (
    DEVICE,
    PORT,
    PROTOCOL,
    VNI,
    Address,
    Forwarding,
    Neighbor,
    NetworkPlan,
    Route,
    Tunnel,
    Uplink,
)
from control.node_network.render import TABLE, nft_script

logger = logging.getLogger(__name__)

_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6
_PERMANENT = 0x80
_SELF = 0x02
_ONLINK = 4
_MOST_DUMPS = 20
# An absent object counts as deleted.
_NO_SUCH = (errno.ESRCH, errno.ENOENT, errno.ENODEV, errno.EADDRNOTAVAIL)


def _netlink() -> Any:
    """Open a netlink socket; pyroute2 makes its methods at run time, where mypy cannot see them."""
    iproute: Any = pyroute2.IPRoute  # type: ignore[attr-defined]
    return iproute()


def dump(read: Callable[[], Iterable[Any]]) -> list[Any]:
    """All messages of a dump. pyroute2 0.9 does not raise for one that the kernel marks.

    If objects change meanwhile, some may be missing or old, so the dump is read again. Raises
    OSError if they changed each time.
    """
    for _ in range(_MOST_DUMPS):
        found = list(read())
        if not any(item["header"]["flags"] & NLM_F_DUMP_INTR for item in found):
            return found
    raise OSError(errno.EBUSY, f"the kernel's objects changed in each of {_MOST_DUMPS} dumps")


class NodeNetworkError(Exception):
    """The kernel refused a part of the node network; the text names the part and the cause."""


class NodeNetworkKernel:
    """One node's routes, tunnel, sysctls and masquerading."""

    def __init__(self) -> None:
        self._masquerade: tuple[str, str] | None = None  # the script, and the table that it makes

    def uplink(self, addresses: Iterable[Address]) -> Uplink | None:
        """Return the interface that has one of these addresses, if there is one."""
        wanted = {str(address) for address in addresses}
        with _netlink() as ip:
            for item in dump(ip.get_addr):
                if item.get_attr("IFA_LOCAL", item.get_attr("IFA_ADDRESS")) in wanted:
                    link = ip.get_links(item["index"])[0]
                    return Uplink(link.get_attr("IFLA_IFNAME"), link.get_attr("IFLA_MTU"))
        return None

    def apply(self, want: NetworkPlan) -> None:
        """Apply a plan, whatever is there; raises NodeNetworkError after every part was tried."""
        problems: list[str] = []
        for key, value in want.sysctls:
            _try(problems, f"sysctl {key}", partial(_set_sysctl, key, value))
        with _netlink() as ip:
            _try(problems, DEVICE, lambda: _apply_tunnel(ip, want.tunnel))
            _apply_routes(ip, want.routes, problems)
        _try(problems, "nftables", lambda: self._apply_masquerade(nft_script(want.masquerade)))
        if problems:
            raise NodeNetworkError("; ".join(problems))

    def remove(self) -> None:
        """Remove everything but sysctls, on which others may rely by now."""
        self.apply(NetworkPlan())

    def _apply_masquerade(self, script: str) -> None:
        """Replace the table, unless it is as the script makes it."""
        if self._masquerade is None or self._masquerade[0] != script:
            self._masquerade = script, _made_by(script)
        if self._masquerade[1] != _table():
            _nft("nft", "-f", "-", script=script)


def _made_by(script: str) -> str:
    """The table of a script, as nft shows it.

    The script makes it in a network namespace of its own. In ours, another program may change it
    before nft shows it, and its change would be taken for what we want.
    """
    then = f"nft -f - && {{ nft list table inet {TABLE} 2>/dev/null || true; }}"
    return _nft("unshare", "--net", "sh", "-c", then, script=script)


def _table() -> str:
    """Our table as nft shows it; empty if there is none."""
    argv = ["nft", "list", "table", "inet", TABLE]
    return subprocess.run(argv, text=True, capture_output=True, check=False).stdout


def _nft(*argv: str, script: str) -> str:
    done = subprocess.run(argv, input=script, text=True, capture_output=True, check=False)
    if done.returncode:
        raise OSError(f"nft: {' '.join(done.stderr.split())}")
    return done.stdout


def _try(problems: list[str], part: str, step: Callable[[], None]) -> None:
    try:
        step()
    except (NetlinkError, OSError) as err:
        problems.append(f"{part}: {err}")


def _set_sysctl(key: str, value: str) -> None:
    """Set a sysctl if the kernel has it; ``A -> B`` sets B only where the value is A."""
    path = Path("/proc/sys") / key
    if not path.exists():
        logger.debug("no sysctl %s here", key)
        return
    only_if, arrow, new = value.rpartition(" -> ")
    now = path.read_text().strip()
    if now != new and (not arrow or now == only_if):
        path.write_text(new)


def _apply_routes(ip: Any, want: frozenset[Route], problems: list[str]) -> None:
    have = frozenset(_routes(ip))
    kept = {route.cidr for route in want}
    for route in have - want:
        if route.cidr not in kept:  # a wanted one is replaced in place, so that no packet is lost
            _try(problems, f"route {route.cidr}", partial(_route, ip, "del", route))
    for route in want - have:
        change = partial(_route, ip, "replace", route)
        _try(problems, f"route {route.cidr} via {route.via}", change)


def _routes(ip: Any) -> Iterator[Route]:
    names = {link["index"]: link.get_attr("IFLA_IFNAME") for link in dump(ip.get_links)}
    for version, family in _FAMILIES.items():
        for item in dump(partial(ip.get_routes, family=family, proto=PROTOCOL)):
            destination, via = item.get_attr("RTA_DST"), item.get_attr("RTA_GATEWAY")
            if item["proto"] == PROTOCOL and destination and via:
                cidr = ip_network(f"{destination}/{item['dst_len']}")
                onlink = bool(item["flags"] & _ONLINK) and version == 4
                name = names.get(item.get_attr("RTA_OIF"), "")
                yield Route(cidr, ip_address(via), name, onlink)


def _route(ip: Any, verb: str, route: Route) -> None:
    index = _index(ip, route.ifname)
    if index is None:
        if verb == "del":
            return
        raise OSError(f"no interface {route.ifname}")
    with _fine(*(_NO_SUCH if verb == "del" else ())):
        ip.route(
            verb,
            dst=str(route.cidr),
            gateway=str(route.via),
            oif=index,
            proto=PROTOCOL,
            family=_FAMILIES[route.cidr.version],
            **({"flags": _ONLINK} if route.onlink else {}),
        )


def _apply_tunnel(ip: Any, want: Tunnel | None) -> None:
    link = _link(ip, DEVICE)
    if link is not None and (want is None or not _same_device(ip, link, want)):
        ip.link("del", index=link["index"])
        link = None
    if want is None:
        return
    if link is None:
        link = _create_device(ip, want)
    index = link["index"]
    if link.get_attr("IFLA_MTU") != want.mtu or link["state"] != "up":
        ip.link("set", index=index, mtu=want.mtu, state="up")
    _apply_addresses(ip, index, want.addresses)
    _apply_neighbors(ip, index, want.neighbors)
    _apply_forwarding(ip, index, want.forwarding)


def _create_device(ip: Any, want: Tunnel) -> Any:
    local = (
        {"vxlan_local": str(want.local)}
        if want.local.version == 4
        else {"vxlan_local6": str(want.local)}
    )
    # No learning: Node objects give every entry.
    ip.link(
        "add",
        ifname=DEVICE,
        kind="vxlan",
        vxlan_id=VNI,
        vxlan_port=PORT,
        vxlan_learning=0,
        vxlan_link=_index(ip, want.uplink),
        address=want.mac,
        mtu=want.mtu,
        **local,
    )
    # No duplicate address detection: no other node has this MAC, and none would hear the question.
    _set_sysctl(f"net/ipv6/conf/{DEVICE}/accept_dad", "0")
    link = _link(ip, DEVICE)
    ip.link("set", index=link["index"], state="up")
    return _link(ip, DEVICE)


def _same_device(ip: Any, link: Any, want: Tunnel) -> bool:
    data = link.get_nested("IFLA_LINKINFO", "IFLA_INFO_DATA")
    if data is None:
        return False
    local = data.get_attr("IFLA_VXLAN_LOCAL") or data.get_attr("IFLA_VXLAN_LOCAL6")
    return bool(
        data.get_attr("IFLA_VXLAN_ID") == VNI
        and data.get_attr("IFLA_VXLAN_PORT") == PORT
        and local == str(want.local)
        and link.get_attr("IFLA_ADDRESS") == want.mac
        and data.get_attr("IFLA_VXLAN_LINK") == _index(ip, want.uplink)
    )


def _apply_addresses(ip: Any, index: int, addresses: frozenset[Address]) -> None:
    want = {(address, 32 if address.version == 4 else 64) for address in addresses}
    # without an address of ours the kernel's own link-local one may stay
    spared = not any(address.version == 6 for address in addresses)
    have = {
        (ip_address(item.get_attr("IFA_ADDRESS")), item["prefixlen"])
        for item in dump(partial(ip.get_addr, index=index))
    }
    for address, length in have - want:  # first: an address of another length is in the way
        if not (spared and address.is_link_local):
            with _fine(*_NO_SUCH):
                ip.addr("del", index=index, address=str(address), prefixlen=length)
    for address, length in want - have:
        with _fine(errno.EEXIST):  # the kernel may just have derived the same link-local address
            ip.addr("add", index=index, address=str(address), prefixlen=length)


def _apply_neighbors(ip: Any, index: int, want: frozenset[Neighbor]) -> None:
    have = {
        Neighbor(ip_address(item.get_attr("NDA_DST")), item.get_attr("NDA_LLADDR"))
        for family in _FAMILIES.values()
        for item in dump(partial(ip.get_neighbours, family=family, ifindex=index))
        if item["state"] & _PERMANENT and item.get_attr("NDA_LLADDR")
    }
    kept = {item.address for item in want}
    for item in have - want:
        if item.address not in kept:
            with _fine(*_NO_SUCH):
                ip.neigh("del", dst=str(item.address), ifindex=index)
    for item in want - have:
        ip.neigh("replace", dst=str(item.address), lladdr=item.mac, ifindex=index, state=_PERMANENT)


def _apply_forwarding(ip: Any, index: int, want: frozenset[Forwarding]) -> None:
    have = {
        Forwarding(item.get_attr("NDA_LLADDR"), ip_address(item.get_attr("NDA_DST")))
        for item in dump(partial(ip.fdb, "dump", ifindex=index))
        if item["ifindex"] == index and item.get_attr("NDA_DST") and item.get_attr("NDA_LLADDR")
    }
    for item in have - want:
        with _fine(*_NO_SUCH):
            ip.fdb("del", ifindex=index, lladdr=item.mac, dst=str(item.node))
    for item in want - have:
        ip.fdb("append", ifindex=index, lladdr=item.mac, dst=str(item.node))


def _link(ip: Any, name: str) -> Any:
    index = _index(ip, name)
    return ip.get_links(index)[0] if index is not None else None


def _index(ip: Any, name: str) -> int | None:
    found = ip.link_lookup(ifname=name)
    return int(found[0]) if found else None


@contextmanager
def _fine(*codes: int) -> Iterator[None]:
    try:
        yield
    except NetlinkError as err:
        if err.code not in codes:
            raise


def remove_link(name: str) -> None:
    """Remove an interface, if it is there."""
    with _netlink() as ip:
        index = _index(ip, name)
        if index is not None:
            with _fine(*_NO_SUCH):
                ip.link("del", index=index)
