"""The cluster DNS of a lab: its Service and rights, and questions from the host.

The servers run on the control machine; the Service kube-dns has EndpointSlices that point there.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from pathlib import Path
from typing import Any, TypeVar

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from control.api import kinds
from control.client import ApiError, Client
from control.dns.names import parse
from control.dns.upstream.routes import RouteError, read_routes
from control.linux import syscalls
from lab.credentials import BALANCER_USER
from lab.parts import control_machines
from lab.spec import (
    CLUSTER_DOMAIN,
    CONTROL_NAMES,
    DNS_METRICS_PORT,
    DNS_PORT,
    DNS_SERVERS,
    LabSpec,
    LabSpecError,
    dns_ips,
)
from lab.state import LabDir
from lab.status import locate, look, named

T = TypeVar("T")
NAME, NAMESPACE = "kube-dns", "kube-system"
ROLE = USER = "system:coredns"
_LABELS = {
    "k8s-app": NAME,
    "kubernetes.io/cluster-service": "true",
    "kubernetes.io/name": "CoreDNS",
}
_START_SECONDS = 60.0  # the servers start with the API server, in a second; a busy host takes long
_ANSWER_SECONDS = 5.0


class NotAnsweredError(OSError):
    """The cluster DNS gave no answer; the text says where to look."""


def check_resolvers(spec: LabSpec) -> None:
    """Refuse resolvers of which the DNS servers cannot make use; raises LabSpecError."""
    try:
        read_routes(spec.dns_upstreams, spec.stub_domains, parse(CLUSTER_DOMAIN))
    except RouteError as err:
        raise LabSpecError(f"--dns-upstream or --stub-domain: {err}") from err


def install(kubeconfig: Path, spec: LabSpec) -> None:
    """Create the DNS servers' Service, EndpointSlices and rights, as far as they are missing.

    Raises ApiError, UnreachableError.
    """
    asyncio.run(_install(kubeconfig, spec))


async def _install(kubeconfig: Path, spec: LabSpec) -> None:
    async with Client.from_kubeconfig(kubeconfig) as client:
        for kind, wire in objects(spec):
            try:
                await client.create(kind, kind.model.parse(wire))
            except ApiError as err:
                if err.reason != "AlreadyExists":
                    raise


def objects(spec: LabSpec) -> list[tuple[kinds.Kind[Any], dict[str, Any]]]:
    """Return the cluster DNS's objects; names, labels and rights are those of kubeadm's CoreDNS."""
    found: list[tuple[kinds.Kind[Any], dict[str, Any]]] = [(kinds.SERVICE, _service(spec))]
    found += [(kinds.ENDPOINT_SLICE, slice_) for _, slice_ in _slices(spec)]
    if spec.is_balanced:
        found += _balancer_rights(spec)
    # The rights come last: a server that may list has seen the rest in its first list.
    return [*found, (kinds.CLUSTER_ROLE, role()), (kinds.CLUSTER_ROLE_BINDING, _binding())]


def slices_of(spec: LabSpec) -> list[tuple[str, str]]:
    """Return the control planes' machines, and the name of each EndpointSlice that leads there."""
    return [(machine, slice_["metadata"]["name"]) for machine, slice_ in _slices(spec)]


