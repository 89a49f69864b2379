"""The kernel's side of policies: our tables of nftables, and the filter of the Pods' bridges."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from msgspec import Struct

from proxy.backends.nftables import bulk
from proxy.backends.nftables.transaction import Transaction, table_name
from proxy.linux import nft_names
from proxy.linux.addresses import addresses_of_links
from proxy.linux.bridges import pod_bridges
from proxy.linux.libnftables import Libnftables
from proxy.linux.links import Link, all_links, filter_bridge
from proxy.linux.netlink import BRIDGE
from proxy.model.errors import KernelRefusedError
from proxy.model.settings import PodDetector
from proxy.model.values import Family, Network
from proxy.policy.render import TABLE, TAKEN, is_plain

_PROBE = "podwire-probe"
_MODULE = Path("/proc/sys/net/bridge")  # br_netfilter makes it


class RuleChange(Struct, frozen=True):
    """A change of our tables: ``text`` in nft's language, and ``parts`` by family.

    ``renews``: the tables are made anew, so that their counters begin at 0.
    """

    text: str = ""
    parts: Sequence[tuple[Family, Transaction]] = ()
    renews: bool = False

    def __bool__(self) -> bool:
        return bool(self.text or any(part for _, part in self.parts))


class RuleWriter:
    """Commits changes of our tables, each in one transaction."""

    def __init__(self) -> None:
        self._nft = Libnftables()
        self._elements = bulk.ElementWriter()

    def commit(self, change: RuleChange) -> None:
        """Commit a change. Raises KernelRefusedError, and then nothing has happened.

        A Pod that comes, goes or gets other labels changes nothing but elements, as a rule.
        """
        objects = (one for _, part in change.parts for one in (*part.put, *part.drop))
        if not change.text and all(map(is_plain, objects)):
            self._elements.change(TABLE, change.parts)
        else:
            lines = (part.text(family, TABLE) for family, part in change.parts)
            self._nft.commit("".join((*lines, change.text)))

    def close(self) -> None:
        """Close what a later commit would open again."""
        self._elements.close()


def removal() -> str:
    """Return the transaction that removes what any run left, empty if there is nothing.

    Raises KernelRefusedError.
    """
    families = (*Family, BRIDGE)
    return "".join(f"delete table {_name(one)} {TABLE}\n" for one in families if exists(one))


def remove() -> None:
    """Remove what any run left. A second call does nothing. Raises KernelRefusedError."""
    if text := removal():
        Libnftables().commit(text)


def clearing(family: Family) -> str:
    """Return what empties our table within a transaction, but for the set TAKEN.

    podwire-cni may add to that until the transaction is committed. Raises KernelRefusedError.
    """
    table = table_name(family, TABLE)
    stores = [one for one in nft_names.named_sets(family) if one.table == TABLE]
    lines = (
        f"add table {table}",
        f"flush table {table}",
        *(
            f"delete {'map' if one.is_map else 'set'} {table} {one.name}"
            for one in stores
            if one.name != TAKEN
        ),
        *(f"delete chain {table} {name}" for own, name in nft_names.chains(family) if own == TABLE),
    )
    return "".join(f"{line}\n" for line in lines)


def deletion(family: Family) -> str:
    """Return what makes our table new and empty within a transaction, whatever it has now."""
    table = table_name(family, TABLE)
    return f"add table {table}\ndelete table {table}\nadd table {table}\n"


def bridge_removal() -> str:
    """Return the transaction that removes the bridges' own rules, empty if there are none.

    Raises KernelRefusedError.
    """
    return f"delete table {BRIDGE} {TABLE}\n" if exists(BRIDGE) else ""


def exists(family: Family | str) -> bool:
    """Return True if our table is there. Raises KernelRefusedError."""
    return any(table == TABLE for table, _ in nft_names.chains(family))


def has_bridge_tables() -> bool:
    """Return True if the kernel has rules for frames of bridges (CONFIG_NF_TABLES_BRIDGE)."""
    try:
        Libnftables().commit(f"add table {BRIDGE} {_PROBE}\ndelete table {BRIDGE} {_PROBE}\n")
    except KernelRefusedError:
        return False
    return True


def bridges_of(
    pods: Mapping[Family, PodDetector], ranges: Sequence[Network]
) -> tuple[list[Link], frozenset[int]]:
    """Return the bridges where this node's Pods meet, and the ports of other bridges.

    Ports are interface indexes. Raises OSError.
    """
    links = all_links()
    found = pod_bridges(pods, ranges, links, addresses_of_links())
    ours = {0, *(bridge.number for bridge in found)}
    return found, frozenset(link.number for link in links if link.bridge not in ours)


def show_to_rules(bridges: Sequence[Link]) -> str:
    """Have the Pods' bridges pass their frames to the rules.

    Returns what is wrong, empty if nothing is. Raises OSError.
    """
    for bridge in bridges:
        if bridge.is_filtered and not all(bridge.is_filtered):
            filter_bridge(bridge, True)
    blind = [bridge.name for bridge in bridges if not bridge.is_filtered]
    if blind or (bridges and not _MODULE.exists()):
        return (
            f"bridge {(blind or [bridges[0].name])[0]} passes its frames to no rules, so policies "
            "do not hold between Pods of this node; load the kernel's module: modprobe br_netfilter"
        )
    return ""


def _name(family: Family | str) -> str:
    return table_name(family, "").rstrip() if isinstance(family, Family) else family
