"""Which endpoints a Service's traffic policies and topology hints leave, seen from this node.

The rules are those of upstream's CategorizeEndpoints: KEP-2086 (internalTrafficPolicy), KEP-1669
(terminating endpoints), KEP-2433 and KEP-4444 (topology hints, trafficDistribution).
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from proxy.desired.weights import Weighed, receiving, shared_out, weigh
from proxy.model.values import Address, Endpoint, NodeView, Target, Weight


@dataclass(frozen=True, slots=True)
class UsableEndpoints:
    """The two pools of a Service port.

    ``cluster`` serves policy Cluster, ``local`` policy Local; a target stands there as often as its
    share of the connections is (``proxy.desired.weights``). ``anywhere`` tells whether any node has
    a usable endpoint, which decides between rejecting and dropping.
    """

    cluster: tuple[Target, ...]
    local: tuple[Target, ...]
    anywhere: bool
    is_narrowed: bool  # hints leave out of ``cluster`` who serves other nodes


def usable(
    endpoints: Iterable[Endpoint], node: NodeView, weights: Sequence[Weight] = ()
) -> UsableEndpoints:
    """Both pools, each falling back by itself to endpoints that terminate but still serve.

    Who weighs nothing is passed over wherever another one would do, before hints are looked at.
    """
    everyone = merged(endpoints)
    weighed = weigh(everyone, weights)
    ready = receiving([one for one in everyone if one.ready], weighed)
    wanted = _preference(ready, node)
    cluster = [one for one in ready if wanted(one)] or _leaving(everyone, weighed)
    here = [one for one in everyone if one.local]
    local = receiving([one for one in here if one.ready], weighed) or _leaving(here, weighed)
    return UsableEndpoints(
        cluster=shared_out(cluster, weighed),
        local=shared_out(local, weighed),
        anywhere=bool(cluster),
        is_narrowed=bool(ready) and len(cluster) < len(ready),
    )


def lasting(endpoints: Iterable[Endpoint], weights: Sequence[Weight] = ()) -> tuple[Target, ...]:
    """Who goes on with the flows that it has: all that serve, whatever policies and hints say of
    new ones, as TCP connections go on by themselves (k/k#127318). Who weighs nothing is to be left.
    """
    serving = [one for one in merged(endpoints) if one.serving]
    return tuple(sorted(one.target for one in receiving(serving, weigh(serving, weights))))


def ready_here(endpoints: Iterable[Endpoint]) -> tuple[Address, ...]:
    """The addresses of this node's ready endpoints, which health checks count."""
    return tuple(sorted({one.target.address for one in endpoints if one.local and one.ready}))


def neighbours(endpoints: Iterable[Endpoint]) -> tuple[Address, ...]:
    """The addresses of the endpoints that are not known to be on another node."""
    return tuple(sorted({one.target.address for one in endpoints if not one.elsewhere}))


def merged(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Each target once: slices may overlap while endpoints move between them, and the best
    state that any slice tells wins, whichever slice came first.
    """
    given = list(endpoints)
    if len({one.target for one in given}) == len(given):
        return given
    best: dict[Target, Endpoint] = {}
    for one in given:
        known = best.get(one.target)
        if known is None or _rank(one) > _rank(known):
            best[one.target] = one
    return list(best.values())


def _rank(one: Endpoint) -> tuple[object, ...]:
    return one.ready, one.serving, one.local, one.pod, sorted(one.zones), sorted(one.nodes)


def _leaving(endpoints: list[Endpoint], weighed: Weighed) -> list[Endpoint]:
    return receiving([one for one in endpoints if one.serving and one.terminating], weighed)


def _preference(ready: list[Endpoint], node: NodeView) -> Callable[[Endpoint], bool]:
    """Whom hints keep: hints count only when every ready endpoint has one and one is for us."""
    if all(one.nodes for one in ready) and any(node.name in one.nodes for one in ready):
        return lambda one: node.name in one.nodes
    if all(one.zones for one in ready) and any(node.zone in one.zones for one in ready):
        return lambda one: node.zone in one.zones
    return lambda _: True
