"""Checks of Services: endpoints, selectors, ports, and where their packets are sent."""

import re
from collections.abc import Iterator

from debug.doctor.look import Look, NodeLook, found, ok, unknown, unread
from debug.machine.values import MachineState
from debug.model import Finding, Level
from proxy.backends.nftables.objects import TABLE
from proxy.model.values import Key
from proxy.objects.wire import Service, ServicePort
from proxy.policy.wire import Pod

_DNS = "k8s-app"
_DESTINATION = re.compile(r"--to-destination (\S+)")
_KUBE_PROXY = "kube-proxy"


def service_endpoints(look: Look) -> Iterator[Finding]:
    """Each Service has an endpoint that is ready."""
    check = "service-endpoints"
    empty = [service for service in look.served() if not ready(look, service.key)]
    for service in empty:
        check = "service-endpoints"
        name = "/".join(service.key)
        pods = selected(look, service)
        selector = ",".join(f"{key}={value}" for key, value in service.spec.selector.items())
        count = sum(len(part.endpoints) for part in look.cluster.slices_of(service.key))
        if service.spec.selector and not pods:
            check = "wrong-selector"
            cause = f"its selector {selector} matches no Pod of namespace {service.key[0]}"
            fix = f"compare with: kubectl get pods -n {service.key[0]} --show-labels"
        elif service.spec.selector:
            cause = "none of its Pods is ready"
            fix = f"kubectl describe pods -n {service.key[0]} -l {selector}"
        else:
            cause = "it has no selector, and nobody wrote an EndpointSlice for it"
            fix = "write an EndpointSlice, or give it a selector"
        yield found(
            check,
            Level.WARN,
            "",
            f"Service {name} has no endpoint that is ready",
            f"EndpointSlices of {name}: {count} endpoints, none ready",
            f"selector {selector or 'none'}: {len(pods)} Pods",
            about=f"Service {name}",
            cause=cause,
            consequence="connections to it are refused",
            fix=fix,
        )
    if look.has_api and not empty:
        names = ("/".join(service.key) for service in look.served())
        yield ok(check, "", "every Service has an endpoint", ", ".join(names))


def ready(look: Look, key: Key) -> list[str]:
    """The addresses of a Service's ready endpoints."""
    return [
        address
        for part in look.cluster.slices_of(key)
        for end in part.endpoints
        if end.conditions.ready is not False
        for address in end.addresses
    ]


def selected(look: Look, service: Service) -> list[Pod]:
    """The Pods that a Service selects."""
    return look.cluster.selected(service.key[0], service.spec.selector)


def target_port(look: Look) -> Iterator[Finding]:
    """Each targetPort is a port that the selected Pods have."""
    wrong = 0
    for service in look.served():
        pods = selected(look, service)
        for port in service.spec.ports if pods else ():
            if (finding := _port(service, port, pods)) is not None:
                wrong += 1
                yield finding
    if look.has_api and not wrong:
        yield ok(
            "wrong-target-port", "", "targetPorts are ports of their Pods, where those name any"
        )


def wrong_target_port(look: Look) -> Iterator[Finding]:
    """Services lead to ports that their Pods name, and where somebody listens."""
    yield from target_port(look)
    yield from listeners(look)


def _ends(look: Look) -> Iterator[tuple[Key, str, str]]:
    """Each ready endpoint: its Service, its port as "TCP 80", its address."""
    for service in look.served():
        for part in look.cluster.slices_of(service.key):
            ready_ends = [one for one in part.endpoints if one.conditions.ready is not False]
            for port in part.ports:
                for one in ready_ends:
                    for address in one.addresses:
                        yield service.key, f"{port.protocol or 'TCP'} {port.port}", address


