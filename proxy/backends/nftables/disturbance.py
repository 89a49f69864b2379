"""How the proxy learns that somebody else changed a table of its own."""

from collections.abc import Iterable

from proxy.backends.nftables.objects import TABLE
from proxy.linux.nft_events import Sort, Touch


def disturbance(touches: Iterable[Touch], table: str = TABLE) -> str:
    """What was touched; empty if nothing of ours. Nobody else has any business in our table."""
    for touch in touches:
        if touch.sort is Sort.LOST:
            return "events were lost"
        if touch.table == table:
            how = "deleted" if touch.deleted else "added"
            name = f" {touch.name}" if touch.sort is not Sort.TABLE else ""
            return f"table {table}: {touch.sort}{name} was {how}"
    return ""
