"""The scheduler's model of nodes and Pods: requests, free resources, host ports. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from control.api.container import Container, ResourceRequirements
from control.api.node import Node
from control.api.pod import Pod
from control.api.quantity import QuantityError, parse
from control.scheduler.resized import effective
from control.scheduler.terms import Terms, terms

Amounts = Mapping[str, int]  # CPU in thousandths, everything else in whole units

# The assumed use of a container without requests, when nodes are compared, as upstream.
_GUESSED = {"cpu": 100, "memory": 200 * 1024 * 1024}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a node cannot take a Pod; ``final`` if that would be so without its other Pods, too."""

    reasons: tuple[str, ...]
    final: bool = False


@dataclass(frozen=True, slots=True)
class HostPort:
    """A port of the node that a Pod takes; address 0.0.0.0 takes it on all addresses."""

    ip: str
    protocol: str
    port: int

    def conflicts(self, other: "HostPort") -> bool:
        """True if both cannot be on one node."""
        same = (self.protocol, self.port) == (other.protocol, other.port)
        return same and (self.ip == other.ip or "0.0.0.0" in (self.ip, other.ip))  # noqa: S104


@dataclass(frozen=True)
class PodInfo:
    """A Pod with its requests and host ports."""

    pod: Pod

    @cached_property
    def requests(self) -> Amounts:
        """The Pod's requests, by ``pod_requests``."""
        return pod_requests(self.pod, {})

    @cached_property
    def guessed(self) -> Amounts:
        """The same, with a guess for containers without requests."""
        return pod_requests(self.pod, _GUESSED)

    @cached_property
    def terms(self) -> Terms:
        """The Pod's affinity to other Pods."""
        return terms(self.pod)

    @property
    def priority(self) -> int:
        """The Pod's priority."""
        return self.pod.spec.priority or 0

    @cached_property
    def ports(self) -> frozenset[HostPort]:
        """The host ports that the Pod takes."""
        containers = [
            *self.pod.spec.containers,
            *(it for it in self.pod.spec.init_containers if it.is_sidecar),
        ]
        return frozenset(
            HostPort(port.host_ip or "0.0.0.0", port.protocol, port.host_port)  # noqa: S104
            for container in containers
            for port in container.ports
            if port.host_port
        )


def pod_requests(pod: Pod, otherwise: Amounts) -> Amounts:
    """Return a Pod's requests: the sum of containers and sidecars, plus the overhead.

    An init container that needs more, together with the sidecars before it, raises the request.
    What the Pod requests as a whole (KEP-2837) takes the place of the sum. While the Pod is resized
    the most of what it asks for, is given and has counts.
    https://kubernetes.io/docs/concepts/workloads/pods/sidecar-containers/#resource-sharing-within-containers
    """
    pod = effective(pod)
    steady: dict[str, int] = {}
    for container in pod.spec.containers:
        _add(steady, container_requests(container, otherwise))
    sidecars: dict[str, int] = {}
    peak: dict[str, int] = {}
    for container in pod.spec.init_containers:
        wanted = container_requests(container, otherwise)
        if container.is_sidecar:
            _add(sidecars, wanted)
            wanted = {}
        for name in wanted.keys() | sidecars.keys():
            now = wanted.get(name, 0) + sidecars.get(name, 0)
            peak[name] = max(peak.get(name, 0), now)
    _add(steady, sidecars)
    total = {n: max(steady.get(n, 0), peak.get(n, 0)) for n in steady.keys() | peak.keys()}
    if pod.spec.resources:
        total |= _whole(pod.spec.resources, total)
    _add(total, amounts(pod.spec.overhead))
    return total


def _whole(resources: ResourceRequirements, total: Amounts) -> Amounts:
    """Return the requests of a Pod as a whole; its limit stands in where nothing is requested."""
    limits = {n: it for n, it in amounts(resources.limits).items() if n not in total}
    return limits | amounts(resources.requests)


def container_requests(container: Container, otherwise: Amounts) -> Amounts:
    """Return a container's requests; a missing one is its limit, or else ``otherwise``."""
    given = amounts({**container.resources.limits, **container.resources.requests})
    return {**otherwise, **given}


def amounts(quantities: Mapping[str, str | int | float]) -> dict[str, int]:
    """Return quantities as numbers, without invalid ones, which the server refuses anyway."""
    found = {}
    for name, text in quantities.items():
        try:
            quantity = parse(text)
        except QuantityError:
            continue
        found[name] = quantity.milli() if name == "cpu" else quantity.value()
    return found


def _add(total: dict[str, int], more: Amounts) -> None:
    for name, amount in more.items():
        total[name] = total.get(name, 0) + amount


@dataclass(frozen=True, slots=True)
class PodGroup:
    """Pods with equal namespace and labels, which are counted together for speed."""

    namespace: str
    labels: frozenset[tuple[str, str]]


@dataclass(slots=True)
class NodeInfo:
    """A node, its Pods, also those just placed, and the sums of their requests."""

    node: Node
    allocatable: Amounts = field(default_factory=dict)
    pods: dict[str, PodInfo] = field(default_factory=dict)  # by uid
    particular: dict[str, PodInfo] = field(default_factory=dict)  # those with rules about others
    requested: dict[str, int] = field(default_factory=dict)
    guessed: dict[str, int] = field(default_factory=dict)
    groups: dict["PodGroup", int] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The node's name."""
        return self.node.metadata.name

    def set_node(self, node: Node) -> None:
        """Replace the Node object."""
        self.node = node
        self.allocatable = amounts(node.status.allocatable or node.status.capacity)

    def copy(self) -> "NodeInfo":
        """Return a copy whose Pods can be changed without a change of this one."""
        pods, particular = dict(self.pods), dict(self.particular)
        requested, guessed, groups = dict(self.requested), dict(self.guessed), dict(self.groups)
        return NodeInfo(self.node, self.allocatable, pods, particular, requested, guessed, groups)

    def add(self, info: PodInfo) -> None:
        """Count a Pod; it replaces an earlier state of the same Pod."""
        self.remove(info.pod.metadata.uid)
        self.pods[info.pod.metadata.uid] = info
        if info.terms:
            self.particular[info.pod.metadata.uid] = info
        self._count_group(info, 1)
        _add(self.requested, info.requests)
        _add(self.guessed, info.guessed)

    def remove(self, uid: str) -> None:
        """Stop counting a Pod."""
        info = self.pods.pop(uid, None)
        self.particular.pop(uid, None)
        if info is not None:
            self._count_group(info, -1)
            _add(self.requested, {name: -n for name, n in info.requests.items()})
            _add(self.guessed, {name: -n for name, n in info.guessed.items()})

    def _count_group(self, info: PodInfo, by: int) -> None:
        meta = info.pod.metadata
        if meta.deletion_timestamp is not None:
            return
        group = PodGroup(meta.namespace or "", frozenset(meta.labels.items()))
        self.groups[group] = self.groups.get(group, 0) + by
        if not self.groups[group]:
            del self.groups[group]

    def used_ports(self) -> Iterable[HostPort]:
        """Yield the host ports that the node's Pods take."""
        return (port for info in self.pods.values() for port in info.ports)
