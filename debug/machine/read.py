"""Reads a node beside its namespace. All programs run in the node's network, by lists of words.

Sources: nft(8) -j, iptables-save(8), Documentation/networking/nf_conntrack-sysctl.rst,
net/netfilter/nf_conntrack_standalone.c (the columns of /proc/net/stat/nf_conntrack).
"""

import http.client
import json
import platform
import socket
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from debug.kernel.conntrack import table
from debug.machine import files
from debug.machine.programs import (
    SavedClient,
    SavedFrontend,
    clients,
    frontends,
    has_programs,
    saved,
    tables,
)
from debug.machine.values import (
    MachineState,
    PodFacts,
    ProxyFacts,
    TrackedFlow,
    base_chains,
    objects_of,
)
from debug.output import with_port
from debug.places import Place, PlaceError, inside
from proxy.backends.iptables.tool import Flavor, IptablesTool, in_use
from proxy.linux.links import all_links
from proxy.linux.netlink import EVERY
from proxy.linux.nft_names import chains
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family

T = TypeVar("T")

_PROXY = ("127.0.0.1", "::1")
_PROXY_PORT = 10249
_SECONDS = 3.0
_LONGEST_PAGE, _LONGEST_MODE = 1 << 20, 40
_DECISIVE: Mapping[str, type] = {  # parts of a KubeProxyConfiguration
    **{"clusterCIDR": str, "detectLocalMode": str, "nodePortAddresses": list},
    **{"conntrack": dict, "iptables": dict, "nftables": dict},
}
_PROC = Path("/proc/thread-self")  # /proc/net is of the process's first thread
_OWN_PAGE = "/policy/drops"  # of podwire's proxy
_PINS = "sys/fs/bpf/podwire-proxy"
_MOST_PINS = 4096


class _Reader:
    """Reads one part after another, and notes which could not be read."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.unread: dict[str, str] = {}

    def part(self, name: str, read: Callable[[], T], default: T) -> T:
        """Return what ``read`` returns, or ``default`` if it cannot read."""
        try:
            return read()
        except (OSError, KernelRefusedError, PlaceError, ValueError) as err:
            self.unread[name] = str(err)
            return default

    def within(self, name: str, read: Callable[[], T], default: T) -> T:
        """The same in the node's network."""
        return self.part(name, lambda: inside(self.place, read), default)


def read_machine(
    place: Place, pods: Sequence[Place] = (), *, with_programs: bool = False
) -> MachineState:
    """Read a node, whose own namespace ``place`` is. Never raises for what cannot be read.

    ``pods`` are the places of its Pods. ``with_programs`` reads the maps of eBPF programs, too.
    """
    reader, root = _Reader(place), place.root
    return MachineState(
        node=place.node,
        kernel=platform.release(),
        proxy=reader.within("proxy", _proxy, None),
        nft=reader.within("nft", _nft, None),
        iptables=reader.within("iptables", lambda: dict(_iptables()), {}),
        flows=reader.within("flows", lambda: tuple(_flows()), ()),
        statistics=reader.within("statistics", _statistics, {}),
        filtered=reader.within("bridges", lambda: dict(_filtered()), {}),
        reservations=reader.part("leases", lambda: tuple(files.reservations(root)), ()),
        attachments=reader.part("attachments", lambda: tuple(files.attachments(root)), ()),
        cni=reader.part("cni", lambda: files.network(root), None),
        pods=tuple(reader.part(one.name, partial(_pod, one), PodFacts("")) for one in pods),
        pinned=reader.part("pins", lambda: tuple(_pins(root)), ()),
        programs=reader.part("programs", partial(_programs, place, wanted=with_programs), None),
        clients=reader.part("clients", partial(_clients, place, wanted=with_programs), ()),
        maps=reader.part("maps", partial(tables, place), {}),
        unread=reader.unread,
    )


def _proxy() -> ProxyFacts | None:
    """Ask a proxy for its pages; None if none answers."""
    for host in _PROXY:
        if mode := _mode_at(host):
            document: Any = json.loads(_page(host, "/configz") or b"{}")
            parts = document if isinstance(document, dict) else {}
            config = _decisive(parts.get("kubeproxy.config.k8s.io"))
            return ProxyFacts(mode, config, _status(host, _OWN_PAGE) != http.client.OK)
    return None


def proxy_mode() -> str:
    """Return the mode that the proxy of this thread's network tells; "" if none answers."""
    return next(filter(None, map(_mode_at, _PROXY)), "")


