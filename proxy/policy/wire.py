"""Pods, Namespaces and NetworkPolicies as this room reads them: only the fields that it uses."""

from control.api.kind import Kind
from proxy.objects.wire import Condition, Fields, WireObject


class Requirement(Fields, frozen=True):
    """One condition of a label selector."""

    key: str = ""
    operator: str = ""
    values: list[str] = []


class LabelSelector(Fields, frozen=True):
    """meta/v1 LabelSelector."""

    match_labels: dict[str, str] = {}
    match_expressions: list[Requirement] = []


class IPBlock(Fields, frozen=True):
    """A range of addresses, without others."""

    cidr: str = ""
    except_: list[str] = []


class PolicyPeer(Fields, frozen=True):
    """Pods or addresses. An absent selector differs from an empty one, which selects all."""

    pod_selector: LabelSelector | None = None
    namespace_selector: LabelSelector | None = None
    ip_block: IPBlock | None = None


class PolicyPort(Fields, frozen=True):
    """A port, its name, or a range of ports."""

    protocol: str | None = None
    port: int | str | None = None
    end_port: int | None = None


class IngressRule(Fields, frozen=True):
    """What may come in."""

    ports: list[PolicyPort] = []
    from_: list[PolicyPeer] = []


class EgressRule(Fields, frozen=True):
    """What may go out."""

    ports: list[PolicyPort] = []
    to: list[PolicyPeer] = []


_EVERY = LabelSelector()


class NetworkPolicySpec(Fields, frozen=True):
    """Whom a policy selects, and what it lets pass."""

    pod_selector: LabelSelector = _EVERY
    ingress: list[IngressRule] = []
    egress: list[EgressRule] = []
    policy_types: list[str] = []


class NetworkPolicy(WireObject, frozen=True):
    """networking.k8s.io/v1 NetworkPolicy."""

    spec: NetworkPolicySpec = NetworkPolicySpec()


class NamespacedPod(Fields, frozen=True):
    """Pods that one selector selects, in namespaces that another one does."""

    namespace_selector: LabelSelector = _EVERY
    pod_selector: LabelSelector = _EVERY


class ClusterPeer(Fields, frozen=True):
    """Whom a ClusterNetworkPolicy is about, or its rule: one field must be set.

    An unknown field, of a newer version or of the experimental channel, leaves none.
    """

    namespaces: LabelSelector | None = None
    pods: NamespacedPod | None = None
    networks: list[str] | None = None


class PortSpan(Fields, frozen=True):
    """Ports from ``start`` to ``end``, which belong to it."""

    start: int = 0
    end: int = 0


class DestinationPort(Fields, frozen=True):
    """A number or a range: one must be set."""

    number: int | None = None
    range_: PortSpan | None = None


class ProtocolPorts(Fields, frozen=True):
    """Ports of one protocol."""

    destination_port: DestinationPort | None = None


class ClusterProtocol(Fields, frozen=True):
    """What a rule of a ClusterNetworkPolicy says of ports: one field must be set."""

    tcp: ProtocolPorts | None = None
    udp: ProtocolPorts | None = None
    sctp: ProtocolPorts | None = None
    destination_named_port: str | None = None


class ClusterRule(Fields, frozen=True):
    """A rule of a ClusterNetworkPolicy, of either direction."""

    name: str = ""
    action: str = ""
    from_: list[ClusterPeer] = []
    to: list[ClusterPeer] = []
    protocols: list[ClusterProtocol] | None = None


_NOBODY = ClusterPeer()


class ClusterNetworkPolicySpec(Fields, frozen=True):
    """The tier and the priority of a policy, its subject, and its rules in order."""

    tier: str = ""
    priority: int = 0
    subject: ClusterPeer = _NOBODY
    ingress: list[ClusterRule] = []
    egress: list[ClusterRule] = []


class ClusterNetworkPolicy(WireObject, frozen=True):
    """policy.networking.k8s.io/v1alpha2 ClusterNetworkPolicy."""

    spec: ClusterNetworkPolicySpec = ClusterNetworkPolicySpec()


class DefinitionVersion(Fields, frozen=True):
    """A version of a custom resource."""

    name: str = ""
    served: bool = False


class DefinitionSpec(Fields, frozen=True):
    """The versions of a custom resource."""

    versions: list[DefinitionVersion] = []


class DefinitionStatus(Fields, frozen=True):
    """Whether a custom resource is served yet."""

    conditions: list[Condition] = []


class Definition(WireObject, frozen=True):
    """apiextensions.k8s.io/v1 CustomResourceDefinition."""

    spec: DefinitionSpec = DefinitionSpec()
    status: DefinitionStatus = DefinitionStatus()


class ContainerPort(Fields, frozen=True):
    """A port of a container."""

    name: str | None = None
    container_port: int = 0
    protocol: str | None = None


class Container(Fields, frozen=True):
    """A container: its ports, and whether it is a sidecar."""

    ports: list[ContainerPort] = []
    restart_policy: str | None = None


class PodSpec(Fields, frozen=True):
    """Where a Pod runs, and its ports."""

    node_name: str | None = None
    host_network: bool | None = None
    containers: list[Container] = []
    init_containers: list[Container] = []


class PodIP(Fields, frozen=True):
    """One of a Pod's addresses."""

    ip: str | None = None


class PodStatus(Fields, frozen=True):
    """A Pod's phase and addresses."""

    phase: str | None = None
    pod_ip: str | None = None
    pod_ips: list[PodIP] = []


class Pod(WireObject, frozen=True):
    """core/v1 Pod."""

    spec: PodSpec = PodSpec()
    status: PodStatus = PodStatus()


class Namespace(WireObject, frozen=True):
    """core/v1 Namespace."""


NETWORK_POLICY = Kind("networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies", NetworkPolicy)
CLUSTER_NETWORK_POLICY = Kind(
    "policy.networking.k8s.io",
    "v1alpha2",
    "ClusterNetworkPolicy",
    "clusternetworkpolicies",
    ClusterNetworkPolicy,
    False,
)
DEFINITION = Kind(
    "apiextensions.k8s.io",
    "v1",
    "CustomResourceDefinition",
    "customresourcedefinitions",
    Definition,
    False,
)
POD = Kind("", "v1", "Pod", "pods", Pod)
NAMESPACE = Kind("", "v1", "Namespace", "namespaces", Namespace, False)
