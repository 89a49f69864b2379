"""How the proxy learns that somebody else changed a table of its own."""

from collections.abc import Iterable

from proxy.backends.nftables.objects import TABLE
from proxy.linux.nft_events import NftEvent, NftEventKind


def disturbance(touches: Iterable[NftEvent], table: str = TABLE) -> str:
    """What was touched; empty if nothing of ours. Nobody else has any business in our table."""
    for touch in touches:
        if touch.sort is NftEventKind.LOST:
            return "events were lost"
        if touch.table == table:
            how = "deleted" if touch.deleted else "added"
            name = f" {touch.name}" if touch.sort is not NftEventKind.TABLE else ""
            return f"table {table}: {touch.sort}{name} was {how}"
    return ""