def _mode_at(host: str) -> str:
    """Return what is a mode's name: another server may answer at the port."""
    try:
        found = _page(host, "/proxyMode")[:_LONGEST_MODE].decode(errors="replace").strip()
    except OSError:
        return ""
    return found if found.isidentifier() else ""


def _decisive(config: Any) -> dict[str, Any]:
    """Return what decides about packets: whoever listens there may tell anything."""
    found = config if isinstance(config, dict) else {}
    return {key: found[key] for key, kind in _DECISIVE.items() if isinstance(found.get(key), kind)}


def _page(host: str, path: str) -> bytes:
    """Return a page, empty if there is no such one. Raises OSError."""
    status, body = _asked(host, "GET", path)
    return body if status == http.client.OK else b""


def _status(host: str, path: str) -> int:
    """Return whether there is a page, as HTTP tells it. Raises OSError."""
    return _asked(host, "HEAD", path)[0]


def _asked(host: str, method: str, path: str) -> tuple[int, bytes]:
    asking = http.client.HTTPConnection(host, _PROXY_PORT, timeout=_SECONDS)
    try:
        asking.request(method, path)
        answer = asking.getresponse()
        return answer.status, answer.read(_LONGEST_PAGE)
    except http.client.HTTPException as err:
        raise OSError(f"port {_PROXY_PORT} of {host} does not speak HTTP") from err
    finally:
        asking.close()


def _nft() -> str:
    done = subprocess.run(["nft", "-j", "list", "ruleset"], capture_output=True, check=False)
    if done.returncode:
        raise OSError(done.stderr.decode(errors="replace").strip())
    return done.stdout.decode(errors="replace")


def _iptables() -> Iterator[tuple[str, str]]:
    """Yield the rules of each flavor and family that is in use; listing makes no tables."""
    for flavor in Flavor:
        for family in Family:
            tool = IptablesTool(family, flavor)
            if tool.exists and in_use(tool, _PROC):
                yield f"{flavor} {int(family)}", tool.save(every_table=True)


def _pod(place: Place) -> PodFacts:
    """Read what a Pod's network has of its own; most have no rules, which nft need not say."""

    def read() -> PodFacts:
        found = tuple(base_chains(objects_of(_nft()))) if chains(EVERY) else ()
        return PodFacts("/".join(place.pod or ()), found, tuple(sorted(set(_listening()))))

    return inside(place, read)


def _listening() -> Iterator[str]:
    """Yield the ports that are listened at, on addresses other than loopback's."""
    for name, state in (("tcp", "0A"), ("tcp6", "0A"), ("udp", "07"), ("udp6", "07")):
        path = _PROC / "net" / name
        for row in path.read_text().splitlines()[1:] if path.exists() else ():
            words = row.split()
            if words[3] == state:
                yield f"{name[:3].upper()} {int(words[1].rpartition(':')[2], 16)}"


def _flows() -> Iterator[TrackedFlow]:
    for flow in table(socket.IPPROTO_UDP):
        first, back = flow.original, flow.reply
        called = with_port(first.destination, first.destination_port)
        yield TrackedFlow(called, with_port(back.source, back.source_port))


def _statistics() -> dict[str, int]:
    """Return what all processors have counted in /proc/net/stat."""
    found: dict[str, int] = {}
    for name in ("nf_conntrack", "arp_cache", "ndisc_cache"):
        path = _PROC / "net/stat" / name
        if not path.exists():
            continue
        titles, *rows = (line.split() for line in path.read_text().splitlines())
        for row in rows:
            for title, value in zip(titles, row, strict=False):
                key = f"{name}/{title}"
                same = title == "entries"  # each processor's row has the number of all
                found[key] = int(value, 16) + (0 if same else found.get(key, 0))
    return found


def _filtered() -> Iterator[tuple[str, bool]]:
    for link in all_links():
        if link.is_bridge:
            yield link.name, bool(link.is_filtered) and all(link.is_filtered)


def _programs(place: Place, *, wanted: bool) -> tuple[SavedFrontend, ...] | None:
    return tuple(saved(frontends(place))) if wanted and has_programs(place) else None


def _clients(place: Place, *, wanted: bool) -> tuple[SavedClient, ...]:
    return tuple(clients(place)) if wanted and has_programs(place) else ()


def _pins(root: Path) -> Iterator[str]:
    folder = root / _PINS
    for count, path in enumerate(sorted(folder.rglob("*"))):
        if count >= _MOST_PINS:
            return
        yield str(path.relative_to(folder))
