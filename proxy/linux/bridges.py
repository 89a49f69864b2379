"""The filter of the Pods' bridges: whether their frames pass netfilter's rules (br_netfilter).

An answer from a Pod to another of its bridge passes the node as a frame. Where only rules can
translate it back, the bridge has to show it to them. Each bridge has a setting of its own for that,
so a host's other bridges stay as they are.
"""

import logging
import threading
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

from proxy.linux.addresses import addresses_of_links
from proxy.linux.links import Link, LinkListener, all_links, filter_bridge
from proxy.model.settings import PodDetector
from proxy.model.values import Address, Family, Network

logger = logging.getLogger("podwire.proxy.bridges")

_MODULE = Path("/proc/sys/net/bridge")  # br_netfilter makes it
_REMEDY = "load the kernel's module: modprobe br_netfilter"


class PodBridges:
    """Follows the bridges of this network namespace, and filters those of Pods or does not.

    A bridge of Pods has an address in the Pods' ranges, or is the interface that detects Pods. One
    thread may call ``heard`` while another calls ``set`` or ``follow``.
    """

    def __init__(
        self,
        pods: Mapping[Family, PodDetector],
        events: LinkListener,
        others: Callable[[], bool] = lambda: False,
    ) -> None:
        """``events`` are about links and addresses.

        ``others`` tells whether somebody else in this process needs bridges filtered.
        """
        self._pods = pods
        self._events = events
        self._others = others
        self._heard = threading.Event()
        self._wanted: tuple[bool, tuple[Network, ...]] | None = None  # None: unknown
        self._told: set[str] = set()

    def fileno(self) -> int:
        """Return the descriptor by which events come, for selectors."""
        return self._events.fileno()

    def heard(self) -> None:
        """Take what events there are; ``follow`` acts on them."""
        if self._events.has_events():
            self._heard.set()

    def follow(self) -> None:
        """Filter bridges that came since as the others."""
        if self._wanted is not None:
            self.set(*self._wanted)

    def set(self, filtered: bool, ranges: tuple[Network, ...]) -> None:
        """Filter the Pods' bridges, or do not; ``ranges`` are those of the node's Pods.

        A failure is logged, and tried again after the next event or change.
        """
        self.heard()
        filtered = filtered or self._others()
        if (filtered, ranges) == self._wanted and not self._heard.is_set():
            return
        self._heard.clear()
        self._wanted = filtered, ranges
        try:
            found = pod_bridges(self._pods, ranges, all_links(), addresses_of_links())
            for bridge in found:
                if bridge.is_filtered != (filtered, filtered):
                    _change(bridge, filtered)
        except OSError as err:
            self._tell(f"bridges of Pods cannot be filtered: {err}")
            return
        if filtered and found and not _MODULE.exists():
            self._tell(f"bridge {found[0].name} passes its frames to no rules")

    def _tell(self, what: str) -> None:
        """Log an error once."""
        if what not in self._told:
            logger.error(
                "%s; a Pod that calls a Service gets no answer from Pods of its own node; %s",
                what,
                _REMEDY,
            )
        self._told.add(what)


def pod_bridges(
    pods: Mapping[Family, PodDetector],
    ranges: Iterable[Network],
    links: Iterable[Link],
    addresses: Iterable[tuple[int, Address]],
) -> list[Link]:
    """Return the bridges of Pods among ``links``.

    ``addresses`` are all, with their links' indexes.
    """
    bridges = {link.number: link for link in links if link.is_bridge}
    detectors = [*pods.values(), *map(PodDetector, ranges)]
    found = {
        number
        for number, address in addresses
        if number in bridges and any(one.covers(address, bridges[number].name) for one in detectors)
    }
    return [bridges[number] for number in sorted(found)]


def _change(bridge: Link, filtered: bool) -> None:
    if bridge.is_filtered:
        filter_bridge(bridge, filtered)
    elif filtered:
        raise OSError(f"{bridge.name}: the kernel has no CONFIG_BRIDGE_NETFILTER")
