"""Shares a Service's connections among its endpoints, by the weights in its annotation: pure.

    proxy.podwire.dev/weights: "web-canary-*=1,web-*=9,10.0.0.7=0"

The annotation is on the Service, because it lasts nowhere else: endpoints in slices have no
annotations, and upstream's controller neither copies a Service's annotations to its slices nor
keeps annotations that others write there (k/k#108267).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address

from proxy.model.values import Endpoint, Target, Weight

ANNOTATION = "proxy.podwire.dev/weights"

_MOST = 100  # the greatest weight of an endpoint
_RULES = 100  # at most, in one annotation
_SHARES = 10_000  # at most, in one pool; each needs an entry in the kernel for each address
_PATTERN = re.compile(r"[A-Za-z0-9.:*-]{1,253}")  # of a Pod's name, or an address

Weighed = Mapping[Target, int]  # weights by target; empty if all are the same


def split_rules(text: str) -> list[str]:
    """Split the annotation into its rules. Raises ValueError if there are too many."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > _RULES:
        raise ValueError(f"it has {len(parts)} parts, and {_RULES} are the most")
    return parts


def parse_rule(text: str) -> Weight:
    """Parse ``PATTERN=WEIGHT``. Raises ValueError."""
    pattern, _, value = (part.strip() for part in text.rpartition("="))
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(f"{text[:80]!r} is not POD=WEIGHT; POD is a name, name-* or an address")
    if not re.fullmatch(r"[0-9]{1,3}", value) or int(value) > _MOST:
        raise ValueError(f"{text[:80]!r}: the weight is no number from 0 to {_MOST}")
    return Weight(_plain(pattern), int(value))


def _plain(pattern: str) -> str:
    """Write an address as the proxy writes it: FD00::01 is fd00::1."""
    try:
        return str(ip_address(pattern))
    except ValueError:
        return pattern


def weight_of(endpoint: Endpoint, weights: Sequence[Weight]) -> int:
    """Return the weight of the first rule that matches; 1 if none does."""
    names = (endpoint.pod, endpoint.target.host)
    values = (rule.value for rule in weights for name in names if _fits(name, rule.pattern))
    return next(values, 1)


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if "*" in pattern else name == pattern


def weigh(endpoints: Iterable[Endpoint], weights: Sequence[Weight]) -> Weighed:
    """Return each endpoint's weight; empty if the Service has no weights."""
    return (
        {endpoint.target: weight_of(endpoint, weights) for endpoint in endpoints} if weights else {}
    )


def receiving(endpoints: Sequence[Endpoint], weighed: Weighed) -> list[Endpoint]:
    """Return the endpoints for new connections: without those of weight 0, unless all have it."""
    if not weighed:
        return list(endpoints)
    return [endpoint for endpoint in endpoints if weighed.get(endpoint.target, 1)] or list(
        endpoints
    )


def shared_out(endpoints: Iterable[Endpoint], weighed: Weighed) -> tuple[Target, ...]:
    """Return the targets of ``merged`` and ``receiving`` endpoints, each as often as its share.

    They are in their order, as ``merged`` ones are. Without weights each occurs once. Weights are
    divided by their common divisor. If their sum is still above ``_SHARES``, they are rounded, but
    every target keeps at least one share.
    """
    if not weighed:
        return tuple([endpoint.target for endpoint in endpoints])
    given = {endpoint.target: weighed.get(endpoint.target) or 1 for endpoint in endpoints}
    if not given:
        return ()
    divisor = math.gcd(*given.values())
    scale = min(1.0, _SHARES * divisor / sum(given.values())) / divisor
    shares = {target: max(1, round(weight * scale)) for target, weight in given.items()}
    return tuple(target for target in sorted(shares) for _ in range(shares[target]))
