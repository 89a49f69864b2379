"""Compares what is installed with what was decided, and nodes with each other: pure."""

from collections.abc import Iterable, Iterator, Mapping
from ipaddress import IPv4Network, IPv6Network, collapse_addresses

from proxy.backends.installed import Installed, InstalledKind, Shares
from proxy.desired.portals import Frontend, RefusalAction
from proxy.model.values import Network, Target

_NEAR = 0.002  # iptables' probabilities are in units of 2 to the -31, and Maglev's seats are few
_UNEVEN = 0.05
_LACKING = InstalledKind.EXTERNAL


def differences(
    want: Mapping[Frontend, Installed], have: Mapping[Frontend, Installed]
) -> dict[Frontend, tuple[str, ...]]:
    """Return what of each frontend is not as decided, in words; only those with a difference."""
    found = {}
    for frontend in {**want, **have}:
        lines = tuple(_difference(want.get(frontend), have.get(frontend)))
        if lines:
            found[frontend] = lines
    return found


def _difference(want: Installed | None, have: Installed | None) -> Iterator[str]:
    if want is None:
        yield "stale: no object has this address"
    elif have is None:
        yield "missing: nothing is installed for it"
    else:
        yield from _endpoints("", want.shares, have.shares)
        yield from _endpoints("for this node's clients: ", want.inside or (), have.inside or ())
        yield from _refusal(want.refusal, have.refusal)
        if want.affinity != have.affinity:
            yield f"affinity is {_seconds(have.affinity)} instead of {_seconds(want.affinity)}"
        if _sources(want) != _sources(have):
            yield f"admits {_ranges(have)} instead of {_ranges(want)}"


def _endpoints(of: str, want: Shares, have: Shares) -> Iterator[str]:
    """Yield what differs between two pools: first who is in them, then how much each gets."""
    wanted, had = dict(want), dict(have)
    for target in wanted.keys() - had.keys():
        yield f"{of}endpoint {target} is missing"
    for target in had.keys() - wanted.keys():
        yield f"{of}endpoint {target} is stale"
    lost = 1 - sum(had.values())
    if had and lost > _NEAR:
        yield f"{of}{lost:.0%} of new connections find no endpoint"
    elif wanted.keys() == had.keys():
        yield from _uneven(of, wanted, had)


def _uneven(of: str, want: Mapping[Target, float], have: Mapping[Target, float]) -> Iterator[str]:
    for target, part in want.items():
        if abs(have[target] - part) > max(_NEAR, _UNEVEN * part):
            yield f"{of}endpoint {target} gets {have[target]:.1%} instead of {part:.1%}"


def _refusal(want: RefusalAction | None, have: RefusalAction | None) -> Iterator[str]:
    if want is not have:
        yield f"calls are {_fate(have)} instead of {_fate(want)}"


def _fate(refusal: RefusalAction | None) -> str:
    words = {RefusalAction.REJECT: "refused", RefusalAction.DROP: "dropped"}
    return words[refusal] if refusal else "not refused"


def _seconds(affinity: int | None) -> str:
    return "off" if affinity is None else f"{affinity} s"


def _sources(one: Installed) -> set[Network] | None:
    """Return the smallest list of the same ranges."""
    return None if one.sources is None else set(collapsed(one.sources))


def collapsed(networks: Iterable[Network]) -> Iterator[Network]:
    """Yield the smallest list of the same ranges, of both families."""
    parts = list(networks)
    yield from collapse_addresses(one for one in parts if isinstance(one, IPv4Network))
    yield from collapse_addresses(one for one in parts if isinstance(one, IPv6Network))


def _ranges(one: Installed) -> str:
    if one.sources is None:
        return "every source"
    return ", ".join(map(str, collapsed(one.sources))) or "no source"


def alike(one: Installed, other: Installed) -> bool:
    """Return True if two nodes have the same of a frontend; who is masqueraded counts too."""
    same = one._replace(kind=_LACKING, name="") == other._replace(kind=_LACKING, name="")
    return same or (not any(_difference(one, other)) and one.masquerade in (None, other.masquerade))
