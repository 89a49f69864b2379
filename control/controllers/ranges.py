"""Keeps ServiceCIDRs whose addresses Services have, and says whether they are ready. Pure.

Source: k8s.io/kubernetes/pkg/controller/servicecidrs
"""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from control.api import kinds
from control.api.meta import Condition
from control.api.ranges import ALLOCATOR, MANAGED_BY, PROTECTION, READY, IPAddress, ServiceCIDR
from control.api.times import parse_time, rfc3339
from control.client.cache import Key
from control.controllers.actions import Action, Again, Update, UpdateStatus
from control.controllers.loop import Source
from control.controllers.state import ClusterState

Network = IPv4Network | IPv6Network
# Seconds in which every API server hears of a deletion, and takes no more addresses of the range.
_GRACE = 10.0
_IN_USE = (
    "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new"
    " ServiceCIDR"
)


def _all(cluster: ClusterState, _: ServiceCIDR) -> Iterator[Key]:
    """A range that comes or goes may let another one go."""
    yield from (each.key for each in cluster[kinds.SERVICE_RANGE])


def _ending(cluster: ClusterState, _: IPAddress) -> Iterator[Key]:
    for each in cluster[kinds.SERVICE_RANGE]:
        if each.metadata.deletion_timestamp is not None:
            yield each.key


class ServiceRangeController:
    """Holds the finalizer and the condition Ready of ServiceCIDRs."""

    component = "service-cidr-controller"
    sources = (Source(kinds.SERVICE_RANGE, _all), Source(kinds.SERVICE_ADDRESS, _ending))

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Yield what is due for the ServiceCIDR ``key``."""
        found = cluster[kinds.SERVICE_RANGE].get(*key)
        if found is None:
            return
        held = found.metadata.finalizers
        if found.metadata.deletion_timestamp is None:
            if PROTECTION not in held:
                yield _finalized(found, [*held, PROTECTION])
                return
            ready = Condition(
                type=READY, status="True", reason="", message="Kubernetes Service CIDR is ready"
            )
            yield from _said(found, ready, now)
        elif PROTECTION in held:
            yield from _ended(cluster, found, now)


def _ended(cluster: ClusterState, found: ServiceCIDR, now: float) -> Iterator[Action]:
    if _is_needed(cluster, found):
        why = Condition(type=READY, status="False", reason="Terminating", message=_IN_USE)
        yield from _said(found, why, now)
        return
    since = parse_time(found.metadata.deletion_timestamp)
    left = _GRACE - (now - since.timestamp()) if since else 0.0
    if left > 0:
        yield Again(left)
    else:
        yield _finalized(found, [it for it in found.metadata.finalizers if it != PROTECTION])


def _finalized(found: ServiceCIDR, finalizers: list[str]) -> Action:
    metadata = found.metadata.model_copy(update={"finalizers": finalizers})
    return Update(kinds.SERVICE_RANGE, found.model_copy(update={"metadata": metadata}))


def _said(found: ServiceCIDR, wanted: Condition, now: float) -> Iterator[Action]:
    """Yield the write of a condition that differs in more than its time."""
    others = [each for each in found.status.conditions if each.type != wanted.type]
    if any(_text(each) == _text(wanted) for each in found.status.conditions):
        return
    dated = wanted.model_copy(update={"last_transition_time": rfc3339(now)})
    status = found.status.model_copy(update={"conditions": [*others, dated]})
    yield UpdateStatus(kinds.SERVICE_RANGE, found.model_copy(update={"status": status}))


def _text(condition: Condition) -> tuple[str, ...]:
    words = condition.type, condition.status, condition.reason, condition.message
    return tuple(word or "" for word in words)


def _is_needed(cluster: ClusterState, found: ServiceCIDR) -> bool:
    """Return True if an address of a Service is in no other ServiceCIDR."""
    own = _networks([found])
    rest = [each for each in cluster[kinds.SERVICE_RANGE] if each.key != found.key]
    others = _networks(rest)
    if all(any(_contains(other, each) for other in others) for each in own):
        return False
    for address in cluster[kinds.SERVICE_ADDRESS]:
        if address.metadata.labels.get(MANAGED_BY) != ALLOCATOR:
            continue
        ip = ip_address(address.metadata.name)
        if any(ip in each for each in own) and not any(ip in each for each in others):
            return True
    return False


def _contains(one: Network, other: Network) -> bool:
    if isinstance(one, IPv4Network):
        return isinstance(other, IPv4Network) and other.subnet_of(one)
    return isinstance(other, IPv6Network) and other.subnet_of(one)


def _networks(ranges: Sequence[ServiceCIDR]) -> list[Network]:
    return [ip_network(cidr) for each in ranges for cidr in each.spec.cidrs]