def listeners(look: Look) -> Iterator[Finding]:
    """Somebody listens at each endpoint's port, in the Pod that has its address."""
    check = "wrong-target-port"
    listening = {
        facts.pod: frozenset(facts.listening)
        for node in look.nodes
        for facts in (node.machine.pods if node.machine else ())
    }
    deaf: dict[tuple[Key, str], list[str]] = {}
    for key, wanted, address in _ends(look):
        pod = look.pods.get(address)
        heard = listening.get("/".join(pod.key)) if pod else None
        if heard is not None and wanted not in heard:
            deaf.setdefault((key, wanted), []).append(address)
    for (key, wanted), addresses in deaf.items():
        name = "/".join(key)
        yield found(
            check,
            Level.FAIL,
            "",
            f"Service {name} leads to {wanted}, where nobody listens in {len(addresses)} endpoints",
            *(
                f"/proc/net of {look.names.shown(one)}: no listener at {wanted}"
                for one in addresses
            ),
            about=f"Service {name}",
            cause="the targetPort was mistyped, or the server uses another port or loopback only",
            consequence="connections to those endpoints are refused",
            fix=f"kubectl edit service -n {key[0]} {key[1]}",
        )
    if not deaf:
        yield ok(check, "", "somebody listens at every endpoint's port", f"{len(listening)} Pods")


def local_policy(look: Look) -> Iterator[Finding]:
    """With internalTrafficPolicy Local, each node has an endpoint (k/k#86280)."""
    check = "local-policy"
    for node in look.nodes:
        here = {one.ip for pod in node.pods for one in pod.status.pod_ips}
        here |= {str(ip) for ip in node.local}
        local = [one for one in look.served() if one.spec.internal_traffic_policy == "Local"]
        lacking = [one for one in local if not here & set(ready(look, one.key))]
        for service in lacking:
            name = "/".join(service.key)
            yield found(
                check,
                Level.WARN,
                node.name,
                f"Service {name} asks for endpoints of the own node, and {node.name} has none",
                f"Service {name}: internalTrafficPolicy Local",
                f"its ready endpoints: {', '.join(ready(look, service.key)) or 'none'}",
                about=f"Service {name}",
                cause="internalTrafficPolicy is Local, and no Pod of the Service runs on this node",
                consequence="connections from this node and its Pods are dropped",
                fix="policy Cluster, or run it as a DaemonSet",
            )
        if not lacking:
            yield ok(
                check, node.name, "no Service lacks the endpoint that its policy asks for here"
            )


def _port(service: Service, port: ServicePort, pods: list[Pod]) -> Finding | None:
    """A named port that no Pod has fails; a number that Pods name others instead of is a guess."""
    wanted = port.target_port or port.port
    has = [
        one
        for pod in pods
        for container in (*pod.spec.containers, *pod.spec.init_containers)
        for one in container.ports
        if (one.protocol or "TCP") == port.protocol
    ]
    is_named = isinstance(wanted, str)
    if any(wanted in ((one.name or "") if is_named else one.container_port,) for one in has):
        return None
    if not is_named and not has:
        return None  # Pods need not name their ports
    name = "/".join(service.key)
    shown = ", ".join(sorted({f"{one.name or 'unnamed'} {one.container_port}" for one in has}))
    return found(
        "wrong-target-port",
        Level.FAIL if is_named else Level.WARN,
        "",
        f"Service {name} leads to port {wanted}, which none of its Pods names",
        f"Service {name}: port {port.port} {port.protocol}, targetPort {wanted}",
        f"ports of its {len(pods)} Pods: {shown or 'none'}",
        about=f"Service {name}",
        cause="the targetPort was mistyped, or the Pods' port changed",
        consequence="connections are refused, by the Pods or for want of endpoints",
        fix=f"kubectl edit service -n {service.key[0]} {service.key[1]}",
    )


def dns_service(look: Look) -> Iterator[Finding]:
    """The cluster's DNS is a Service with endpoints."""
    check = "dns-down"
    if not look.has_api:
        yield unknown(check, "", "the Services are not known without the API")
        return
    found_ = [one for one in look.served() if one.metadata.labels.get(_DNS) == "kube-dns"]
    found_ = found_ or [one for one in look.served() if one.key == ("kube-system", "kube-dns")]
    if not found_:
        yield unknown(check, "", "no Service is labeled k8s-app=kube-dns: is there a cluster DNS?")
    for service in found_:
        name, ends = "/".join(service.key), ready(look, service.key)
        evidence = f"EndpointSlices of {name}: {', '.join(ends) or 'no ready endpoint'}"
        if ends:
            yield ok(check, "", f"Service {name} has endpoints", evidence)
            continue
        yield found(
            check,
            Level.FAIL,
            "",
            f"the cluster's DNS, Service {name}, has no ready endpoint",
            evidence,
            about=f"Service {name}",
            cause="the DNS servers do not run, are not ready, or the Service selects others",
            consequence="no name resolves in any Pod",
            fix=f"kubectl get endpointslices -n {service.key[0]}; start the DNS servers",
        )


