"""Defaults of other kinds that podwire stores. Pure.

Source: the defaults.go of k8s.io/kubernetes/pkg/apis (admissionregistration, networking, storage,
scheduling, flowcontrol) and of k8s.io/kube-aggregator.
"""

from control.api.defaults.edit import Wire, filled, within, within_each

_WEBHOOK_SECONDS = 10
_PORT = 443
_PRECEDENCE = 1000


def default_storage_class(wire: Wire) -> Wire:
    """Set what becomes of a class's volumes, and when they are bound."""
    return filled(wire, {"reclaimPolicy": "Delete", "volumeBindingMode": "Immediate"})


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


def default_priority_class(wire: Wire) -> Wire:
    """Set that a Pod of a class may displace others."""
    return filled(wire, {"preemptionPolicy": "PreemptLowerPriority"})


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
    return within_each(rule, "ports", lambda port: filled(port, {"protocol": "TCP"}))


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


def default_flow_schema(wire: Wire) -> Wire:
    """Set the precedence of a schema; zero is none."""
    return within(wire, "spec", _flow_schema)


def _flow_schema(spec: Wire) -> Wire:
    return spec | {"matchingPrecedence": spec.get("matchingPrecedence") or _PRECEDENCE}
