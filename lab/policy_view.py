"""NetworkPolicies as the API server has them: what each selects, and what becomes of a flow."""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

from control.api import kinds
from control.client import ApiError, Client
from control.client.listing import Listing
from lab.ports import PortError, split_port
from proxy.model.values import Address, Key, Protocol
from proxy.objects.parse import Complaints
from proxy.objects.wire import SERVICE
from proxy.policy import wire
from proxy.policy.drops.explain import Asked, SideVerdict, TierVerdict, explain
from proxy.policy.parse import parse_namespace, parse_pod, parse_policy
from proxy.policy.peers.selectors import selects
from proxy.policy.tiers.parse import parse_cluster_policy
from proxy.policy.values import ClusterPolicy, Namespace, Pod, PodPeer, Policy


class AskError(Exception):
    """What was asked for does not exist, or is no flow; the text says what would be."""


@dataclass(slots=True)
class ClusterView:
    """The objects that have a say. ``nodes`` are the addresses of each Pod's node."""

    policies: list[Policy] = field(default_factory=list)
    cluster: list[ClusterPolicy] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    namespaces: dict[str, Namespace] = field(default_factory=dict)
    pods: dict[Key, Pod] = field(default_factory=dict)
    nodes: dict[Key, list[Address]] = field(default_factory=dict)
    known: set[Key] = field(default_factory=set)  # all Pods, also those without an address
    services: dict[Key, list[str]] = field(default_factory=dict)  # with their ClusterIPs

    def selected(self, policy: Policy | ClusterPolicy) -> list[Key]:
        """Return the Pods that a policy selects, of those that have an address."""
        if isinstance(policy, ClusterPolicy):
            pods = (one for one in self.pods.values() if self._is(policy.subject, one))
            return sorted(pod.key for pod in pods)
        near = (pod for pod in self.pods.values() if pod.key[0] == policy.key[0])
        return sorted(pod.key for pod in near if selects(policy.selector, pod.labels))

    def _is(self, subject: PodPeer, pod: Pod) -> bool:
        namespace = self.namespaces.get(pod.key[0])
        if namespace is None or not selects(subject.pods, pod.labels):
            return False
        return subject.namespaces is None or selects(subject.namespaces, namespace.labels)


@dataclass(frozen=True, slots=True)
class FlowVerdict:
    """What becomes of a flow between two addresses."""

    source: Address
    destination: Address
    sides: tuple[SideVerdict, ...]

    @property
    def passes(self) -> bool:
        """True if every side lets it pass."""
        return all(side.passes for side in self.sides)


def look(kubeconfig: Path) -> ClusterView:
    """Read the cluster. Raises ClientError, KubeconfigError."""
    return asyncio.run(_look(kubeconfig))


async def _look(kubeconfig: Path) -> ClusterView:
    view = ClusterView()
    async with Client.from_kubeconfig(kubeconfig) as client:
        for policy in (await client.list(wire.NETWORK_POLICY)).items:
            complaints = Complaints(f"NetworkPolicy {'/'.join(policy.key)}")
            if value := parse_policy(policy, complaints):
                view.policies.append(value)
            view.complaints += complaints.lines
        await _add_cluster(view, client)
        spaces = (await client.list(wire.NAMESPACE)).items
        view.namespaces = {one.metadata.name: parse_namespace(one) for one in spaces}
        nodes = {
            node.metadata.name: [
                ip_address(one.address)
                for one in node.status.addresses or ()
                if one.type == "InternalIP"
            ]
            for node in (await client.list(kinds.NODE)).items
        }
        _add_pods(view, await client.list(wire.POD), nodes)
        services = (await client.list(SERVICE)).items
        view.services = {one.key: one.spec.cluster_ips for one in services}
    view.policies.sort(key=lambda one: one.key)
    return view


async def _add_cluster(view: ClusterView, client: Client) -> None:
    """Add ClusterNetworkPolicies; most clusters do not have the kind."""
    try:
        found = (await client.list(wire.CLUSTER_NETWORK_POLICY)).items
    except ApiError as err:
        if not err.not_found:
            raise
        return
    for policy in found:
        complaints = Complaints(f"ClusterNetworkPolicy {policy.metadata.name}")
        if value := parse_cluster_policy(policy, complaints):
            view.cluster.append(value)
        view.complaints += complaints.lines
    view.cluster.sort(key=lambda one: (one.tier, one.rank))


def _add_pods(
    view: ClusterView, pods: "Listing[wire.Pod]", nodes: dict[str, list[Address]]
) -> None:
    for pod in pods.items:
        view.known.add(pod.key)
        if value := parse_pod(pod, ""):
            view.pods[pod.key] = value
            view.nodes[pod.key] = nodes.get(pod.spec.node_name or "", [])


