"""Our chains beside rules that iptables-nft cannot print.

Whoever writes a rule with nft into a table of iptables-nft may use what iptables lacks, such
as ``iifgroup``. Then iptables-nft-save prints nothing of that table and succeeds, or ends in the
middle with code 3; and checking or deleting a rule of that chain fails, unless it stands before.
Adding works. So chains of ours, which have no such rules, are printed one by one, and our rules in
the base chains are found and deleted by libnftables.
Source: nft_is_table_compatible and nft_rule_list_cb in iptables/nft.c of iptables 1.8.9.
"""

import json
import struct
from collections.abc import Iterator

from cni_plugin.firewall import libnftables
from cni_plugin.firewall.iptables_rules import FILTER, NAT, PREFIX, Rule, hook_rules
from cni_plugin.firewall.libnftables import NftablesError
from cni_plugin.linux import uapi
from cni_plugin.linux.netlink import Socket, text, unpack
from cni_plugin.spec.errors import OperationRefusedError

UNPRINTABLE = "is incompatible, use 'nft' tool"
_FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}
_NAME = {4: "ip", 6: "ip6"}
_NFT_MSG_GETCHAIN = 10 << 8 | 4  # NFNL_SUBSYS_NFTABLES
_NFGENMSG = struct.Struct("!BBH")
_NFTA_CHAIN_TABLE, _NFTA_CHAIN_NAME = 1, 3


def own_chains(version: int) -> list[tuple[str, str]]:
    """The (table, name) of our chains, as the kernel lists them."""
    with Socket(uapi.NETLINK_NETFILTER) as kernel:
        items = [
            unpack(item, _NFGENMSG.size)
            for item in kernel.dump(_NFT_MSG_GETCHAIN, _NFGENMSG.pack(_FAMILY[version], 0, 0))
        ]
    found = [(text(it.get(_NFTA_CHAIN_TABLE)), text(it.get(_NFTA_CHAIN_NAME))) for it in items]
    return sorted(
        (table, name) for table, name in found if table in {NAT, FILTER} and name.startswith(PREFIX)
    )


def hooked(version: int) -> Iterator[Rule]:
    """Our rules in the base chains. Raises OperationRefusedError."""
    there = {(table, chain, target) for table, chain, target, _ in _jumps(version)}
    for rule in hook_rules(version):
        if (rule.table, rule.chain, rule.text.rpartition("-j ")[2]) in there:
            yield rule


def unhook(version: int) -> None:
    """Delete our rules in the base chains. Raises OperationRefusedError."""
    lines = [
        f"delete rule {_NAME[version]} {table} {chain} handle {handle}"
        for table, chain, _, handle in _jumps(version)
    ]
    if lines:
        _run("\n".join(lines))


def _jumps(version: int) -> Iterator[tuple[str, str, str, int]]:
    """The (table, base chain, chain of ours, handle) of each jump to a chain of ours."""
    for table in sorted({table for table, _ in own_chains(version)}):
        for item in json.loads(_run(f"list table {_NAME[version]} {table}"))["nftables"]:
            rule = item.get("rule", {"expr": []})
            targets = [part["jump"]["target"] for part in rule["expr"] if "jump" in part]
            for target in targets:
                if target.startswith(PREFIX) and not rule["chain"].startswith(PREFIX):
                    yield table, rule["chain"], target, rule["handle"]


def _run(commands: str) -> str:
    try:
        return libnftables.run(commands)
    except NftablesError as err:
        raise OperationRefusedError(
            "nftables does not show or change iptables' chains", str(err)
        ) from err
