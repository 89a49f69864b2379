"""Faults of objects: the network does what it is told, and it is told the wrong thing."""

from collections.abc import Iterable
from typing import Any

from debug.faults.acts.base import Act
from debug.faults.acts.objects import Changed, Created
from debug.faults.acts.rules import PREFIX
from debug.faults.fault import Fault, Look
from debug.faults.scene import Scene

_NOWHERE = 1  # a port at which nobody listens (tcpmux)


def _change(scene: Scene, **spec: Any) -> Act:
    namespace, name = scene.service.key
    return Changed(kind="Service", namespace=namespace, name=name, patch={"spec": spec})


def _policy(scene: Scene, name: str, **spec: Any) -> Act:
    service = scene.service
    return Created(
        kind="NetworkPolicy",
        namespace=service.key[0],
        name=f"{PREFIX}{name}",
        spec={"podSelector": {"matchLabels": dict(service.spec.selector)}, **spec},
    )


def _denies(scene: Scene) -> Iterable[Act]:
    yield _policy(scene, "policy-denies", policyTypes=["Ingress"])


def _no_dns(scene: Scene) -> Iterable[Act]:
    only_tcp = [{"ports": [{"protocol": "TCP"}]}]
    yield _policy(scene, "policy-no-dns", policyTypes=["Egress"], egress=only_tcp)


def _selector(scene: Scene) -> Iterable[Act]:
    yield _change(scene, selector={"podwire-fault": "nobody"})


def _target_port(scene: Scene) -> Iterable[Act]:
    """A list is replaced whole by a merge patch, so its other fields stand in it as they are."""
    ports = [
        {
            "port": port.port,
            "protocol": port.protocol,
            "targetPort": _NOWHERE,
            **({"name": port.name} if port.name else {}),
            **({"nodePort": port.node_port} if port.node_port else {}),
        }
        for port in scene.service.spec.ports
    ]
    yield _change(scene, ports=ports)


def _local(scene: Scene) -> Iterable[Act]:
    yield _change(scene, internalTrafficPolicy="Local")


FAULTS = (
    Fault(
        name="policy-denies",
        title="A NetworkPolicy forbids it",
        does="Creates a policy that admits nobody to the Pods of {service}.",
        symptom="Connections to the Service and to its Pods hang. The Pods are ready, because the "
        "node's probes are always admitted.",
        cause="Once one policy selects a Pod, only what some policy admits comes in.",
        find=(
            Look("kubectl get networkpolicies", "policies whose selector has the Pods' labels"),
            Look("podwire policy drops", "what policies dropped: which Pod, which policy"),
        ),
        heal="Admit the clients in a policy, or remove the one that selects too much.",
        sources=("https://kubernetes.io/docs/concepts/services-networking/network-policies/",),
        plan=_denies,
        place="api",
    ),
    Fault(
        name="policy-no-dns",
        title="A NetworkPolicy forgets DNS",
        does="Creates a policy by which the Pods of {service} may send TCP only.",
        symptom="In these Pods no name is resolved; by address everything answers.",
        cause="A policy for egress admits what it names, and questions to DNS go by UDP.",
        find=(
            Look("kubectl exec {pod_args} -- nslookup kubernetes.default", "no answer"),
            Look("kubectl get networkpolicies -o yaml", "egress without port 53 of UDP"),
            Look("podwire policy drops", "what was dropped, and where to"),
        ),
        heal="Admit UDP and TCP 53 to the namespace of the DNS servers.",
        sources=("https://kubernetes.io/docs/concepts/services-networking/network-policies/",),
        plan=_no_dns,
        place="api",
    ),
    Fault(
        name="wrong-selector",
        title="A Service selects no Pods",
        does="Adds a label that no Pod has to the selector of {service}.",
        symptom="The Service refuses connections at once. Its Pods are ready and answer.",
        cause="A Service without endpoints is rejected by each node's rules. A typing error, or a "
        "label that was renamed, does it.",
        find=(
            Look("kubectl get endpointslices -o wide", "the Service's slice has no endpoints"),
            Look("kubectl get service {service_args} -o wide", "its selector"),
            Look("kubectl get pods --show-labels", "the labels that the Pods have"),
        ),
        heal="kubectl edit service: let the selector be labels of the Pods.",
        sources=("https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",),
        plan=_selector,
        place="api",
    ),
    Fault(
        name="wrong-target-port",
        title="A Service sends to a port where nobody listens",
        does=f"Sets targetPort {_NOWHERE} on {{service}}.",
        symptom="The Service refuses connections, though it has ready endpoints. At their own port "
        "the Pods answer.",
        cause="targetPort is a port of the Pod; containerPort does not open or check it. The Pod's "
        "own kernel refuses.",
        find=(
            Look("kubectl get endpointslices -o wide", "endpoints are there: look at PORTS"),
            Look("kubectl get pods -o yaml", "the ports of the containers"),
        ),
        heal="kubectl edit service: let targetPort be the server's port, or its name.",
        sources=("https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",),
        plan=_target_port,
        place="api",
    ),
    Fault(
        name="local-policy",
        title="Only endpoints of the own node count",
        does="Sets internalTrafficPolicy Local on {service}.",
        symptom="On nodes with a Pod of the Service it answers; on others connections hang.",
        cause="With policy Local, internal or external, a node without an endpoint drops: that is "
        "what was asked for. In a rollout it comes and goes.",
        find=(
            Look(
                "kubectl get service {service_args} -o yaml",
                "internalTrafficPolicy and externalTrafficPolicy",
            ),
            Look("kubectl get pods -o wide", "the nodes that have a Pod of the Service"),
        ),
        heal="Policy Cluster, or a DaemonSet; trafficDistribution PreferClose prefers only.",
        sources=("k/k#86280", "k/k#127937"),
        plan=_local,
        place="api",
    ),
)
