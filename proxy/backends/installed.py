"""What a back end has in the kernel, as one value whatever the back end: what its readers return.

A reader (``installed`` of each back end) knows nothing of API objects. What the kernel does not
tell is empty, or None: rules of nftables do not say which addresses are a load balancer's.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import StrEnum
from typing import NamedTuple

from proxy.desired.portals import Frontend, Masquerade, RefusalAction
from proxy.model.values import Network, Target


class InstalledKind(StrEnum):
    """The kind of a frontend, as far as the kernel's rules tell it."""

    CLUSTER_IP = "ClusterIP"
    NODE_PORT = "NodePort"
    LOAD_BALANCER = "LoadBalancer"
    EXTERNAL_IP = "ExternalIP"
    EXTERNAL = "external"  # one of the two before


class Share(NamedTuple):
    """An endpoint, and its part of the new connections, from 0 to 1 in four digits."""

    target: Target
    part: float


Shares = tuple[Share, ...]


class Installed(NamedTuple):
    """One frontend.

    ``name`` is ``namespace/service:port`` as comments and chains have it. ``inside`` are the
    endpoints for this node's own Pods and processes, if those differ. Shares that do not add up to
    1 leave connections without an endpoint. ``affinity`` is in seconds.
    """

    frontend: Frontend
    kind: InstalledKind
    name: str = ""
    shares: Shares = ()
    inside: Shares | None = None
    refusal: RefusalAction | None = None
    affinity: int | None = None
    masquerade: Masquerade | None = None
    sources: tuple[Network, ...] | None = None


class Layer(NamedTuple):
    """All that one back end has in one network namespace.

    ``faults`` are sentences about what all frontends need and is not there.
    """

    by: str  # nftables, ebpf, iptables-nft, iptables-legacy, kube-proxy nftables
    frontends: Mapping[Frontend, Installed]
    faults: tuple[str, ...] = ()


Draw = tuple[Target, float]  # an endpoint, and the probability with which a rule chooses it


def shares_of(draws: Iterable[Draw]) -> Shares:
    """Add up the probabilities of each endpoint, sorted by endpoint."""
    sums: Counter[Target] = Counter()
    for target, part in draws:
        sums[target] += part  # type: ignore[assignment]  # a Counter adds floats too
    found = (Share(target, round(part, 4)) for target, part in sums.items())
    return tuple(sorted(found, key=lambda share: share.target))


def even(targets: Iterable[Target | None]) -> Shares:
    """Return the shares of places that are drawn alike; None is a place without an endpoint."""
    places = list(targets)
    return shares_of((target, 1 / len(places)) for target in places if target is not None)


Step = tuple[float, str]  # the probability with which a rule is taken, and where it leads


def walked(steps: Iterable[Step], target_of: Callable[[str], Target | None]) -> Iterator[Draw]:
    """Yield the draws of rules one after the other, each taken of what the ones before left."""
    left = 1.0
    for odds, chain in steps:
        target = target_of(chain)
        if target is not None:
            yield target, left * odds
        left *= 1 - odds
