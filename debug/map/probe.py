"""Measures one way: few ICMP echoes from the namespace that the calling thread is in.

The sizes that pass are found by halving.
"""

from statistics import median

from debug.kernel.echo import Echoes
from debug.map.effort import Effort
from debug.map.mesh import Way

_TRIES_OF_LOSSES = 4  # of two echoes each: if half of them are lost, once in 256 times all of them
_LEAST = {4: 68, 6: 1280}  # what every path passes (RFC 791, RFC 8200)


def measure(way: Way, effort: Effort) -> Way:
    """Return the way with what was measured. It never raises: the text says why nothing was."""
    try:
        with Echoes(way.address) as echoes:
            return _measured(way, effort, echoes)
    except OSError as err:
        fault = err.strerror or str(err)
        return Way(way.source, way.destination, way.address, fault=fault)


def _measured(way: Way, effort: Effort, echoes: Echoes) -> Way:
    mtu = echoes.mtu()
    size = min(_LEAST[echoes.version] + 16, mtu)
    times = [echoes.time(size, effort.patience) for _ in range(effort.count)]
    got = [seconds for seconds in times if seconds is not None]
    # An answer takes as long as the others did: what takes ten times that does not come.
    patience = min(effort.patience, max(0.05, 10 * max(got))) if got else effort.patience
    return Way(
        *(way.source, way.destination, way.address),
        sent=len(times),
        received=len(got),
        latency=round(median(got) * 1000, 3) if got else None,
        largest=_largest(echoes, size, mtu, patience, _tries(len(got), len(times))) if got else 0,
        mtu=mtu,
    )


def _tries(received: int, sent: int) -> int:
    """Return how often a size is tried: where packets are lost, one loss says nothing of sizes."""
    return 1 if received == sent else _TRIES_OF_LOSSES


def _largest(echoes: Echoes, passes: int, mtu: int, patience: float, tries: int) -> int:
    """Return the size of the largest packet that passes; ``passes`` is one that does."""

    def is_passed(size: int) -> bool:
        return any(echoes.passes(size, patience) for _ in range(tries))

    if is_passed(mtu):
        return mtu
    fails = mtu
    while fails - passes > 1:
        middle = (passes + fails) // 2
        if is_passed(middle):
            passes = middle
        else:
            fails = middle
    return passes
