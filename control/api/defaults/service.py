"""Defaults of Services, and the allocated fields that an update keeps or drops. Pure.

Source: k8s.io/kubernetes/pkg/apis/core/v1/defaults.go and pkg/registry/core/service/strategy.go
"""

from collections.abc import Iterator

from control.api.defaults.edit import Wire, filled, within, within_each

HEADLESS = "None"
_AFFINITY_SECONDS = 10800
_WITH_NODE_PORTS = ("NodePort", "LoadBalancer")


def default_service(service: Wire) -> Wire:
    """Set a Service's defaults: ClusterIP, no affinity, target ports equal to ports."""
    spec = filled(service.get("spec", {}), {"type": "ClusterIP", "sessionAffinity": "None"})
    if spec["sessionAffinity"] == "ClientIP":
        spec["sessionAffinityConfig"] = _affinity(spec.get("sessionAffinityConfig", {}))
    elif spec["sessionAffinity"] == "None":
        spec.pop("sessionAffinityConfig", None)
    if spec["type"] != "ExternalName":
        spec = {"internalTrafficPolicy": "Cluster"} | spec
    if externally_accessible(spec):
        spec = filled(spec, {"externalTrafficPolicy": "Cluster"})
    if spec["type"] == "LoadBalancer":
        spec = filled(spec, {"allocateLoadBalancerNodePorts": True})
    if "ports" in spec:
        spec["ports"] = [_port(port) for port in spec["ports"]]
    return within(service | {"spec": spec}, "status", _status)


def _status(status: Wire) -> Wire:
    """Set the IP mode VIP for a load balancer's addresses."""
    return within(status, "loadBalancer", _load_balancer)


def _load_balancer(balancer: Wire) -> Wire:
    return within_each(balancer, "ingress", _ingress)


def _ingress(item: Wire) -> Wire:
    return filled(item, {"ipMode": "VIP"}) if item.get("ip") else item


def begin_service(service: Wire) -> Wire:
    """Set the initial status, without load balancer addresses."""
    return service | {"status": {"loadBalancer": {}}}


def _affinity(config: Wire) -> Wire:
    client = config.get("clientIP", {})
    return config | {"clientIP": filled(client, {"timeoutSeconds": _AFFINITY_SECONDS})}


def _port(port: Wire) -> Wire:
    made = filled(port, {"protocol": "TCP"})
    if made.get("targetPort") in (None, "", 0):
        made["targetPort"] = made.get("port", 0)
    return made


def externally_accessible(spec: Wire) -> bool:
    """Return True if a Service accepts traffic from outside of the cluster."""
    return spec.get("type") in _WITH_NODE_PORTS or (
        spec.get("type") == "ClusterIP" and bool(spec.get("externalIPs"))
    )


def needs_cluster_ip(spec: Wire) -> bool:
    """Return True if a Service has cluster IPs or is headless."""
    return spec.get("type") != "ExternalName"


def needs_node_ports(spec: Wire) -> bool:
    """Return True if a Service has node ports."""
    return spec.get("type") in _WITH_NODE_PORTS


def needs_health_check(spec: Wire) -> bool:
    """Return True if a load balancer has to check each node for endpoints."""
    return spec.get("type") == "LoadBalancer" and spec.get("externalTrafficPolicy") == "Local"


def carry_over(new: Wire, old: Wire) -> Wire:
    """Return an updated spec with the allocated values that it still needs."""
    made = _sync_cluster_ips(new, old)
    made = _keep_allocated(made, old)
    return drop_unused(made, old)


def _sync_cluster_ips(new: Wire, old: Wire) -> Wire:
    """Keep clusterIP equal to clusterIPs[0] if a client changes only one of them."""
    first, ips = new.get("clusterIP", ""), new.get("clusterIPs", [])
    before, before_ips = old.get("clusterIP", ""), old.get("clusterIPs", [])
    if first != before and ips == before_ips:
        return new | {"clusterIPs": [first, *ips[1:]] if first else []}
    if first == before and ips != before_ips and not ips:
        return new | {"clusterIP": ""}
    return new


def _keep_allocated(new: Wire, old: Wire) -> Wire:
    made = dict(new)
    if needs_cluster_ip(old) and needs_cluster_ip(new):
        made["clusterIP"] = new.get("clusterIP") or old.get("clusterIP", "")
        if not new.get("clusterIPs") and made["clusterIP"] == old.get("clusterIP"):
            made["clusterIPs"] = old.get("clusterIPs", [])
    if needs_node_ports(old) and needs_node_ports(new):
        made["ports"] = list(_keep_node_ports(new.get("ports", []), old.get("ports", [])))
    if needs_health_check(old) and needs_health_check(new) and "healthCheckNodePort" in old:
        made = filled(made, {"healthCheckNodePort": old["healthCheckNodePort"]})
    return made


def _keep_node_ports(new: list[Wire], old: list[Wire]) -> Iterator[Wire]:
    asked = {port.get("nodePort") for port in new}
    before = {(port.get("protocol"), port.get("port")): port.get("nodePort") for port in old}
    for port in new:
        kept = before.get((port.get("protocol"), port.get("port")))
        yield port | {"nodePort": kept} if kept not in asked and not port.get("nodePort") else port


def drop_unused(new: Wire, old: Wire) -> Wire:
    """Return the spec without unchanged fields that only the old type needed."""
    made = dict(new)
    if needs_node_ports(old) and not needs_node_ports(new) and _node_ports(new) == _node_ports(old):
        made["ports"] = [_without(port, "nodePort") for port in made.get("ports", [])]
    for needed, names in _DEPENDENT:
        if needed(old) and not needed(new) and all(new.get(n) == old.get(n) for n in names):
            made = _without(made, *names)
    return made


def _node_ports(spec: Wire) -> list[int]:
    return [port.get("nodePort", 0) for port in spec.get("ports", [])]


def _without(wire: Wire, *names: str) -> Wire:
    return {key: value for key, value in wire.items() if key not in names}


def _is_load_balancer(spec: Wire) -> bool:
    return spec.get("type") == "LoadBalancer"


_DEPENDENT = (
    (needs_cluster_ip, ("clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy")),
    (needs_cluster_ip, ("internalTrafficPolicy",)),
    (externally_accessible, ("externalTrafficPolicy",)),
    (needs_health_check, ("healthCheckNodePort",)),
    (_is_load_balancer, ("allocateLoadBalancerNodePorts",)),
    (_is_load_balancer, ("loadBalancerClass",)),
    (lambda spec: spec.get("sessionAffinity") == "ClientIP", ("sessionAffinityConfig",)),
)
