"""How much of a Service's traffic each endpoint gets, as the Service's annotation says it: pure.

    proxy.podwire.dev/weights: "web-canary-*=1,web-*=9,10.0.0.7=0"

It stands on the Service, because no other place lasts in every cluster: endpoints in slices have no
annotations, and upstream's controller neither copies a Service's annotations to its slices nor
keeps what others write there (k/k#108267).
"""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from ipaddress import ip_address

from proxy.model.values import Endpoint, Target, Weight

ANNOTATION = "proxy.podwire.dev/weights"

_MOST = 100  # that one endpoint can weigh
_RULES = 100  # in one annotation
_SHARES = 10_000  # in one pool: each is an entry in the kernel for each address of the Service
_PATTERN = re.compile(r"[A-Za-z0-9.:*-]{1,253}")  # of a Pod's name, or an address

Weighed = Mapping[Target, int]  # empty: all the same


def split_rules(text: str) -> list[str]:
    """The annotation's parts; raises ValueError if they are too many."""
    parts = [part.strip() for part in text.split(",") if part.strip()]
    if len(parts) > _RULES:
        raise ValueError(f"it has {len(parts)} parts, and {_RULES} are the most")
    return parts


def parse_rule(text: str) -> Weight:
    """``PATTERN=WEIGHT``; raises ValueError."""
    pattern, _, value = (part.strip() for part in text.rpartition("="))
    if not _PATTERN.fullmatch(pattern):
        raise ValueError(f"{text[:80]!r} is not POD=WEIGHT; POD is a name, name-* or an address")
    if not re.fullmatch(r"[0-9]{1,3}", value) or int(value) > _MOST:
        raise ValueError(f"{text[:80]!r}: the weight is no number from 0 to {_MOST}")
    return Weight(_plain(pattern), int(value))


def _plain(pattern: str) -> str:
    """An address as the proxy writes it: FD00::01 is fd00::1."""
    try:
        return str(ip_address(pattern))
    except ValueError:
        return pattern


def weight_of(endpoint: Endpoint, weights: Sequence[Weight]) -> int:
    """The first rule that fits counts; whom none fits weighs 1."""
    names = (endpoint.pod, str(endpoint.target.address))
    fits = (one.value for one in weights for name in names if _fits(name, one.pattern))
    return next(fits, 1)


def _fits(name: str, pattern: str) -> bool:
    return fnmatchcase(name, pattern) if "*" in pattern else name == pattern


def weigh(endpoints: Iterable[Endpoint], weights: Sequence[Weight]) -> Weighed:
    """What each endpoint weighs; nothing if the Service has no weights."""
    return {one.target: weight_of(one, weights) for one in endpoints} if weights else {}


def receiving(endpoints: Sequence[Endpoint], weighed: Weighed) -> list[Endpoint]:
    """Those that get new connections: who weighs nothing gets some only if all weigh nothing."""
    if not weighed:
        return list(endpoints)
    return [one for one in endpoints if weighed.get(one.target, 1)] or list(endpoints)


def shared_out(endpoints: Iterable[Endpoint], weighed: Weighed) -> tuple[Target, ...]:
    """The targets of ``merged`` and ``receiving`` endpoints, each as often as its share of the
    connections is, in one order whatever the slices'. Without weights that is once each.

    Weights have their common divisor taken out. Where they still add up to more than ``_SHARES``
    they are rounded, but nobody who has a share loses it.
    """
    given = {one.target: weighed.get(one.target) or 1 for one in endpoints} if weighed else {}
    if not given:
        return tuple(sorted([one.target for one in endpoints]))
    divisor = math.gcd(*given.values())
    scale = min(1.0, _SHARES * divisor / sum(given.values())) / divisor
    shares = {target: max(1, round(weight * scale)) for target, weight in given.items()}
    return tuple(target for target in sorted(shares) for _ in range(shares[target]))
