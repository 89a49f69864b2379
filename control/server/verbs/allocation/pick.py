"""Choose a free address or port. Pure except for the random source.

Source: https://kubernetes.io/docs/concepts/services-networking/cluster-ip-allocation/ (KEP-3070)
and .../node-port-allocation (KEP-3668): the upper part of a range is used first, so that users can
pick their own values from the lower part.
"""

from collections.abc import Callable, Iterator
from random import Random

from control.server.state.server import Network

_TRIES = 64


def free_ip(network: Network, taken: Callable[[str], bool], random: Random) -> str | None:
    """Return a free address of a range; None if all are taken."""
    first, last = usable(network)
    if first > last:
        return None  # a range of one or two addresses has none to give
    band = min(max(16, (last - first + 1) // 16), 256)
    for at in _candidates(first, last + 1, band, random):
        address = type(network.network_address)(at)
        if not taken(str(address)):
            return str(address)
    return None


def usable(network: Network) -> tuple[int, int]:
    """Return the first and the last address of a range that can be allocated."""
    first = int(network.network_address) + 1
    # IPv6 has no broadcast address; of a huge range upstream uses the first 2^16 only
    last = int(network.broadcast_address) - (network.version == 4)
    return first, min(last, first + 2**16 - 2) if network.version == 6 else last


def free_port(ports: range, taken: Callable[[int], bool], random: Random) -> int | None:
    """Return a free port of a range; None if all are taken."""
    band = min(max(16, len(ports) // 32), 128)
    candidates = _candidates(ports.start, ports.stop, band, random)
    return next((port for port in candidates if not taken(port)), None)


def _candidates(start: int, stop: int, band: int, random: Random) -> Iterator[int]:
    """Yield random values above the lower band, then all values, the lower band last."""
    upper = min(start + band, stop - 1)
    yield from (random.randrange(upper, stop) for _ in range(_TRIES))
    yield from range(upper, stop)
    yield from range(start, upper)
