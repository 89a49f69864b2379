"""What the API's objects want to become of a probe: places, the endpoint, policies, the end. Pure.

The functions that decide it are the proxy's and the policies' own (``debug.views.decided``,
``proxy.policy.drops.explain``), so they know of no kernel.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from debug.cluster import ClusterState
from debug.machine.programs import serving
from debug.places import Place
from debug.trace.facts import ADMITS, REFUSES, Fact, Kind, goes_to
from debug.trace.model import PacketTrace
from debug.trace.packet import Flow
from debug.views.decided import decided
from proxy.backends.installed import Installed
from proxy.model.values import Address, Key, Protocol
from proxy.objects.parse import Complaints
from proxy.policy import wire as api
from proxy.policy.drops.explain import Asked, SideVerdict, explain
from proxy.policy.parse import parse_namespace, parse_pod, parse_policy
from proxy.policy.tiers.parse import parse_cluster_policy
from proxy.policy.values import Pod

_SHOWN = 4  # endpoints
End = tuple[str, int | None]  # an address and a port


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked: a probe from a place, and what was seen of it."""

    cluster: ClusterState
    source: Place
    flow: Flow
    seen: PacketTrace

    def facts(self) -> tuple[Fact, ...]:
        """Return what should become of the probe, in order."""
        return tuple(self._facts())

    def _facts(self) -> Iterator[Fact]:
        yield Fact(Kind.PLACE, self.source.name)
        node = self._first_node()
        if self.source.pod and node:
            yield Fact(Kind.PLACE, f"Node {node}")
        served = self._served(node) if node else None
        if served is None:
            to = self.flow.destination, self.flow.destination_port
            yield from self._delivered(to, node, by_service=False)
        else:
            yield from self._balanced(served, node)

    def _balanced(self, served: Installed, node: str) -> Iterator[Fact]:
        """Yield what becomes of a packet to a Service. Any endpoint will do."""
        allowed = self._allowed(served)
        took = [to for to in self._translated() if to in allowed]
        if not allowed:
            yield Fact(Kind.SERVICE, "no endpoint: refused")
            yield from self._dropped()
        elif took or len(allowed) == 1:
            to = (took or allowed)[0]
            yield goes_to(*to)
            yield from self._delivered(to, node, by_service=True)
        else:
            yield Fact(Kind.SERVICE, _choice(allowed))

    def _first_node(self) -> str:
        """Return the node whose proxy has the packet first."""
        nodes = {one.metadata.name for one in self.cluster.nodes}
        return next((hop.node for hop in self.seen.hops if hop.node in nodes), "")

    def _served(self, node: str) -> Installed | None:
        if self.flow.destination_port is None:
            return None
        to = ip_address(self.flow.destination), self.flow.destination_port, self.flow.protocol
        of_node = self.flow.destination in self._of_nodes()
        return serving(decided(self.cluster, node), *to, of_node=of_node)

    def _of_nodes(self) -> Mapping[str, str]:
        """Return the nodes' names by their addresses."""
        return {
            one.address: node.metadata.name
            for node in self.cluster.nodes
            for one in node.status.addresses
        }

    def _allowed(self, served: Installed) -> list[End]:
        """Return the endpoints that the caller may get."""
        inside = self.source.pod is not None and served.inside is not None
        shares = served.inside if inside and served.inside is not None else served.shares
        caller = ip_address(self.flow.source)
        if served.sources is not None and not any(caller in one for one in served.sources):
            return []
        return [(one.target.host, one.target.port) for one in shares]

    def _translated(self) -> Iterator[End]:
        """Yield where the packet was seen to be sent."""
        for step in (step for hop in self.seen.hops for step in hop.steps):
            if step.before and step.ends:
                yield step.ends.destination, step.ends.destination_port

    def _delivered(self, to: End, node: str, *, by_service: bool) -> Iterator[Fact]:
        """Yield the rest of the way to an address, if policies admit it."""
        sides = self._sides(to, by_service)
        if not all(one.passes for one in sides):
            yield REFUSES
            yield from self._dropped()
            return
        if any(one.policies or one.decided_by for one in sides):
            yield ADMITS
        pod = next((one for one in self.cluster.pods if to[0] in _addresses(one)), None)
        if pod is None or pod.spec.host_network:
            host = self._of_nodes().get(to[0], "")
            yield from self._at_node(host, node)
            return
        if pod.spec.node_name and pod.spec.node_name != node:
            yield Fact(Kind.PLACE, f"Node {pod.spec.node_name}")
        name = f"Pod {'/'.join(pod.key)}"
        yield Fact(Kind.PLACE, name)
        yield Fact(Kind.END, f"delivered at {name}")

    def _at_node(self, host: str, node: str) -> Iterator[Fact]:
        if host and host != node:
            yield Fact(Kind.PLACE, f"Node {host}")
        if host:
            yield Fact(Kind.END, f"delivered at Node {host}")

    def _dropped(self) -> Iterator[Fact]:
        """Yield the end of a packet that may end anywhere."""
        where = self.seen.where if self.seen.outcome == "dropped" else "some node"
        yield Fact(Kind.END, f"dropped at {where}")

    def _sides(self, to: End, by_service: bool) -> tuple[SideVerdict, ...]:
        """Return the verdicts of the policies of both ends."""
        pods = {one.key: value for one in self.cluster.pods if (value := parse_pod(one, ""))}
        ends = ip_address(self.flow.source), ip_address(to[0])
        held = [_holder(pods, one) for one in ends]
        protocol = Protocol(self.flow.protocol.upper()) if to[1] is not None else None
        asked = Asked(*ends, held[0], held[1], to[1], protocol, by_service)
        policies = (parse_policy(one, Complaints("")) for one in self.cluster.policies)
        ranked = (
            parse_cluster_policy(one, Complaints("")) for one in self.cluster.cluster_policies
        )
        spaces = {one.metadata.name: parse_namespace(one) for one in self.cluster.namespaces}
        every = filter(None, policies), spaces, self._pods_nodes(), filter(None, ranked)
        return explain(asked, *every)

    def _pods_nodes(self) -> Mapping[Key, list[Address]]:
        """Return the addresses of each Pod's node."""
        by_name: dict[str, list[Address]] = {}
        for address, node in self._of_nodes().items():
            try:
                by_name.setdefault(node, []).append(ip_address(address))
            except ValueError:
                continue  # a host's name
        return {one.key: by_name.get(one.spec.node_name or "", []) for one in self.cluster.pods}


def _addresses(pod: api.Pod) -> list[str]:
    return [one.ip for one in pod.status.pod_ips if one.ip]


def _holder(pods: Mapping[Key, Pod], address: Address) -> Pod | None:
    return max(
        (one for one in pods.values() if address in one.addresses),
        key=lambda one: one.rank,
        default=None,
    )


def _choice(allowed: list[End]) -> str:
    """Say where a Service's packet may go."""
    ends = [f"{host} port {port}" for host, port in allowed[:_SHOWN]]
    more = f" and {len(allowed) - _SHOWN} more" if len(allowed) > _SHOWN else ""
    return f"destination becomes one of {', '.join(ends)}{more}"
