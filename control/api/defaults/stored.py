"""Defaults of other kinds that podwire stores. Pure.

Source: the defaults.go of k8s.io/kubernetes/pkg/apis (admissionregistration, networking, storage,
flowcontrol) and of k8s.io/kube-aggregator.
"""

from control.api.defaults.edit import Wire, filled, within, within_each

_WEBHOOK_SECONDS = 10
_PORT = 443
_PRECEDENCE = 1000
_SHARES = 30
_QUEUING = {"handSize": 8, "queues": 64, "queueLengthLimit": 50}


def default_storage_class(wire: Wire) -> Wire:
    """Set what becomes of a class's volumes, and when they are bound."""
    return {"volumeBindingMode": "Immediate"} | filled(wire, {"reclaimPolicy": "Delete"})


def default_csi_driver(wire: Wire) -> Wire:
    """Set a driver's defaults: it attaches volumes, and no more."""
    return within(wire, "spec", _csi_driver)


def _csi_driver(spec: Wire) -> Wire:
    return filled(
        {"volumeLifecycleModes": ["Persistent"]} | spec,
        {
            "attachRequired": True,
            "podInfoOnMount": False,
            "storageCapacity": False,
            "fsGroupPolicy": "ReadWriteOnceWithFSType",
            "requiresRepublish": False,
            "seLinuxMount": False,
        },
    )


def default_network_policy(wire: Wire) -> Wire:
    """Set the types of a policy, Egress if it has rules for it, and the protocol of ports."""
    return within(wire, "spec", _network_policy)


def _network_policy(spec: Wire) -> Wire:
    made = spec
    for name in ("ingress", "egress"):
        made = within_each(made, name, _with_tcp_ports)
    if not made.get("policyTypes"):
        made = made | {"policyTypes": ["Ingress", *["Egress"] * bool(made.get("egress"))]}
    return made


def _with_tcp_ports(rule: Wire) -> Wire:
    return within_each(rule, "ports", lambda port: {"protocol": "TCP"} | port)


def default_ingress_class(wire: Wire) -> Wire:
    """Set that the parameters of a class are of the cluster."""
    return within(
        wire,
        "spec",
        lambda spec: within(spec, "parameters", lambda given: filled(given, {"scope": "Cluster"})),
    )


def default_validating_webhooks(wire: Wire) -> Wire:
    """Set the defaults of each webhook: it refuses what it cannot ask about, within 10 s."""
    return within_each(wire, "webhooks", _webhook)


def default_mutating_webhooks(wire: Wire) -> Wire:
    """Set the defaults of each webhook; none is called a second time."""
    return within_each(
        wire, "webhooks", lambda hook: filled(_webhook(hook), {"reinvocationPolicy": "Never"})
    )


def _webhook(hook: Wire) -> Wire:
    made = filled(
        {"namespaceSelector": {}, "objectSelector": {}} | hook,
        {
            "failurePolicy": "Fail",
            "matchPolicy": "Equivalent",
            "timeoutSeconds": _WEBHOOK_SECONDS,
        },
    )
    made = within_each(made, "rules", _rule)
    return within(
        made,
        "clientConfig",
        lambda config: within(config, "service", lambda to: filled(to, {"port": _PORT})),
    )


def _rule(rule: Wire) -> Wire:
    return filled(rule, {"scope": "*"})


def default_policy(wire: Wire) -> Wire:
    """Set that an admission policy refuses what it cannot decide, and what it matches."""
    return within(wire, "spec", _policy)


def _policy(spec: Wire) -> Wire:
    return within(filled(spec, {"failurePolicy": "Fail"}), "matchConstraints", _match)


def default_policy_binding(wire: Wire) -> Wire:
    """Set what a binding matches."""
    return within(wire, "spec", lambda spec: within(spec, "matchResources", _match))


def _match(match: Wire) -> Wire:
    made = filled(
        {"namespaceSelector": {}, "objectSelector": {}} | match, {"matchPolicy": "Equivalent"}
    )
    for name in ("resourceRules", "excludeResourceRules"):
        made = within_each(made, name, _rule)
    return made


def default_api_service(wire: Wire) -> Wire:
    """Set the port of the service of an API."""
    return within(
        wire,
        "spec",
        lambda spec: within(spec, "service", lambda to: filled(to, {"port": _PORT})),
    )


def begin_api_service(wire: Wire) -> Wire:
    """Set the status of a new APIService: one without a Service is available at once."""
    if (wire.get("spec") or {}).get("service") is not None:
        return wire
    condition = {
        "type": "Available",
        "status": "True",
        "lastTransitionTime": wire["metadata"].get("creationTimestamp"),
        "reason": "Local",
        "message": "Local APIServices are always available",
    }
    return wire | {"status": {"conditions": [condition]}}


def default_flow_schema(wire: Wire) -> Wire:
    """Set the precedence of a schema; zero is none."""
    return within(wire, "spec", _flow_schema)


def _flow_schema(spec: Wire) -> Wire:
    return spec | {"matchingPrecedence": spec.get("matchingPrecedence") or _PRECEDENCE}


def default_priority_level(wire: Wire) -> Wire:
    """Set the shares of a level, and its queues."""
    return within(wire, "spec", _priority_level)


def _priority_level(spec: Wire) -> Wire:
    made = within(
        spec,
        "exempt",
        lambda exempt: filled(exempt, {"nominalConcurrencyShares": 0, "lendablePercent": 0}),
    )
    return within(made, "limited", _limited)


def _limited(limited: Wire) -> Wire:
    made = filled(limited, {"nominalConcurrencyShares": _SHARES, "lendablePercent": 0})
    return within(made, "limitResponse", lambda response: within(response, "queuing", _queuing))


def _queuing(queuing: Wire) -> Wire:
    return queuing | {name: queuing.get(name) or value for name, value in _QUEUING.items()}


def default_limit_range(wire: Wire) -> Wire:
    """Set what a range's own limits say of containers: the greatest is their limit, if no other."""
    return within(wire, "spec", lambda spec: within_each(spec, "limits", _limits))


def _limits(item: Wire) -> Wire:
    if item.get("type") != "Container":
        return item
    limit = item.get("max", {}) | item.get("default", {})
    request = item.get("min", {}) | limit | item.get("defaultRequest", {})
    made = {"default": limit, "defaultRequest": request}
    return item | {name: value for name, value in made.items() if value}


def default_claim_of_devices(wire: Wire) -> Wire:
    """Set that each request of a claim is for one device."""
    return within(wire, "spec", _devices)


def default_claim_template(wire: Wire) -> Wire:
    """Set the defaults of the claims that a template makes."""
    return within(wire, "spec", default_claim_of_devices)


def _devices(spec: Wire) -> Wire:
    return within(spec, "devices", lambda devices: within_each(devices, "requests", _request))


def _request(request: Wire) -> Wire:
    return within_each(within(request, "exactly", _exactly), "firstAvailable", _exactly)


def _exactly(request: Wire) -> Wire:
    made = filled(request, {"allocationMode": "ExactCount"})
    if made["allocationMode"] == "ExactCount":
        made["count"] = made.get("count") or 1
    return made
