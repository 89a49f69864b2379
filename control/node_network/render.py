"""Renders the node network as text: the nftables table and the CNI configuration. Pure."""

import json
from collections.abc import Iterable

from control.node_network.plan import Cidr, Masquerade

TABLE = "podwire_node"
BRIDGE = "podwire0"
_FAMILIES = ((4, "ip", "224.0.0.0/4"), (6, "ip6", "ff00::/8"))


def nft_script(masquerade: Masquerade | None) -> str:
    """Return one transaction that replaces the table, or, for None, removes it."""
    lines = [f"add table inet {TABLE}", f"delete table inet {TABLE}"]
    if masquerade is None:
        return "".join(f"{line}\n" for line in lines)
    rules = []
    for version, family, multicast in _FAMILIES:
        own = _elements(masquerade.own, version)
        cluster = _elements(masquerade.cluster, version)
        if own:
            rules.append(
                f"{family} saddr {{ {own} }} {family} daddr != "
                f"{{ {', '.join(filter(None, (cluster, multicast)))} }} "
                "masquerade fully-random"
            )
    lines += [
        f"table inet {TABLE} {{",
        '  comment "podwire agent: what Pods send out of the cluster leaves as the node"',
        "  chain postrouting {",
        "    type nat hook postrouting priority srcnat; policy accept;",
        *(f"    {rule}" for rule in rules),
        "  }",
        "}",
    ]
    return "".join(f"{line}\n" for line in lines)


def _elements(cidrs: Iterable[Cidr], version: int) -> str:
    return ", ".join(sorted(str(cidr) for cidr in cidrs if cidr.version == version))


def conflist(cidrs: Iterable[Cidr], mtu: int) -> str:
    """Return the CNI network of docs/interfaces.md for a node's Pod ranges."""
    plugin = {
        "type": "podwire-cni",
        "bridge": BRIDGE,
        "isGateway": True,
        "isDefaultGateway": True,
        "hairpinMode": True,
        "mtu": mtu,
        "capabilities": {"portMappings": True, "ips": True, "mac": True},
        "ipam": {"type": "podwire", "ranges": [[{"subnet": str(cidr)}] for cidr in cidrs]},
    }
    network = {
        # containerd reads cniVersion only, and refuses 1.1.0 there; newer runtimes read the list.
        "cniVersion": "1.0.0",
        "cniVersions": ["1.0.0", "1.1.0"],
        "name": "podwire",
        "plugins": [plugin],
    }
    return json.dumps(network, indent=2) + "\n"
