"""The flow schemas and priority levels of every cluster, as upstream's. Pure.

Source: k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap/default.go
"""

from typing import Any

GROUP = "flowcontrol.apiserver.k8s.io"
# A suggested object follows this table as long as its annotation says so; a mandatory one always.
AUTO_UPDATE = "apf.kubernetes.io/autoupdate-spec"
EXEMPT, CATCH_ALL = "exempt", "catch-all"
MANDATORY = (EXEMPT, CATCH_ALL)
Wire = dict[str, Any]

# Name: shares, percent that others may borrow, queues, queues of one flow.
_LIMITED = {
    "system": (30, 33, 64, 6),
    "node-high": (40, 25, 64, 6),
    "leader-election": (10, 0, 16, 4),
    "workload-high": (40, 50, 128, 6),
    "workload-low": (100, 90, 128, 6),
    "global-default": (20, 50, 128, 6),
}
_QUEUE_LENGTH = 50
_ALL = ["*"]
_EVERYBODY = ("system:unauthenticated", "system:authenticated")
_NODES = ("system:nodes",)
_BY_USER, _BY_NAMESPACE = "ByUser", "ByNamespace"


def levels() -> dict[str, Wire]:
    """Return the specifications of all priority levels, by name."""
    nothing = {"nominalConcurrencyShares": 0, "lendablePercent": 0}
    reject = {"nominalConcurrencyShares": 5, "lendablePercent": 0}
    return {
        EXEMPT: {"type": "Exempt", "exempt": nothing},
        CATCH_ALL: {"type": "Limited", "limited": reject | {"limitResponse": {"type": "Reject"}}},
        **{name: _limited(*values) for name, values in _LIMITED.items()},
    }


def _limited(shares: int, lendable: int, queues: int, hand: int) -> Wire:
    queuing = {"queues": queues, "handSize": hand, "queueLengthLimit": _QUEUE_LENGTH}
    limited = {
        "nominalConcurrencyShares": shares,
        "lendablePercent": lendable,
        "limitResponse": {"type": "Queue", "queuing": queuing},
    }
    return {"type": "Limited", "limited": limited}


def schemas() -> dict[str, Wire]:
    """Return the specifications of all flow schemas, by name."""
    everything = {"resourceRules": [_resources()], "nonResourceRules": [_paths()]}
    leases = _resources(("coordination.k8s.io",), ("leases",), cluster=False)
    elect = leases | {"verbs": ["get", "create", "update"]}
    probes = {"nonResourceRules": [_paths(("get",), ("/healthz", "/readyz", "/livez"))]}
    own = {"resourceRules": [_resources(("",), ("nodes", "nodes/status")), leases]}
    leaders = _users("system:kube-controller-manager", "system:kube-scheduler")
    manager, scheduler = ([each] for each in leaders)
    workload = "workload-high"
    return {
        EXEMPT: _schema(EXEMPT, 1, "", _groups("system:masters"), everything),
        "probes": _schema(EXEMPT, 2, "", _groups(*_EVERYBODY), probes),
        "system-leader-election": _schema(
            "leader-election", 100, _BY_USER, [*leaders, *_accounts()], {"resourceRules": [elect]}
        ),
        "system-node-high": _schema("node-high", 400, _BY_USER, _groups(*_NODES), own),
        "system-nodes": _schema("system", 500, _BY_USER, _groups(*_NODES), everything),
        "kube-controller-manager": _schema(workload, 800, _BY_NAMESPACE, manager, everything),
        "kube-scheduler": _schema(workload, 800, _BY_NAMESPACE, scheduler, everything),
        "kube-system-service-accounts": _schema(
            workload, 900, _BY_NAMESPACE, _accounts(), everything
        ),
        "service-accounts": _schema(
            "workload-low", 9000, _BY_USER, _groups("system:serviceaccounts"), everything
        ),
        "global-default": _schema(
            "global-default", 9900, _BY_USER, _groups(*_EVERYBODY), everything
        ),
        CATCH_ALL: _schema(CATCH_ALL, 10000, _BY_USER, _groups(*_EVERYBODY), everything),
    }


def _schema(level: str, precedence: int, by: str, subjects: list[Wire], rules: Wire) -> Wire:
    made: Wire = {
        "priorityLevelConfiguration": {"name": level},
        "matchingPrecedence": precedence,
        "rules": [{"subjects": subjects, **rules}],
    }
    return made | ({"distinguisherMethod": {"type": by}} if by else {})


def _groups(*names: str) -> list[Wire]:
    return [{"kind": "Group", "group": {"name": name}} for name in names]


def _users(*names: str) -> list[Wire]:
    return [{"kind": "User", "user": {"name": name}} for name in names]


def _accounts() -> list[Wire]:
    account = {"namespace": "kube-system", "name": "*"}
    return [{"kind": "ServiceAccount", "serviceAccount": account}]


def _resources(
    groups: tuple[str, ...] = ("*",), resources: tuple[str, ...] = ("*",), *, cluster: bool = True
) -> Wire:
    made: Wire = {"verbs": _ALL, "apiGroups": [*groups], "resources": [*resources]}
    made["namespaces"] = _ALL
    return made | ({"clusterScope": True} if cluster else {})


def _paths(verbs: tuple[str, ...] = ("*",), paths: tuple[str, ...] = ("*",)) -> Wire:
    return {"verbs": [*verbs], "nonResourceURLs": [*paths]}


def is_as_fixed(name: str, spec: Wire, fixed: Wire) -> bool:
    """Return True if an object's specification is the fixed one of its name.

    Who administers a cluster may lend what the level ``exempt`` has: ``exempt`` of it is free.
    """
    if name == EXEMPT and spec.get("exempt") and "exempt" in fixed:
        fixed = fixed | {"exempt": spec["exempt"]}
    return bool(_filled(spec) == _filled(fixed))


def _filled(value: Any) -> Any:
    """Return a value without fields that say the same as no field: zero, false, empty."""
    if isinstance(value, dict):
        made = {key: _filled(each) for key, each in value.items()}
        return {key: each for key, each in made.items() if each or each == {}}
    return [_filled(each) for each in value] if isinstance(value, list) else value
