"""Faults inside Pods' namespaces, which no look at the node shows."""

from collections.abc import Iterable, Iterator

from debug.faults.acts.base import Act, FaultError
from debug.faults.acts.kernel import Announced, ExtraAddress, LinkValue
from debug.faults.acts.objects import Changed
from debug.faults.acts.rules import Rules
from debug.faults.fault import Fault, Look
from debug.faults.scene import Scene, ipv4, spot_of
from proxy.policy.wire import Pod

_LINK = "eth0"  # of a Pod
_SHARED_MAC = "02:00:5e:00:53:02"


def _neighbor(scene: Scene) -> Pod:
    """Return another Pod of the Pod's node; raises FaultError."""
    node = scene.pod.spec.node_name or ""
    for other in scene.pods_of(node):
        if other.key != scene.pod.key:
            return other
    raise FaultError(f"this fault needs two Pods on {node}: scale a Deployment")


def _duplicate_ip(scene: Scene) -> Iterable[Act]:
    pod, other, ip = spot_of(scene.pod), spot_of(_neighbor(scene)), ipv4(scene.pod)
    yield Announced(spot=pod, link=_LINK, ip=ip, after=True)
    yield ExtraAddress(spot=other, link=_LINK, address=f"{ip}/32")
    yield Announced(spot=other, link=_LINK, ip=ip)


def _duplicate_mac(scene: Scene) -> Iterable[Act]:
    """The neighbors learn the MAC at once, and the right one afterwards."""
    both = [(spot_of(pod), ipv4(pod)) for pod in (scene.pod, _neighbor(scene))]
    for spot, ip in both:
        yield Announced(spot=spot, link=_LINK, ip=ip, after=True)
    for spot, _ in both:
        yield LinkValue(spot=spot, link=_LINK, field="mac", value=_SHARED_MAC)
    for spot, ip in both:
        yield Announced(spot=spot, link=_LINK, ip=ip)


def _probe(scene: Scene) -> Iterable[Act]:
    for pod in scene.endpoints:
        yield _drop(scene, pod, "probe-blocked", f"ip saddr {_gateway(scene, pod)}")


def _affinity(scene: Scene) -> Iterable[Act]:
    """The Pod is deaf to all but its node's probes, so it stays ready."""
    namespace, name = scene.service.key
    patch = {"spec": {"sessionAffinity": "ClientIP"}}
    yield Changed(kind="Service", namespace=namespace, name=name, patch=patch)
    yield _drop(scene, scene.pod, "dead-affinity", f"ip saddr != {_gateway(scene, scene.pod)}")


def _gateway(scene: Scene, pod: Pod) -> str:
    """Return the address from which a Pod's node, and its probes, speak to it."""
    return str(scene.range(pod.spec.node_name or "")[1])


def _drop(scene: Scene, pod: Pod, name: str, who: str) -> Act:
    ports = ", ".join(map(str, sorted(set(_ports(scene)))))
    if not ports:
        raise FaultError(f"Service {'/'.join(scene.service.key)} has no endpoints with TCP ports")
    rule = f"{who} tcp dport {{ {ports} }} counter drop;"
    chain = f"chain input {{ type filter hook input priority filter; {rule} }}"
    return Rules(spot=spot_of(pod), family="inet", name=name, chains=(chain,))


def _ports(scene: Scene) -> Iterator[int]:
    for one in scene.cluster.slices_of(scene.service.key):
        for port in one.ports:
            if port.port and (port.protocol or "TCP") == "TCP":
                yield port.port


FAULTS = (
    Fault(
        name="duplicate-pod-ip",
        title="Two Pods with one IP",
        does="Gives another Pod of the node the IP of {pod} too.",
        symptom="Connections to {pod} are refused, hang, or reach the wrong Pod; after a pause it "
        "may be the right one again.",
        cause="Both answer the ARP question for the address, and one answer counts until the next "
        "question. Two IPAM plugins, or a lost lease, gave the address twice.",
        find=(
            Look(
                "podwire lab exec {node} -- ip neigh show {pod_ip}",
                "the MAC that the node has now; flush it, ask again, and compare",
            ),
            Look("kubectl exec {pod_args} -- ip link show eth0", "the MAC that it should be"),
        ),
        heal="Delete both Pods, then repair the IPAM's leases.",
        sources=("k/k#51322",),
        plan=_duplicate_ip,
        place="pod",
    ),
    Fault(
        name="duplicate-mac",
        title="Two Pods with one MAC",
        does="Gives {pod} and another Pod of its node the same MAC.",
        symptom="Of the two, only the one answers that has sent something last.",
        cause="A bridge learns by which port a MAC is reached from the frames that come from it: "
        "the last one wins. Cloned machines and fixed MACs do that.",
        find=(
            Look(
                "podwire lab exec {node} -- ip neigh show dev podwire0",
                "two addresses with one MAC",
            ),
            Look(
                "podwire lab exec {node} -- bridge fdb show br podwire0",
                "the port that has the MAC now; it changes",
            ),
        ),
        heal="Remove the fixed MAC, and delete one of the Pods.",
        sources=("k/k#51322",),
        plan=_duplicate_mac,
        place="pod",
    ),
    Fault(
        name="probe-blocked",
        title="Readiness probes fail, the server does not",
        does="Has all Pods of {service} drop what comes from their node to their ports.",
        symptom="The Pods run and are not ready. The Service refuses connections, for it has no "
        "endpoints. From another Pod, the Pods answer.",
        cause="The agent probes from the node's address. A filter in the Pod, or a policy that "
        "counts the node as a stranger, drops it.",
        find=(
            Look("kubectl get pods -o wide", "READY 0/1, and Running"),
            Look("kubectl describe pod {pod_args}", "the event Unhealthy, and what the probe said"),
            Look("kubectl get endpointslices -o wide", "the Service's endpoints: none is ready"),
            Look("podwire lab exec {node} -- nft list ruleset", "nothing: look in the Pod as well"),
        ),
        heal="Admit the node's address, in the filter or the policy.",
        sources=("https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",),
        plan=_probe,
        place="pod",
    ),
    Fault(
        name="dead-affinity",
        title="Affinity pins clients to a dead Pod",
        does="Sets sessionAffinity ClientIP on {service}, and makes {pod} deaf to all but probes.",
        symptom="Some clients never get an answer from the Service, at no try. Others always do.",
        cause="With affinity, a client keeps its endpoint for three hours as long as that counts "
        "as ready, even if it answers nobody but the probe.",
        find=(
            Look("kubectl get service {service_args} -o yaml", "sessionAffinity, and its timeout"),
            Look("kubectl get endpointslices -o wide", "all endpoints are ready"),
            Look(
                "podwire lab exec {node} -- nc -w 1 {pod_ip} 80",
                "ask each endpoint by its address, from another Pod: one does not answer",
            ),
        ),
        heal="A readiness probe that asks what clients ask, and shorter affinity.",
        sources=("k/k#110302",),
        plan=_affinity,
        place="pod",
    ),
)
