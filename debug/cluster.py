"""The API's objects that decide about packets, and the names that they give to addresses.

They are what the proxy reads of them, so a snapshot holds them in the API's own form, and neither
Secrets nor environments of containers.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from msgspec import Struct

from control.api.kind import Kind, M
from proxy.model.values import Key
from proxy.objects.wire import (
    ENDPOINT_SLICE,
    NODE,
    SERVICE,
    SERVICE_CIDR,
    EndpointSlice,
    Node,
    Service,
    ServiceCIDR,
)
from proxy.policy.wire import (
    CLUSTER_NETWORK_POLICY,
    NAMESPACE,
    NETWORK_POLICY,
    POD,
    ClusterNetworkPolicy,
    Namespace,
    NetworkPolicy,
    Pod,
)

if TYPE_CHECKING:
    from control.client import Client

SERVICE_LABEL = "kubernetes.io/service-name"
_ENDED = ("Succeeded", "Failed")  # phases of Pods whose addresses others may have


class ClusterState(Struct, frozen=True, omit_defaults=True, dict=True):
    """The objects at one time."""

    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    slices: tuple[EndpointSlice, ...] = ()
    nodes: tuple[Node, ...] = ()
    namespaces: tuple[Namespace, ...] = ()
    policies: tuple[NetworkPolicy, ...] = ()
    cluster_policies: tuple[ClusterNetworkPolicy, ...] = ()
    ranges: tuple[ServiceCIDR, ...] = ()

    def service(self, key: Key) -> Service | None:
        """The Service of a namespace and a name."""
        return self._services.get(key)

    def slices_of(self, service: Key) -> Sequence[EndpointSlice]:
        """The EndpointSlices of a Service."""
        return self._slices.get(service, ())

    def selected(self, namespace: str, labels: Mapping[str, str]) -> list[Pod]:
        """The Pods of a namespace with all of some labels; none by no label."""
        pools = [self._labeled.get((namespace, *label), []) for label in labels.items()]
        least = min(pools, key=len, default=[])
        return [pod for pod in least if labels.items() <= pod.metadata.labels.items()]

    @cached_property
    def _services(self) -> Mapping[Key, Service]:
        return {one.key: one for one in self.services}

    @cached_property
    def _slices(self) -> Mapping[Key, Sequence[EndpointSlice]]:
        found: dict[Key, list[EndpointSlice]] = {}
        for one in self.slices:
            service = one.key[0], one.metadata.labels.get(SERVICE_LABEL, "")
            found.setdefault(service, []).append(one)
        return found

    @cached_property
    def _labeled(self) -> Mapping[tuple[str, str, str], list[Pod]]:
        """The Pods by namespace and label, each with each of its labels."""
        found: dict[tuple[str, str, str], list[Pod]] = {}
        for pod in self.pods:
            for label in pod.metadata.labels.items():
                found.setdefault((pod.key[0], *label), []).append(pod)
        return found


def read_cluster(kubeconfig: Path) -> ClusterState:
    """Read the objects of a cluster; raises ClientError, KubeconfigError."""
    import asyncio

    return asyncio.run(_read(kubeconfig))


async def _read(kubeconfig: Path) -> ClusterState:
    from control.client import Client  # with aiohttp, which takes longer than all else here

    async with Client.from_kubeconfig(kubeconfig) as client:
        return ClusterState(
            pods=await _list(client, POD),
            services=await _list(client, SERVICE),
            slices=await _list(client, ENDPOINT_SLICE),
            nodes=await _list(client, NODE),
            namespaces=await _list(client, NAMESPACE),
            policies=await _list(client, NETWORK_POLICY),
            cluster_policies=await _list(client, CLUSTER_NETWORK_POLICY, optional=True),
            ranges=await _list(client, SERVICE_CIDR, optional=True),
        )


async def _list(client: "Client", kind: Kind[M], optional: bool = False) -> tuple[M, ...]:
    """List the objects of a kind; none if the cluster does not have the kind."""
    from control.client import ApiError

    try:
        return (await client.list(kind)).items
    except ApiError as err:
        if optional and err.not_found:
            return ()
        raise


class Names:
    """The names of addresses: of Pods, Services and nodes, first of all those that own them.

    ``known`` has names of addresses for those that the API's objects do not name.
    """

    def __init__(self, state: ClusterState, known: Mapping[str, str] | None = None) -> None:
        self._names = {**(known or {}), **dict(_named(state))}

    def of(self, address: str) -> str:
        """Return "Pod default/web", "Service default/web" or "Node node1"; "" for a stranger."""
        return self._names.get(plain_address(address), "")

    def shown(self, address: str) -> str:
        """Return an address with its name, if it has one."""
        name = self.of(address)
        return f"{address} ({name})" if name else address


def _named(state: ClusterState) -> Iterator[tuple[str, str]]:
    """Yield addresses with names; of two names of one address the later one counts."""
    for pod in state.pods:
        if not pod.spec.host_network and pod.status.phase not in _ENDED:
            for one in pod.status.pod_ips:
                yield plain_address(one.ip or ""), f"Pod {'/'.join(pod.key)}"
    for service in state.services:
        for ip in addresses_of(service):
            yield ip, f"Service {'/'.join(service.key)}"
    for node in state.nodes:
        for address in node.status.addresses:
            yield plain_address(address.address), f"Node {node.metadata.name}"


def addresses_of(service: Service) -> Iterator[str]:
    """Yield the addresses where a Service is called, but for the nodes' own."""
    spec, balancer = service.spec, service.status.load_balancer
    ingress = [one.ip or "" for one in balancer.ingress] if balancer else []
    for ip in (*spec.cluster_ips, *spec.external_ips, *ingress):
        if ip not in ("", "None"):
            yield plain_address(ip)


def plain_address(text: str) -> str:
    """Return an address in its usual form; what is none stays as it is."""
    try:
        return str(ip_address(text))
    except ValueError:
        return text
