"""The kernel's side of policies: our tables of nftables, and the filter of the Pods' bridges."""

from collections.abc import Mapping, Sequence
from pathlib import Path

from proxy.linux import nft_names
from proxy.linux.addresses import addresses_of_links
from proxy.linux.bridges import pod_bridges
from proxy.linux.libnftables import Libnftables
from proxy.linux.links import all_links, filter_bridge
from proxy.model.settings import PodDetector
from proxy.model.values import Family, Network
from proxy.policy.render import TABLE

_MODULE = Path("/proc/sys/net/bridge")  # br_netfilter makes it


def removal() -> str:
    """Return the transaction that removes what any run left, empty if there is nothing.

    Raises KernelRefusedError.
    """
    return "".join(f"delete table {_name(family)} {TABLE}\n" for family in Family if exists(family))


def remove() -> None:
    """Remove what any run left. A second call does nothing. Raises KernelRefusedError."""
    if text := removal():
        Libnftables().commit(text)


def exists(family: Family) -> bool:
    """Return True if our table is there. Raises KernelRefusedError."""
    return any(table == TABLE for table, _ in nft_names.chains(family))


def show_to_rules(
    pods: Mapping[Family, PodDetector], ranges: Sequence[Network]
) -> tuple[tuple[str, ...], str]:
    """Have the Pods' bridges pass their frames to the rules.

    Returns the bridges' names, and what is wrong, empty if nothing is.
    """
    try:
        found = pod_bridges(pods, ranges, all_links(), addresses_of_links())
        for bridge in found:
            if bridge.is_filtered and not all(bridge.is_filtered):
                filter_bridge(bridge, True)
    except OSError as err:
        return (), f"the bridges of Pods cannot be filtered: {err}"
    names = tuple(bridge.name for bridge in found)
    blind = [bridge.name for bridge in found if not bridge.is_filtered]
    if blind or (found and not _MODULE.exists()):
        return names, (
            f"bridge {(blind or names)[0]} passes its frames to no rules, so policies do not hold "
            "between Pods of this node; load the kernel's module: modprobe br_netfilter"
        )
    return names, ""


def _name(family: Family) -> str:
    return "ip" if family is Family.V4 else "ip6"