def stale_endpoint(look: Look) -> Iterator[Finding]:
    """Rules send to addresses that are endpoints now; affinity pins nobody to a dead Pod."""
    check = "stale-endpoint"
    known = {
        address
        for part in look.cluster.slices
        for end in part.endpoints
        for address in end.addresses
    }
    for node in look.nodes:
        if gap := unread(check, node, "nft") or unread(check, node, "iptables"):
            yield gap
            continue
        targets = list(_targets(node.machine)) if node.machine else []
        dead = {(at, where) for at, where in targets if at not in known} if look.has_api else set()
        for address, where in sorted(dead):
            yield _dead(look, node, address, where)
        if not dead:
            yield ok(check, node.name, "rules send to present endpoints", f"{len(targets)} targets")


def _targets(machine: MachineState) -> Iterator[tuple[str, str]]:
    """The addresses to which rules translate, with the place of each."""
    for name, text in machine.iptables.items():
        for row in text.splitlines():
            if row.startswith("-A KUBE-SEP") and (match := _DESTINATION.search(row)):
                yield match[1].rpartition(":")[0].strip("[]"), f"iptables ({name}): {row}"
    for sort, one in machine.objects:
        if sort == "map" and one["table"] == TABLE and "backends" in one["name"]:
            for _, value in one.get("elem", ()):
                yield str(value["concat"][0]), f"nft map {one['family']} {TABLE} {one['name']}"
        elif sort == "rule" and one["table"] in (TABLE, _KUBE_PROXY):
            for part in one["expr"]:
                address = part.get("dnat", {}).get("addr") if isinstance(part, dict) else None
                if isinstance(address, str):
                    yield address, f"nft chain {one['family']} {one['table']} {one['chain']}"


def _dead(look: Look, node: NodeLook, address: str, where: str) -> Finding:
    sticky = any(one.spec.session_affinity == "ClientIP" for one in look.served())
    pinned = "; session affinity keeps its clients there" if sticky else ""
    return found(
        "stale-endpoint",
        Level.FAIL,
        node.name,
        f"rules send connections to {address}, which is no endpoint",
        where,
        "EndpointSlices: none has this address",
        about=f"endpoint {address}",
        cause="the proxy has not followed, because it does not run or cannot reach the API",
        consequence=f"a part of all connections fails{pinned}",
        fix="see the proxy's log and its /healthz; restart it",
    )


def loopback_node_port(look: Look) -> Iterator[Finding]:
    """NodePorts answer at 127.0.0.1 where the mode serves them there (k/k#142183)."""
    check = "nodeport-loopback"
    for node in look.nodes:
        facts = node.machine.proxy if node.machine else None
        wanted = (
            bool((facts.config.get("iptables") or {}).get("localhostNodePorts")) if facts else False
        )
        setting = "net/ipv4/conf/all/route_localnet"
        value = node.sysctl(setting)
        by_rules = node.mode in ("iptables", "nftables")
        is_v4 = any(cidr.version == 4 for cidr in node.peer.cidrs)
        evidence = f"{setting}: {value or 'unknown'}", f"localhostNodePorts {wanted}, {node.mode}"
        if wanted and by_rules and is_v4 and value == "0":
            yield found(
                check,
                Level.WARN,
                node.name,
                "NodePorts do not answer at 127.0.0.1",
                *evidence,
                about=f"Node {node.name}",
                cause="route_localnet was set back after the proxy had set it",
                consequence="what uses localhost:NodePort, as registries do, gets no answer",
                fix="restart the proxy, or: sysctl -w net.ipv4.conf.all.route_localnet=1",
            )
        else:
            yield ok(check, node.name, "nothing keeps NodePorts from 127.0.0.1", *evidence)
