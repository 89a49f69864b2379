"""The rules of the Pods' bridges where programs decide on their frames: pure.

::

    forward ── between ports with a program ──► what keeps the link, unicast ──► accept
       │                                             └── all else: link-local, multicast ──► drop
       ├────── port of a bridge that is not Pods' ──► accept
       └────── from or to another port, which is new ──► drop

The programs ask the node about unicast frames that they do not admit. A new port has its program
some milliseconds after it came; until then its Pod reaches no other, and no other reaches it. So
the programs' maps forget an ended Pod before another gets its frames.
"""

from proxy.backends.ebpf.policy import GUARDED, TABLE
from proxy.backends.nftables.transaction import elements_of
from proxy.policy.render import LINK_KEEPING, LOGS, UNKNOWN_FROM, UNKNOWN_TO

_NAME = f"bridge {TABLE}"
FOREIGN = "foreign"
_RULES = {
    "forward": (
        # First of all most frames.
        f"meta iif @{GUARDED} meta oif @{GUARDED} meta pkttype other ether type ip accept",
        f"meta iif @{GUARDED} meta oif @{GUARDED} goto guarded",
        f"meta iif @{FOREIGN} accept",
        LINK_KEEPING,
        f"meta iif @{GUARDED} ether type {{ ip, ip6 }} goto {UNKNOWN_TO}",
        f"ether type {{ ip, ip6 }} goto {UNKNOWN_FROM}",
    ),
    "guarded": (
        LINK_KEEPING,
        f"ip6 saddr fe80::/10 goto {UNKNOWN_FROM}",
        f"ip6 daddr fe80::/10 goto {UNKNOWN_FROM}",
        "meta pkttype other accept",
        f"ether type {{ ip, ip6 }} goto {UNKNOWN_FROM}",
    ),
    UNKNOWN_FROM: ("counter", LOGS.format(UNKNOWN_FROM), "drop"),
    UNKNOWN_TO: ("counter", LOGS.format(UNKNOWN_TO), "drop"),
}


class BridgeRules:
    """What the kernel holds in the table of the bridge family: ports by interface index."""

    def __init__(self) -> None:
        self._held: dict[str, frozenset[int]] = {}

    def restart(self, guarded: frozenset[int], foreign: frozenset[int]) -> str:
        """Return the transaction that makes the table anew."""
        self._held = {GUARDED: frozenset(), FOREIGN: frozenset()}
        lines = [f"{verb} table {_NAME}" for verb in ("add", "delete", "add")]
        lines += (f"add set {_NAME} {name} {{ type iface_index; }}" for name in self._held)
        hook = " { type filter hook forward priority 0; policy accept; }"
        for name in reversed(_RULES):
            lines.append(f"add chain {_NAME} {name}{hook if name == 'forward' else ''}")
            lines += (f"add rule {_NAME} {name} {rule}" for rule in _RULES[name])
        return "".join(f"{line}\n" for line in lines) + self.advance(guarded, foreign)

    def advance(self, guarded: frozenset[int], foreign: frozenset[int]) -> str:
        """Return the change from the ports before."""
        lines: list[str] = []
        for name, ports in ((GUARDED, guarded), (FOREIGN, foreign)):
            before, self._held[name] = self._held[name], ports
            for verb, which in (("delete", before - ports), ("add", ports - before)):
                lines += elements_of(verb, _NAME, name, [str(one) for one in sorted(which)])
        return "".join(f"{line}\n" for line in lines)
