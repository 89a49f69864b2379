"""The part of the proxy's benchmark that runs in the node's network namespace."""

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
    while not events.read():
        time.sleep(0.0005)
    events.close()
    return time.monotonic()
