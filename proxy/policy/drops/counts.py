"""How many packets were dropped, exactly: by the kernel's counters, for each group of policies.

The kernel counts for each address. What was counted since the last reading is laid to the policies
that isolate the address's Pod now.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address
from typing import NamedTuple

from proxy.linux import nft_counters
from proxy.linux.netlink import BRIDGE
from proxy.model.values import Address, Family, Key
from proxy.policy.render import DENIED, DROPPED, TABLE, UNKNOWN_FROM, UNKNOWN_TO
from proxy.policy.values import Direction

NAME = "kubeproxy_network_policy_dropped_packets_total"
_UNKNOWN = {UNKNOWN_FROM: Direction.EGRESS, UNKNOWN_TO: Direction.INGRESS}


class Place(NamedTuple):
    """What the kernel counts by: an address, or a family for what was of no known Pod.

    The family is a bridge's (``BRIDGE``) for frames of which no program decides.

    ``by_rule``: a rule of a ClusterNetworkPolicy denied it.
    """

    direction: Direction
    where: Family | Address | str
    by_rule: bool = False


Guards = Callable[[Place], tuple[Key, ...]]  # the policies that may have dropped it
Label = tuple[str, str, str]  # direction, namespace, policies
Readings = Mapping[Place, int]


_MOST_LABELS = 5000
_OTHERS = "others"  # the policies of what has no place of its own


def read(families: Iterable[Family]) -> Readings:
    """Read the kernel's counters. Raises OSError, for instance if there is no table of ours."""
    found = dict(pair for family in families for pair in _read(family))
    with suppress(OSError):  # bridges have rules of their own where programs decide
        for chain, direction in _UNKNOWN.items():
            found[Place(direction, BRIDGE)] = nft_counters.of_chain(BRIDGE, TABLE, chain)[0]
    return found


def _read(family: Family) -> Iterator[tuple[Place, int]]:
    for stores, by_rule in ((DROPPED, False), (DENIED, True)):
        for direction, store in stores.items():
            for key, packets, _ in nft_counters.of_elements(family, TABLE, store):
                yield Place(direction, ip_address(key), by_rule), packets
    for chain, direction in _UNKNOWN.items():
        yield Place(direction, family), nft_counters.of_chain(family, TABLE, chain)[0]


class DropCounts:
    """The sums. Any thread may use them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._before: dict[Place, int] = {}
        self._sums: dict[Label, int] = {}

    def take(self, readings: Readings, guards: Guards) -> None:
        """Add what grew since the last readings. A counter that fell began anew."""
        with self._lock:
            for place, count in readings.items():
                before = self._before.get(place, 0)
                more = count - before if count >= before else count
                if more:
                    self._add(_label(place, guards), more)
            self._before = dict(readings)

    def begin_anew(self) -> None:
        """Expect counters that begin at 0: the table was written anew."""
        with self._lock:
            self._before = {}

    def _add(self, label: Label, more: int) -> None:
        if label not in self._sums and len(self._sums) >= _MOST_LABELS:
            label = (label[0], "", _OTHERS)
        self._sums[label] = self._sums.get(label, 0) + more

    def sums(self) -> dict[Label, int]:
        """Return the packets dropped for each label."""
        with self._lock:
            return dict(self._sums)

    def text(self) -> str:
        """Return the metric in Prometheus' text format."""
        lines = [
            f"# HELP {NAME} Packets that policies dropped; without a policy: of no known Pod.",
            f"# TYPE {NAME} counter",
        ]
        for (direction, namespace, policy), count in sorted(self.sums().items()):
            labels = f'direction="{direction}",namespace="{namespace}",policy="{policy}"'
            lines.append(f"{NAME}{{{labels}}} {count}")
        return "".join(f"{line}\n" for line in lines)


def _label(place: Place, guards: Guards) -> Label:
    keys = () if isinstance(place.where, Family | str) else guards(place)
    return place.direction.lower(), keys[0][0] if keys else "", ",".join(name for _, name in keys)
