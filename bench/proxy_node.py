"""The part of the proxy's benchmark that runs in the node's network namespace."""

import select
import time

from proxy.iptables.disturbance import legacy_size
from proxy.model import Family
from proxy.nft_events import NftEvents


def await_change(is_legacy: bool) -> float:
    """In the node: when its rules next change."""
    if is_legacy:
        before = legacy_size(Family.V4)
        while legacy_size(Family.V4) == before:
            time.sleep(0.002)
        return time.monotonic()
    events = NftEvents()
    events.listen()
    select.select([events], [], [])
    changed = time.monotonic()
    events.close()  # waits for the kernel's readers: milliseconds that nobody else does
    return changed