def _slices(spec: LabSpec) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield each EndpointSlice with its machine."""
    for machine in control_machines(spec):
        mark = "" if machine.name == CONTROL_NAMES[0] else f"{machine.name}-"
        for address in machine.ips:
            family = f"ipv{ip_address(address).version}"
            for number in range(DNS_SERVERS):
                ports = [_port("metrics", DNS_METRICS_PORT + number)]
                if not number:  # the servers share these sockets
                    ports += [_port("dns", DNS_PORT, "UDP"), _port("dns-tcp", DNS_PORT)]
                yield machine.name, _slice(f"{mark}{family}-{number + 1}", address, ports)


def _balancer_rights(spec: LabSpec) -> list[tuple[kinds.Kind[Any], dict[str, Any]]]:
    """Return the rights to say which of these endpoints are ready."""
    group = {"apiGroup": "rbac.authorization.k8s.io"}
    meta = {"name": BALANCER_USER, "namespace": NAMESPACE}
    rule = {
        "apiGroups": ["discovery.k8s.io"],
        "resources": ["endpointslices"],
        "resourceNames": [name for _, name in slices_of(spec)],
        "verbs": ["get", "patch"],
    }
    binding = {
        "metadata": meta,
        "roleRef": {"kind": "Role", "name": BALANCER_USER} | group,
        "subjects": [{"kind": "User", "name": BALANCER_USER} | group],
    }
    return [(kinds.ROLE, {"metadata": meta, "rules": [rule]}), (kinds.ROLE_BINDING, binding)]


def role() -> dict[str, Any]:
    """Return the rights of the DNS servers, as the manifest of CoreDNS gives them."""
    core = {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"]}
    slices = {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"]}
    verbs = {"verbs": ["list", "watch"]}
    return {"metadata": {"name": ROLE}, "rules": [core | verbs, slices | verbs]}


def _binding() -> dict[str, Any]:
    group = {"apiGroup": "rbac.authorization.k8s.io"}
    return {
        "metadata": {"name": ROLE},
        "roleRef": {"kind": "ClusterRole", "name": ROLE} | group,
        "subjects": [{"kind": "User", "name": USER} | group],
    }


def _service(spec: LabSpec) -> dict[str, Any]:
    ips = dns_ips(spec)
    ports = [_port("dns", DNS_PORT, "UDP"), _port("dns-tcp", DNS_PORT)]
    policy = {"ipFamilyPolicy": "RequireDualStack"} if len(ips) > 1 else {}
    return {
        "metadata": {"name": NAME, "namespace": NAMESPACE, "labels": _LABELS},
        "spec": {
            "clusterIP": ips[0],
            "clusterIPs": list(ips),
            "ports": [*ports, _port("metrics", DNS_METRICS_PORT)],
            **policy,
        },
    }


def _slice(suffix: str, address: str, ports: list[dict[str, Any]]) -> dict[str, Any]:
    labels = {
        "kubernetes.io/service-name": NAME,
        "endpointslice.kubernetes.io/managed-by": "podwire-lab",
    }
    return {
        "metadata": {"name": f"{NAME}-{suffix}", "namespace": NAMESPACE, "labels": labels},
        "addressType": f"IPv{ip_address(address).version}",
        "endpoints": [{"addresses": [address], "conditions": {"ready": True}}],
        "ports": ports,
    }


def _port(name: str, number: int, protocol: str = "TCP") -> dict[str, Any]:
    return {"name": name, "port": number, "protocol": protocol}


def wait_answers(lab: LabDir, spec: LabSpec) -> None:
    """Wait until the DNS servers answer; raises NotAnsweredError.

    The question waits in their socket until one of them knows every Service.
    """
    ask(lab, spec, "kubernetes.default.svc.cluster.local.", "A", seconds=_START_SECONDS)


def ask(
    lab: LabDir, spec: LabSpec, name: str, kind: str, *, seconds: float = _ANSWER_SECONDS
) -> dns.message.Message:
    """Ask the cluster DNS for an absolute name; raises NotAnsweredError, MachineNotFoundError.

    The packets stay in the lab's network: a thread enters it, and the host gets no link.
    """
    runs = {machine.name for machine in look(lab).machines if machine.pid is not None}
    servers = control_machines(spec)
    server = next((machine for machine in servers if machine.name in runs), servers[0])
    query = dns.message.make_query(name, dns.rdatatype.from_text(kind), use_edns=True)

    def exchange() -> dns.message.Message:
        return dns.query.udp_with_fallback(query, server.ips[0], timeout=seconds)[0]

    try:
        return _inside(locate(lab, server.name).pid, exchange)
    except (dns.exception.DNSException, OSError) as err:
        raise NotAnsweredError(
            f"the cluster DNS does not answer for {name}: {err}; see: "
            f"podwire lab logs{named(lab)} dns"
        ) from err


def _inside(pid: int, act: Callable[[], T]) -> T:
    """Carry out ``act`` in the network namespace of a process."""

    def enter() -> T:
        with Path(f"/proc/{pid}/ns/net").open("rb") as namespace:
            syscalls.setns(namespace.fileno(), syscalls.CLONE_NEWNET)
        return act()

    with ThreadPoolExecutor(1) as thread:  # setns is for the thread alone, which ends here
        return thread.submit(enter).result()
