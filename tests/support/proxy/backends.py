"""Backends under test, applied in a lab's node."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from proxy.backends.base import BACKENDS as MODES
from proxy.backends.base import Backend, open_backend
from proxy.desired.desired import Desired
from proxy.linux.bridges import PodBridges
from proxy.linux.links import LinkListener
from proxy.model.settings import ProxySettings
from tests.support.groups import group, join
from tests.support.proxy.lab import ProxyLab
from tests.support.proxy.world import NODE, SETTINGS
from tests.support.space import Space

BACKENDS = {
    "iptables-legacy": ("iptables", {"flavor": "legacy"}),
    "iptables-nft": ("iptables", {"flavor": "nft"}),
    "nftables": ("nftables", {}),
    "ebpf": ("ebpf", {}),
    "ebpf-packets": ("ebpf", {}),  # all balancing by the program for packets
}


_applied: list[Backend] = []  # in the node's worker


def apply(mode: str, options: dict[str, str], settings: ProxySettings, want: Desired) -> None:
    """In the node: replace the present backend, if there is one."""
    remove()
    backend = open_backend(mode, settings, options)
    backend.apply(want, NODE)
    filter_bridges(backend, settings)
    _applied.append(backend)


def filter_bridges(backend: Backend, settings: ProxySettings) -> None:
    """In the node: filter the Pods' bridge for a backend, or do not, as the proxy does."""
    with closing(LinkListener()) as links:
        PodBridges(settings.pods, links).set(backend.needs_bridge_filter, NODE.pod_cidrs)


def remove() -> None:
    """In the node: remove the rules, also those that a backend stands on."""
    if _applied:
        _applied.clear()
        for mode in MODES:
            open_backend(mode, SETTINGS["default"], {}).remove()


@contextmanager
def grouped_lab(
    spaces: Callable[[str], Space], name: str, packets: dict[str, str]
) -> Iterator[ProxyLab]:
    """A lab whose node and Pods are in a cgroup, for mode ebpf.

    A second cgroup is empty: with it, and the options ``packets``, all balancing is by packets.
    """
    with group(name) as root, group(f"{name}-empty") as empty:
        made = ProxyLab(spaces)
        join(root, (made.workers[name] for name in ("node", "a", "b", "p")))
        BACKENDS["ebpf"] = ("ebpf", {"cgroup-root": root})
        BACKENDS["ebpf-packets"] = ("ebpf", {"cgroup-root": empty} | packets)
        yield made
        made.stop()
