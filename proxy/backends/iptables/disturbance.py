"""How the proxy learns that somebody else changed iptables rules of ours."""

from collections.abc import Iterable

from proxy.backends.iptables import names
from proxy.backends.iptables.names import ChainName, Table
from proxy.backends.iptables.observe import is_ours
from proxy.linux.nft_events import NftEvent, NftEventKind

_KUBELETS = {names.LOCALNET}  # kubelet writes the same rules there
_TABLES = {table.value for table in Table}


def disturbance(touches: Iterable[NftEvent]) -> str:
    """What of iptables-nft's was touched; empty if nothing of ours.

    In the kernel's own chains only the removal of a jump of ours matters.
    """
    for touch in touches:
        if touch.sort is NftEventKind.LOST:
            return "events were lost"
        if touch.table not in _TABLES:
            continue
        chain = ChainName(Table(touch.table), touch.name)
        if touch.sort is NftEventKind.TABLE and touch.deleted:
            return f"table {touch.table} was deleted"
        if touch.sort in (NftEventKind.CHAIN, NftEventKind.RULE) and _concerns(touch, chain):
            how = "deleted" if touch.deleted else "added"
            return f"a {touch.sort} was {how}: table {touch.table}, chain {touch.name}"
    return ""


def _concerns(touch: NftEvent, chain: ChainName) -> bool:
    if is_ours(chain) and chain not in _KUBELETS:
        return touch.deleted or touch.sort is NftEventKind.RULE
    return touch.sort is NftEventKind.RULE and touch.deleted and b"KUBE-" in touch.text
