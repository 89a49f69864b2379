"""What a fault is planned from: the lab's nodes, a Service and its Pods. Values only."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Network, ip_address, ip_network

from debug.cluster import ClusterState
from debug.faults.acts.base import FaultError, Spot
from proxy.objects.wire import Service
from proxy.policy.wire import Pod

UPLINK, BRIDGE, TUNNEL = "eth0", "podwire0", "podwire-vxlan"
_ENDED = ("Succeeded", "Failed")


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user names: a node, a Service, a Pod; empty is any."""

    node: str = ""
    service: str = ""
    pod: str = ""


@dataclass(frozen=True, slots=True)
class Scene:
    """A lab as faults see it; ``ports`` are the links of Pods at each node's bridge."""

    cluster: ClusterState
    nodes: tuple[str, ...]
    mode: str = "iptables"
    overlay: str = "routes"
    wish: Wish = Wish()
    hold: bool = True  # pause who would repair it
    ports: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    @property
    def node(self) -> str:
        """The node to break: the wished one, that of the wished Pod, or the first."""
        if self.wish.node and self.wish.node not in self.nodes:
            raise FaultError(f"no node {self.wish.node} runs: there are {', '.join(self.nodes)}")
        if not self.wish.node and self.wish.pod:
            return self.pod.spec.node_name or ""
        return self.wish.node or self.nodes[0]

    @property
    def spot(self) -> Spot:
        """The namespace of the node to break."""
        return Spot(self.node)

    @property
    def peer(self) -> str:
        """Another node; raises FaultError."""
        for name in self.nodes:
            if name != self.node:
                return name
        raise FaultError("this fault needs two nodes: podwire lab node add")

    def address(self, node: str) -> str:
        """The IPv4 InternalIP of a node; raises FaultError."""
        for one in self.cluster.nodes:
            if one.metadata.name == node:
                for item in one.status.addresses:
                    if item.type == "InternalIP" and ip_address(item.address).version == 4:
                        return item.address
        raise FaultError(f"Node {node} has no IPv4 address, which this fault needs")

    def range(self, node: str) -> IPv4Network:
        """The IPv4 range of a node's Pods; raises FaultError."""
        for one in self.cluster.nodes:
            if one.metadata.name == node:
                for found in map(ip_network, one.spec.pod_cidrs or [one.spec.pod_cidr or "::/0"]):
                    if isinstance(found, IPv4Network):
                        return found
        raise FaultError(f"Node {node} has no IPv4 range of Pods, which this fault needs")

    @property
    def service(self) -> Service:
        """The wished Service, or the first with a selector; raises FaultError."""
        found = [one for one in self.cluster.services if one.spec.selector and _is_users(one)]
        if self.wish.service:
            found = [one for one in self.cluster.services if _named(one.key, self.wish.service)]
        for one in sorted(found, key=lambda service: service.key):
            return one
        what = f"no Service {self.wish.service}" if self.wish.service else "no Service with Pods"
        raise FaultError(f"there is {what}; make one: kubectl apply -f examples/web.yaml")

    @property
    def endpoints(self) -> tuple[Pod, ...]:
        """The Pods of the Service; raises FaultError if there are none."""
        service = self.service
        wanted = service.spec.selector.items()
        found = [
            pod
            for pod in self._pods()
            if pod.key[0] == service.key[0] and wanted <= pod.metadata.labels.items()
        ]
        if not found:
            raise FaultError(f"Service {'/'.join(service.key)} has no Pods: start some")
        return tuple(found)

    @property
    def pod(self) -> Pod:
        """The wished Pod, or the first one of the Service; raises FaultError."""
        if not self.wish.pod:
            local = [one for one in self.endpoints if one.spec.node_name == self.wish.node]
            return (local or self.endpoints)[0]
        for one in self._pods():
            if _named(one.key, self.wish.pod):
                return one
        raise FaultError(f"there is no Pod {self.wish.pod} that runs in a network of its own")

    def pods_of(self, node: str) -> tuple[Pod, ...]:
        """The Pods of a node, sorted by name."""
        return tuple(pod for pod in self._pods() if pod.spec.node_name == node)

    def need_tunnel(self) -> None:
        """Raise FaultError unless packets between nodes are encapsulated."""
        if self.overlay != "vxlan":
            raise FaultError(
                "this fault needs a tunnel between the nodes: podwire lab up --overlay vxlan"
            )

    def _pods(self) -> list[Pod]:
        running = [
            pod
            for pod in self.cluster.pods
            if not pod.spec.host_network
            and pod.status.phase not in _ENDED
            and pod.status.pod_ip
            and pod.metadata.deletion_timestamp is None
        ]
        return sorted(running, key=lambda pod: pod.key)


def spot_of(pod: Pod) -> Spot:
    """The namespace of a Pod."""
    return Spot(pod.spec.node_name or "", pod.key)


def ipv4(pod: Pod) -> str:
    """The IPv4 address of a Pod; raises FaultError."""
    for one in pod.status.pod_ips:
        if one.ip and ip_address(one.ip).version == 4:
            return one.ip
    raise FaultError(f"Pod {'/'.join(pod.key)} has no IPv4 address, which this fault needs")


def _is_users(service: Service) -> bool:
    return service.key[0] != "kube-system" and service.spec.cluster_ip not in (None, "None", "")


def _named(key: tuple[str, str], text: str) -> bool:
    namespace, slash, name = text.partition("/")
    return key == (namespace, name) if slash else key == ("default", text)