def explain_flow(view: ClusterView, source: str, target: str, namespace: str) -> list[FlowVerdict]:
    """Return what becomes of a flow, for each family that both ends have. Raises AskError.

    An end is [NAMESPACE/]POD or an address; ``target`` may end in :PORT and /PROTOCOL.
    """
    target, protocol = _protocol(target)
    try:
        destination, port = split_port(target)
    except PortError as err:
        raise AskError(str(err)) from err
    if port is not None and protocol is None:
        protocol = Protocol.TCP
    if protocol is not None and port is None:
        raise AskError(f"{target}: a protocol with ports needs one: {target}:80/{protocol}")
    ends = [_end(view, text, namespace) for text in (source, destination)]
    found = []
    for near in ends[0][1]:
        for far in (one for one in ends[1][1] if one.version == near.version):
            asked = Asked(near, far, ends[0][0], ends[1][0], port, protocol)
            sides = explain(asked, view.policies, view.namespaces, view.nodes, view.cluster)
            found.append(FlowVerdict(near, far, sides))
    if not found:
        raise AskError(f"{source} and {destination} have no address of one IP family")
    return found


def _protocol(text: str) -> tuple[str, Protocol | None]:
    head, _, last = text.rpartition("/")
    if head and last.upper() in Protocol.__members__:
        return head, Protocol(last.upper())
    return text, None


def _end(view: ClusterView, text: str, namespace: str) -> tuple[Pod | None, tuple[Address, ...]]:
    """Return the Pod, and the addresses that it has or that was asked for."""
    try:
        address = ip_address(text)
    except ValueError:
        return _pod(view, text, namespace)
    for key, addresses in view.services.items():
        if text in addresses:
            raise _is_service(key, text)
    at = (pod for pod in view.pods.values() if address in pod.addresses)
    return max(at, key=lambda pod: pod.rank, default=None), (address,)


def _pod(view: ClusterView, text: str, namespace: str) -> tuple[Pod, tuple[Address, ...]]:
    space, _, name = text.removeprefix("pod/").rpartition("/")
    key = (space or namespace, name)
    pod = view.pods.get(key)
    if pod is not None:
        return pod, pod.addresses
    if key in view.known:
        raise AskError(
            f"Pod {'/'.join(key)} has no address of its own: it did not start, has ended, or is in "
            "its node's network; of the last, ask by the node's address"
        )
    service = (namespace, name) if space in ("service", "svc") else key
    if service in view.services:
        raise _is_service(service, text)
    raise AskError(f"no Pod {'/'.join(key)}; an end is [NAMESPACE/]POD or an address")


def _is_service(key: Key, text: str) -> AskError:
    return AskError(
        f"{text} is a Service, {'/'.join(key)}, and rules see the Pods behind it: ask about one of "
        f"them, with its own port: kubectl get endpointslices -n {key[0]} "
        f"-l kubernetes.io/service-name={key[1]}"
    )


def sentences(flow: FlowVerdict) -> Iterator[str]:
    """Yield the answer in lines for people."""
    verdict = "passes" if flow.passes else "is dropped"
    yield f"{flow.source} to {flow.destination}: {verdict}"
    if not flow.sides:
        yield "  no policy has a say: neither end is a Pod, or both are one, or one is its node"
    for side in flow.sides:
        yield from _side(side)


def _side(side: SideVerdict) -> Iterator[str]:
    about = f"  {side.direction.lower()} of {'/'.join(side.pod)}:"
    tiers = [one for one in (side.admin, side.baseline) if one is not None]
    if not side.policies and not tiers:
        yield f"{about} no policy isolates it"
        return
    if (decided := side.decided_by) and decided.fits:
        does = "accepts" if side.passes else "denies"
        yield f"{about} {decided.fits.text} {does} it"
    elif side.policies:
        yield f"{about} {'admitted' if side.passes else 'no rule admits it'}"
    else:
        yield f"{about} nothing denies it"
    for tier in tiers:
        yield f"    {tier.tier} tier ({', '.join(tier.policies)}): {_tier(side, tier)}"
    for policy in side.policies:
        yield f"    {'/'.join(policy.policy)}{'' if policy.rules else ': it has no rule'}"
        for rule in policy.rules:
            yield f"      rule {rule.number}: {rule.why}"


def _tier(side: SideVerdict, tier: TierVerdict) -> str:
    if tier is side.baseline and side.policies:
        return "not asked, because NetworkPolicies isolate the Pod"
    if tier.fits is None:
        return "no rule fits"
    return f"{tier.fits.text} says {tier.fits.rule.action}"
