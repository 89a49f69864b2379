"""Reads the network namespace that the calling thread is in: rtnetlink and /proc.

Source: rtnetlink(7), Documentation/networking/ip-sysctl.rst, linux/neighbour.h, linux/rtnetlink.h.
"""

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyroute2
from pyroute2.netlink.exceptions import NetlinkError

from control.node_network.kernel import dump
from debug.kernel.values import Address, Forwarding, Link, Neighbor, Route, Rule, SpaceState

_INVERTED = 0x2  # FIB_RULE_INVERT
_VERSIONS = {2: 4, 10: 6}  # AF_INET, AF_INET6
_ANYWHERE = {2: "0.0.0.0", 10: "::"}  # noqa: S104  # a destination
_BRIDGE = 7  # AF_BRIDGE
_STATES = {
    **{0x01: "incomplete", 0x02: "reachable", 0x04: "stale", 0x08: "delay", 0x10: "probe"},
    **{0x20: "failed", 0x40: "noarp", 0x80: "permanent"},
}
_KINDS = {
    **{1: "unicast", 2: "local", 3: "broadcast", 4: "anycast", 5: "multicast"},
    **{6: "blackhole", 7: "unreachable", 8: "prohibit", 9: "throw"},
}
_UP, _PROMISCUOUS = 0x1, 0x100  # IFF_UP, IFF_PROMISC
_TENTATIVE, _DUPLICATE = 0x40, 0x08  # IFA_F_TENTATIVE, IFA_F_DADFAILED
_FILTERED = {4: "IFLA_BR_NF_CALL_IPTABLES", 6: "IFLA_BR_NF_CALL_IP6TABLES"}
_OF_RULES = (  # of policy routing: what is read, and what decides nothing
    *(
        "FRA_DST",
        "FRA_SRC",
        "FRA_PRIORITY",
        "FRA_FWMARK",
        "FRA_FWMASK",
        "FRA_TABLE",
        "FRA_PROTOCOL",
    ),
    *("FRA_IIFNAME", "FRA_OIFNAME"),
)
_NOTHING = (None, 0, 0xFFFFFFFF)  # of attributes that are there and ask for nothing
_SETTINGS = Path("/proc/sys")  # of the reading thread's network below net/
SYSCTLS = (
    *("net/ipv4/ip_forward", "net/ipv6/conf/all/forwarding", "net/ipv4/conf/all/route_localnet"),
    *("net/ipv4/conf/all/rp_filter", "net/ipv4/conf/default/rp_filter"),
    *("net/bridge/bridge-nf-call-iptables", "net/bridge/bridge-nf-call-ip6tables"),
    *("net/netfilter/nf_conntrack_max", "net/netfilter/nf_conntrack_count"),
    *("net/netfilter/nf_conntrack_tcp_be_liberal", "net/ipv4/ip_local_port_range"),
    *("net/ipv4/neigh/default/gc_thresh3", "net/ipv6/neigh/default/gc_thresh3"),
    "net/ipv6/conf/all/disable_ipv6",
)
"""What is read of every namespace; rp_filter, hairpin and the like of each link besides."""
_OF_LINKS = (
    *("net/ipv4/conf/{}/rp_filter", "net/ipv4/conf/{}/route_localnet"),
    "net/ipv4/conf/{}/forwarding",
    *("net/ipv6/conf/{}/disable_ipv6", "net/ipv6/conf/{}/accept_ra"),
)


def read_space() -> SpaceState:
    """Read this thread's network namespace. Raises OSError."""
    with _netlink() as ip:
        links = tuple(_link(item) for item in dump(ip.get_links))
        return SpaceState(
            links=links,
            addresses=tuple(_address(item) for item in dump(ip.get_addr)),
            neighbors=tuple(_neighbors(dump(ip.get_neighbours))),
            forwarding=tuple(_forwarding(_bridged(ip))),
            routes=tuple(route for item in dump(ip.get_routes) for route in _routes(item)),
            rules=tuple(_rule(item) for item in dump(ip.get_rules)),
            sysctls=dict(_sysctls(link.name for link in links)),
            counters=read_counters(),
        )


def identity() -> int:
    """Return what tells this thread's network namespace from others: the inode of its file."""
    return Path("/proc/thread-self/ns/net").stat().st_ino


