"""The rules of the Pods' bridges where programs decide on their frames: pure.

::

    forward ── port with a program ──► what keeps the link, unicast ──► accept
       │                                    └── all else: link-local, multicast ──► drop
       └────── another port ──► of a Pod, to a Pod ──► drop

The programs ask the node about unicast frames that they do not admit. A port has its program some
milliseconds after it came; until then no Pod is reached through it, and reaches no other.
"""

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from proxy.backends.ebpf.policy import GUARDED, TABLE
from proxy.backends.nftables.transaction import elements_of
from proxy.model.values import Family, Network
from proxy.policy.render import LINK_KEEPING, LOGS, UNKNOWN_FROM

_NAME = f"bridge {TABLE}"
_TYPES = {Family.V4: "ipv4_addr", Family.V6: "ipv6_addr"}
_RULES = {
    "forward": (
        f"meta iif @{GUARDED} goto guarded",
        "ip saddr @ranges-4 goto unknown-from",
        "ip daddr @ranges-4 goto unknown-from",
        "ip6 saddr @ranges-6 goto unknown-from",
        "ip6 daddr @ranges-6 goto unknown-from",
    ),
    "guarded": (
        "meta pkttype other ether type ip accept",
        LINK_KEEPING,
        "ip6 saddr fe80::/10 goto unknown-from",
        "ip6 daddr fe80::/10 goto unknown-from",
        "meta pkttype other accept",
        "ether type { ip, ip6 } goto unknown-from",
    ),
    UNKNOWN_FROM: ("counter", LOGS.format(UNKNOWN_FROM), "drop"),
}


class BridgeRules:
    """What the kernel holds in the table of the bridge family."""

    def __init__(self) -> None:
        self._ports: frozenset[int] = frozenset()

    def restart(self, ports: frozenset[int], ranges: Iterable[Network]) -> str:
        """Return the transaction that makes the table anew, for ports by interface index."""
        self._ports = frozenset()
        lines = [
            *(f"{verb} table {_NAME}" for verb in ("add", "delete", "add")),
            f"add set {_NAME} {GUARDED} {{ type iface_index; }}",
        ]
        for family, kind in _TYPES.items():
            lines.append(f"add set {_NAME} ranges-{family} {{ type {kind}; flags interval; }}")
            found = [str(one) for one in _without_overlaps(ranges, family)]
            lines += elements_of("add", _NAME, f"ranges-{family}", found)
        hook = " { type filter hook forward priority 0; policy accept; }"
        for name in reversed(_RULES):
            lines.append(f"add chain {_NAME} {name}{hook if name == 'forward' else ''}")
            lines += (f"add rule {_NAME} {name} {rule}" for rule in _RULES[name])
        return "".join(f"{line}\n" for line in lines) + self.advance(ports)

    def advance(self, ports: frozenset[int]) -> str:
        """Return the change from the ports before."""
        gone = [str(number) for number in sorted(self._ports - ports)]
        new = [str(number) for number in sorted(ports - self._ports)]
        self._ports = ports
        lines = (
            *elements_of("delete", _NAME, GUARDED, gone),
            *elements_of("add", _NAME, GUARDED, new),
        )
        return "".join(f"{line}\n" for line in lines)


def _without_overlaps(ranges: Iterable[Network], family: Family) -> Iterable[Network]:
    if family is Family.V4:
        return collapse_addresses(one for one in ranges if isinstance(one, IPv4Network))
    return collapse_addresses(one for one in ranges if isinstance(one, IPv6Network))
