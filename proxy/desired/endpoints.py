"""Selects a Service's usable endpoints by traffic policies and topology hints, for this node.

The rules are those of upstream's CategorizeEndpoints: KEP-2086 (internalTrafficPolicy), KEP-1669
(terminating endpoints), KEP-2433 and KEP-4444 (topology hints, trafficDistribution).
"""

from collections.abc import Iterable, Sequence
from operator import attrgetter
from typing import NamedTuple

from proxy.desired.weights import Weighed, receiving, shared_out, weigh
from proxy.model.values import Endpoint, NodeView, Target, Weight

_target = attrgetter("target")


class UsableEndpoints(NamedTuple):
    """The two pools of a Service port.

    ``cluster`` serves policy Cluster, ``local`` policy Local. A target occurs in a pool as often as
    its share of the connections (``proxy.desired.weights``). ``anywhere`` is True if any node has a
    usable endpoint, which decides between reject and drop.
    """

    cluster: tuple[Target, ...]
    local: tuple[Target, ...]
    anywhere: bool
    is_narrowed: bool  # hints keep some endpoints out of ``cluster``


def usable(
    endpoints: Iterable[Endpoint], node: NodeView, weights: Sequence[Weight] = ()
) -> UsableEndpoints:
    """Return both pools. Each falls back by itself to endpoints that terminate but still serve.

    Endpoints with weight 0 are left out if there are others, before hints are applied.
    """
    all_endpoints = merged(endpoints)
    weighed = weigh(all_endpoints, weights)
    ready = receiving([endpoint for endpoint in all_endpoints if endpoint.ready], weighed)
    cluster = _preferred(ready, node) or _leaving(all_endpoints, weighed)
    here = [endpoint for endpoint in all_endpoints if endpoint.local]
    local = here and (
        receiving([endpoint for endpoint in here if endpoint.ready], weighed)
        or _leaving(here, weighed)
    )
    return UsableEndpoints(
        cluster=shared_out(cluster, weighed),
        local=shared_out(local, weighed),
        anywhere=bool(cluster),
        is_narrowed=bool(ready) and len(cluster) < len(ready),
    )


def lasting(endpoints: Iterable[Endpoint], weights: Sequence[Weight] = ()) -> tuple[Target, ...]:
    """Return the endpoints that keep their flows: all that serve, without regard to policies and
    hints.

    Policies and hints choose for new flows only, as TCP connections show, which go on by themselves
    (k/k#127318). Endpoints with weight 0 lose their flows.
    """
    serving = [endpoint for endpoint in merged(endpoints) if endpoint.serving]
    return tuple(endpoint.target for endpoint in receiving(serving, weigh(serving, weights)))


def ready_here(endpoints: Iterable[Endpoint]) -> tuple[bytes, ...]:
    """Return the packed addresses of this node's ready endpoints, which health checks count."""
    return tuple(
        sorted(
            {endpoint.target.packed for endpoint in endpoints if endpoint.local and endpoint.ready}
        )
    )


def neighbors(endpoints: Iterable[Endpoint]) -> tuple[bytes, ...]:
    """Return the packed addresses of the endpoints that are not known to be on another node."""
    near = [endpoint.target.packed for endpoint in endpoints if not endpoint.elsewhere]
    return tuple(sorted(set(near))) if near else ()  # most Services have none


def merged(endpoints: Iterable[Endpoint]) -> list[Endpoint]:
    """Return each target once, in their order.

    Slices may overlap while endpoints move between them. The best state in any slice wins, in
    whatever order the slices came.
    """
    given = sorted(endpoints, key=_target)
    if len({endpoint.target for endpoint in given}) == len(given):
        return given
    best: dict[Target, Endpoint] = {}
    for endpoint in given:
        known = best.get(endpoint.target)
        if known is None or _rank(endpoint) > _rank(known):
            best[endpoint.target] = endpoint
    return list(best.values())


def _rank(endpoint: Endpoint) -> tuple[object, ...]:
    return (
        endpoint.ready,
        endpoint.serving,
        endpoint.local,
        endpoint.pod,
        sorted(endpoint.zones),
        sorted(endpoint.nodes),
    )


def _leaving(endpoints: list[Endpoint], weighed: Weighed) -> list[Endpoint]:
    return receiving(
        [endpoint for endpoint in endpoints if endpoint.serving and endpoint.terminating], weighed
    )


def _preferred(ready: list[Endpoint], node: NodeView) -> list[Endpoint]:
    """Return the endpoints that hints keep.

    Hints count only if every ready endpoint has one, and one of them is for this node.
    """
    if ready and not (ready[0].nodes or ready[0].zones):  # in most Services none has any
        return ready
    if all(endpoint.nodes for endpoint in ready) and any(
        node.name in endpoint.nodes for endpoint in ready
    ):
        return [endpoint for endpoint in ready if node.name in endpoint.nodes]
    if all(endpoint.zones for endpoint in ready) and any(
        node.zone in endpoint.zones for endpoint in ready
    ):
        return [endpoint for endpoint in ready if node.zone in endpoint.zones]
    return ready