def read_numbers(paths: Iterable[str]) -> dict[int, int]:
    """Return which number of a peer's namespace (``Link.peer_netns``) stands for which identity.

    ``paths`` are files of the namespaces in question. The kernel has numbers for those that links
    lead to, once these were read.
    """
    with _netlink() as ip:
        return dict(found for path in paths for found in _numbered(ip, path))


def _numbered(ip: Any, path: str) -> Iterator[tuple[int, int]]:
    """Yield the number of a namespace; none if its Pod or node has just ended."""
    with suppress(FileNotFoundError, ProcessLookupError):
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            number = ip.get_netnsid(fd=fd)["nsid"]
            if number >= 0:  # -1: no link leads there
                yield number, os.fstat(fd).st_ino
        except NetlinkError as err:
            if err.code != errno.EINVAL:  # what is left is the file that it was mounted on
                raise
        finally:
            os.close(fd)


def sysctl(name: str) -> str | None:
    """Return a setting such as ``net/ipv4/ip_forward``; None if this kernel has none."""
    try:
        return (_SETTINGS / name).read_text().strip()
    except OSError as err:
        if err.errno in (errno.ENOENT, errno.EACCES, errno.EIO):
            return None
        raise


def read_counters() -> dict[str, int]:
    """Return what /proc/net/snmp and netstat count, as Udp/InErrors."""
    found: dict[str, int] = {}
    for name in ("snmp", "netstat"):
        rows = Path(f"/proc/thread-self/net/{name}").read_text().splitlines()
        for titles, values in zip(rows[::2], rows[1::2], strict=False):
            group, *words = titles.split()
            numbers = zip(words, values.split()[1:], strict=True)
            found |= {f"{group.rstrip(':')}/{word}": int(number) for word, number in numbers}
    return found


@contextmanager
def _netlink() -> Iterator[Any]:
    """Open a netlink socket; pyroute2 makes its methods at run time, where mypy cannot see them.

    Raises OSError, which pyroute2's own errors are not.
    """
    iproute: Any = pyroute2.IPRoute  # type: ignore[attr-defined]
    try:
        with iproute() as ip:
            yield ip
    except NetlinkError as err:
        raise OSError(err.code, f"the kernel's objects cannot be read: {err.args[-1]}") from err


def _sysctls(links: Iterator[str]) -> Iterator[tuple[str, str]]:
    for name in (*SYSCTLS, *(one.format(link) for link in links for one in _OF_LINKS)):
        if (value := sysctl(name)) is not None:
            yield name, value


def _link(item: Any) -> Link:
    info = item.get_attr("IFLA_LINKINFO")
    data = _nested(info, "IFLA_INFO_DATA")
    port = _nested(info, "IFLA_INFO_SLAVE_DATA")
    hairpin = port.get("IFLA_BRPORT_MODE")
    statistics = item.get_attr("IFLA_STATS64") or {}
    return Link(
        index=item["index"],
        name=_text(item.get_attr("IFLA_IFNAME")),
        kind=(info.get_attr("IFLA_INFO_KIND") or "") if info else "",
        mac=item.get_attr("IFLA_ADDRESS") or "",
        mtu=item.get_attr("IFLA_MTU") or 0,
        up=bool(item["flags"] & _UP),
        carrier=bool(item.get_attr("IFLA_CARRIER")),
        promiscuous=bool(item.get_attr("IFLA_PROMISCUITY") or item["flags"] & _PROMISCUOUS),
        master=item.get_attr("IFLA_MASTER") or 0,
        peer=item.get_attr("IFLA_LINK") or 0,
        peer_netns=_number(item.get_attr("IFLA_LINK_NETNSID"), -1),
        vni=data.get("IFLA_VXLAN_ID"),
        port=data.get("IFLA_VXLAN_PORT"),
        local=data.get("IFLA_VXLAN_LOCAL") or data.get("IFLA_VXLAN_LOCAL6") or "",
        hairpin=None if hairpin is None else bool(hairpin),
        dropped=statistics.get("rx_dropped", 0) + statistics.get("tx_dropped", 0),
        errors=statistics.get("rx_errors", 0) + statistics.get("tx_errors", 0),
        group=item.get_attr("IFLA_GROUP") or 0,
        hardware=item["ifi_type"],
        filtered=tuple(version for version, name in _FILTERED.items() if data.get(name)),
    )


