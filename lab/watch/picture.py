"""What there is to see of a lab at one moment, and what of it is wrong. Pure."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from types import MappingProxyType

from control.api.node import Node
from control.api.pod import Pod
from control.api.service import EndpointSlice, Service
from lab.readiness import readiness
from lab.spec import SWITCHES, LabSpec
from lab.status import LabStatus, MachineStatus

_DONE = frozenset({"Succeeded", "Failed"})
_SERVICE = "kubernetes.io/service-name"


@dataclass(frozen=True, slots=True)
class Traffic:
    """What passes a machine's cable, and what is dropped on the machine, each second."""

    received: float = 0.0  # bytes
    sent: float = 0.0  # bytes
    dropped: float = 0.0  # packets, by links and by policies


@dataclass(frozen=True, slots=True)
class PodView:
    """A Pod: ``state`` is ready, starting, ending, done, wrong or unknown."""

    namespace: str
    name: str
    address: str
    state: str


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine: ``state`` is up, stopped, killed or not ready."""

    name: str
    addresses: tuple[str, ...]
    state: str
    down: tuple[str, ...]  # components that do not run
    ranges: tuple[str, ...] = ()  # of its Pods
    pods: tuple[PodView, ...] = ()
    traffic: Traffic = Traffic()
    link: str = ""  # what is bad of its cable

    @property
    def is_wrong(self) -> bool:
        """True if somebody should look."""
        return self.state in ("killed", "not ready") or bool(self.down)


@dataclass(frozen=True, slots=True)
class ServiceView:
    """A Service, and the share of its ready endpoints on each node, from 0 to 1."""

    namespace: str
    name: str
    type: str
    addresses: tuple[str, ...]
    ports: tuple[str, ...]
    shares: Mapping[str, float]
    not_ready: int

    @property
    def is_wrong(self) -> bool:
        """True if nobody answers, though somebody should."""
        return not self.shares and self.not_ready > 0


@dataclass(frozen=True, slots=True)
class Picture:
    """A lab at one moment."""

    name: str
    state: str
    mode: str
    overlay: str
    machines: tuple[MachineView, ...]
    services: tuple[ServiceView, ...]
    unplaced: tuple[PodView, ...] = ()  # Pods without a node
    faults: tuple[str, ...] = field(default=())
    switch: tuple[str, ...] = ()  # its addresses


@dataclass(frozen=True, slots=True)
class Objects:
    """What the API server has; ``fault`` says why it is not known."""

    nodes: tuple[Node, ...] = ()
    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    fault: str = ""


def paint(
    spec: LabSpec,
    status: LabStatus,
    objects: Objects,
    traffic: Mapping[str, Traffic],
    links: Mapping[str, str] = MappingProxyType({}),
) -> Picture:
    """Make the picture of a lab."""
    known = {node.metadata.name: node for node in objects.nodes}
    pods: dict[str, list[PodView]] = {}
    for pod in sorted(objects.pods, key=lambda pod: pod.key):
        pods.setdefault(pod.spec.node_name or "", []).append(pod_view(pod))
    plain = (
        _machine(each, known.get(each.name), tuple(pods.get(each.name, ())), traffic)
        for each in status.machines
    )
    machines = tuple(replace(each, link=links.get(each.name, "")) for each in plain)
    places = {address: each.name for each in status.machines for address in each.addresses}
    services = tuple(
        sorted(_services(objects, places), key=lambda each: (each.namespace, each.name))
    )
    lonely = tuple(pods.get("", ()))
    faults = tuple(_faults(machines, services, objects.fault, lonely))
    return Picture(
        *(spec.name, status.state, spec.proxy, spec.overlay),
        machines,
        services,
        lonely,
        faults,
        tuple(str(SWITCHES[family].ip) for family in spec.families),
    )


def _machine(
    status: MachineStatus,
    node: Node | None,
    pods: tuple[PodView, ...],
    traffic: Mapping[str, Traffic],
) -> MachineView:
    down = tuple(part.name for part in status.components if part.pid is None)
    state = "up"
    if status.pid is None:
        state, down = ("stopped" if status.stopped else "killed"), ()
    elif node is not None and not readiness(node)[0]:
        state = "not ready"
    if status.pid is None:
        pods = tuple(replace(pod, state="unknown") for pod in pods)
    return MachineView(
        status.name,
        status.addresses,
        state,
        down,
        tuple(node.spec.pod_cidrs) if node is not None else (),
        pods,
        traffic.get(status.name, Traffic()),
    )


def pod_view(pod: Pod) -> PodView:
    """Return what is shown of a Pod."""
    return PodView(
        pod.metadata.namespace or "", pod.metadata.name, pod.status.pod_ip or "", _state(pod)
    )


def _state(pod: Pod) -> str:
    if pod.metadata.deletion_timestamp is not None:
        return "ending"
    if pod.status.phase == "Failed":
        return "wrong"
    if pod.status.phase in _DONE:
        return "done"
    if any(each.type == "Ready" and each.status == "True" for each in pod.status.conditions):
        return "ready"
    waiting = (each.state.waiting for each in pod.status.container_statuses if each.state)
    reasons = {each.reason or "" for each in waiting if each is not None}
    wrong = any(reason.startswith(("Err", "Image", "Crash", "Create")) for reason in reasons)
    return "wrong" if wrong else "starting"


def _services(objects: Objects, places: Mapping[str, str]) -> Iterator[ServiceView]:
    slices: dict[tuple[str, str], list[EndpointSlice]] = {}
    for each in objects.slices:
        owner = (each.metadata.namespace or "", each.metadata.labels.get(_SERVICE, ""))
        slices.setdefault(owner, []).append(each)
    for service in objects.services:
        yield _service(service, slices.get(service.key, ()), places)


def _service(
    service: Service, slices: Iterable[EndpointSlice], places: Mapping[str, str]
) -> ServiceView:
    """``places`` has machines by address: endpoints that are no Pods do not name a node."""
    ready: Counter[str] = Counter()
    not_ready = 0
    families = {each.address_type for each in slices}
    for each in slices:
        if each.address_type != min(families):  # of two families, the same endpoints
            continue
        for endpoint in each.endpoints:
            if endpoint.conditions.ready is False:
                not_ready += 1
            else:
                ready[endpoint.node_name or places.get(endpoint.addresses[0], "outside")] += 1
    total = ready.total()
    spec, balancer = service.spec, service.status.load_balancer
    outside = [each.ip for each in (balancer.ingress if balancer else ()) if each.ip]
    return ServiceView(
        service.metadata.namespace or "",
        service.metadata.name,
        spec.type or "ClusterIP",
        tuple([*(spec.cluster_ips or ()), *outside]),
        tuple(f"{port.port}/{port.protocol}" for port in spec.ports),
        {node: count / total for node, count in sorted(ready.items())},
        not_ready,
    )


def _faults(
    machines: Iterable[MachineView],
    services: Iterable[ServiceView],
    unknown: str,
    unplaced: Iterable[PodView],
) -> Iterator[str]:
    if unknown:
        yield f"Pods and Services are not known: {unknown}"
    for machine in machines:
        if machine.state in ("killed", "not ready"):
            yield f"{machine.name} is {machine.state}"
        for component in machine.down:
            yield f"{component} on {machine.name} is down"
        for pod in machine.pods:
            if pod.state == "wrong":
                yield f"Pod {pod.namespace}/{pod.name} fails"
    for pod in unplaced:
        yield f"Pod {pod.namespace}/{pod.name} has no node"
    for service in services:
        if service.is_wrong:
            yield f"Service {service.namespace}/{service.name} has no ready endpoint"