def _text(name: str | bytes) -> str:
    """Return a link's name, which may be any bytes: pyroute2 leaves those that are no text."""
    return name.decode(errors="replace") if isinstance(name, bytes) else name


def _number(value: int | None, default: int) -> int:
    return default if value is None else value


def _nested(info: Any, name: str) -> dict[str, Any]:
    """Return attributes inside a link's kind; none of a kind that pyroute2 does not know."""
    found: Any = info.get_attr(name) if info else None
    return dict(found["attrs"]) if hasattr(found, "get_attr") else {}


def _address(item: Any) -> Address:
    flags = item.get_attr("IFA_FLAGS") or item["flags"]
    ip = item.get_attr("IFA_LOCAL") or item.get_attr("IFA_ADDRESS")
    return Address(
        link=item["index"],
        ip=f"{ip}/{item['prefixlen']}",
        tentative=bool(flags & _TENTATIVE),
        duplicate=bool(flags & _DUPLICATE),
    )


def _neighbors(items: list[Any]) -> Iterator[Neighbor]:
    for item in items:
        if ip := item.get_attr("NDA_DST"):
            state = _STATES.get(item["state"], "none")
            yield Neighbor(item["ifindex"], ip, state, item.get_attr("NDA_LLADDR") or "")


def _bridged(ip: Any) -> list[Any]:
    return dump(lambda: ip.fdb("dump"))


def _forwarding(items: list[Any]) -> Iterator[Forwarding]:
    for item in items:
        if mac := item.get_attr("NDA_LLADDR"):
            permanent = _STATES.get(item["state"]) == "permanent"
            yield Forwarding(item["ifindex"], mac, item.get_attr("NDA_DST") or "", permanent)


def _routes(item: Any) -> Iterator[Route]:
    """Yield a route, one of several paths for each."""
    family = item["family"]
    if family not in _VERSIONS:
        return
    metrics = item.get_attr("RTA_METRICS")
    base = {
        "destination": f"{item.get_attr('RTA_DST') or _ANYWHERE[family]}/{item['dst_len']}",
        "kind": _KINDS.get(item["type"], str(item["type"])),
        "source": item.get_attr("RTA_PREFSRC") or "",
        "table": item.get_attr("RTA_TABLE") or item["table"],
        "metric": item.get_attr("RTA_PRIORITY") or 0,
        "protocol": item["proto"],
        "mtu": (metrics.get_attr("RTAX_MTU") or 0) if metrics else 0,
    }
    for path in item.get_attr("RTA_MULTIPATH") or [item]:
        link = path.get_attr("RTA_OIF") or path.get("oif", 0)
        yield Route(**base, link=link, gateway=_gateway(path))


def _gateway(path: Any) -> str:
    """Return the next hop, which may be of the other family (RTA_VIA, RFC 5549)."""
    via = path.get_attr("RTA_VIA")
    return str(path.get_attr("RTA_GATEWAY") or (via or {}).get("addr", ""))


def _rule(item: Any) -> Rule:
    def network(name: str, length: str) -> str:
        address = item.get_attr(name)
        return f"{address}/{item[length]}" if address else ""

    mark = item.get_attr("FRA_FWMARK")
    return Rule(
        family=_VERSIONS.get(item["family"], 0),
        priority=item.get_attr("FRA_PRIORITY") or 0,
        table=item.get_attr("FRA_TABLE") or item["table"],
        source=network("FRA_SRC", "src_len"),
        destination=network("FRA_DST", "dst_len"),
        mark="" if mark is None else f"{mark:#x}/{item.get_attr('FRA_FWMASK') or 0:#x}",
        iif=_text(item.get_attr("FRA_IIFNAME") or ""),
        oif=_text(item.get_attr("FRA_OIFNAME") or ""),
        action=item["action"],
        other=tuple(_asked_besides(item)),
    )


def _asked_besides(item: Any) -> Iterator[str]:
    """Yield what a rule asks for that is not read: it may match or not."""
    for name, value in item["attrs"]:
        if name not in _OF_RULES and value not in _NOTHING:
            yield name
    if item["flags"] & _INVERTED or item["tos"]:
        yield "inverted" if item["flags"] & _INVERTED else "tos"
