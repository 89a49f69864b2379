"""Validation: the field and the message of each error."""

import copy
from typing import Any

import pytest

from control.api import kinds
from control.api.errors import errors_in, errors_in_update
from control.api.kinds import Kind
from control.api.rules import rules_of
from control.api.validation import text
from tests.support.control.objects import VALID, of

NODE = {"metadata": {"name": "n"}}


def complete(kind: Kind) -> dict[str, Any]:
    return rules_of(kind).default(of(kind, **copy.deepcopy(VALID.get(kind.name, {}))))


def changed(kind: Kind, path: str, value: Any) -> dict[str, Any]:
    """Return a valid object with one field set, or removed for None."""
    wire = complete(kind)
    at: Any = wire
    *parts, last = path.split(".")
    for part in parts:
        at = at[int(part)] if isinstance(at, list) else at.setdefault(part, {})
    if value is None:
        at.pop(int(last) if isinstance(at, list) else last, None)
    else:
        at[int(last) if isinstance(at, list) else last] = value
    return wire


def errors(kind: Kind, wire: dict[str, Any]) -> list[str]:
    return [str(error) for error in errors_in(kind, kind.model.model_validate(wire))]


C, SC = "spec.containers.0", "spec.securityContext"
T = "spec.template"
CASES = [
    (
        kinds.POD,
        "metadata.name",
        "",
        "metadata.name: Required value: name or generateName is required",
    ),
    (
        kinds.POD,
        "metadata.name",
        "A",
        'metadata.name: Invalid value: "A": a lowercase RFC 1123 subdomain',
    ),
    (kinds.POD, "metadata.name", "a" * 254, "must be no more than 253 characters"),
    (kinds.POD, f"{SC}.seccompProfile", {}, "type is required when seccompProfile is set"),
    (kinds.POD, f"{SC}.seccompProfile", {"type": "x"}, 'type: Unsupported value: "x"'),
    (
        kinds.POD,
        f"{C}.securityContext.seccompProfile",
        {"type": "Localhost"},
        "localhostProfile: Required value: must be set when seccomp type is Localhost",
    ),
    (
        kinds.POD,
        f"{C}.securityContext.seccompProfile",
        {"type": "Localhost", "localhostProfile": "a/../../b"},
        "localhostProfile: Invalid value: \"a/../../b\": must not contain '..'",
    ),
    (
        kinds.POD,
        f"{SC}.seccompProfile",
        {"type": "RuntimeDefault", "localhostProfile": "a"},
        "can only be set when seccomp type is Localhost",
    ),
    (kinds.POD, f"{SC}.appArmorProfile", {"type": "x"}, 'type: Unsupported value: "x"'),
    (
        kinds.POD,
        f"{C}.securityContext.appArmorProfile",
        {"type": "Localhost", "localhostProfile": " a"},
        "must not be padded with whitespace",
    ),
    (kinds.POD, f"{C}.securityContext.procMount", "x", 'procMount: Unsupported value: "x"'),
    (
        kinds.POD,
        f"{C}.securityContext",
        {"privileged": True, "allowPrivilegeEscalation": False},
        "cannot set `allowPrivilegeEscalation` to false and `privileged` to true",
    ),
    (kinds.POD, f"{SC}.fsGroupChangePolicy", "x", 'Unsupported value: "x"'),
    (kinds.POD, f"{SC}.supplementalGroupsPolicy", "x", 'Unsupported value: "x"'),
    (kinds.POD, f"{SC}.seLinuxChangePolicy", "x", 'Unsupported value: "x"'),
    (kinds.POD, "spec.os", {"name": "x"}, 'spec.os: Unsupported value: "x"'),
    (kinds.POD, "spec.schedulingGates", [{"name": "a_"}], "spec.schedulingGates[0]: Invalid value"),
    (
        kinds.POD,
        "spec.schedulingGates",
        [{"name": "a"}, {"name": "a"}],
        'spec.schedulingGates[1]: Duplicate value: "a"',
    ),
    (
        kinds.POD,
        "spec.readinessGates",
        [{"conditionType": "a b"}],
        "spec.readinessGates[0].conditionType: Invalid value",
    ),
    (
        kinds.POD,
        "metadata.labels",
        {"-a": "b"},
        'metadata.labels: Invalid value: "-a": name part must consist',
    ),
    (
        kinds.POD,
        "metadata.labels",
        {"a": "b!"},
        'metadata.labels: Invalid value: "b!": a valid label must be',
    ),
    (
        kinds.POD,
        "metadata.annotations",
        {"a": "x" * 300_000},
        "metadata.annotations: Too long: may not be more than 262144 bytes",
    ),
    (
        kinds.POD,
        "metadata.finalizers",
        ["plain"],
        "neither a standard finalizer name nor is it fully qualified",
    ),
    (kinds.POD, "spec.containers", [], "spec.containers: Required value"),
    (kinds.POD, f"{C}.name", "", "spec.containers[0].name: Required value"),
    (
        kinds.POD,
        f"{C}.name",
        "A_",
        'spec.containers[0].name: Invalid value: "A_": a lowercase RFC 1123 label',
    ),
    (kinds.POD, f"{C}.image", "", "spec.containers[0].image: Required value"),
    (kinds.POD, f"{C}.image", " x", "must not have leading or trailing whitespace"),
    (
        kinds.POD,
        f"{C}.imagePullPolicy",
        "Maybe",
        'imagePullPolicy: Unsupported value: "Maybe": supported values: "Always", "IfNotPresent"',
    ),
    (
        kinds.POD,
        f"{C}.ports",
        [{"containerPort": 0}],
        "spec.containers[0].ports[0].containerPort: Required value",
    ),
    (
        kinds.POD,
        f"{C}.ports",
        [{"containerPort": 70000}],
        "ports[0].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
    ),
    (
        kinds.POD,
        f"{C}.ports",
        [{"containerPort": 1, "name": "a"}, {"containerPort": 2, "name": "a"}],
        'spec.containers[0].ports[1].name: Duplicate value: "a"',
    ),
    (
        kinds.POD,
        f"{C}.env",
        [{"name": "A=B"}],
        'spec.containers[0].env[0].name: Invalid value: "A=B": a valid environment variable name',
    ),
    (
        kinds.POD,
        f"{C}.env",
        [{"name": "A", "value": "x", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}],
        "may not be specified when `value` is not empty",
    ),
    (
        kinds.POD,
        f"{C}.volumeMounts",
        [{"name": "none", "mountPath": "/x"}],
        'spec.containers[0].volumeMounts[0].name: Not found: "none"',
    ),
    (
        kinds.POD,
        f"{C}.resources",
        {"requests": {"cpu": "2"}, "limits": {"cpu": "1"}},
        'resources.requests: Invalid value: "2": must be less than or equal to cpu limit of 1',
    ),
    (
        kinds.POD,
        f"{C}.resources",
        {"limits": {"cpu": "x"}},
        'spec.containers[0].resources.limits[cpu]: Invalid value: "x"',
    ),
    (
        kinds.POD,
        f"{C}.livenessProbe",
        {},
        "spec.containers[0].livenessProbe: Required value: must specify a handler type",
    ),
    (
        kinds.POD,
        f"{C}.livenessProbe",
        {"exec": {"command": ["x"]}, "successThreshold": 2},
        "successThreshold: Invalid value: 2: must be 1",
    ),
    (
        kinds.POD,
        "spec.volumes",
        [{"name": "v"}],
        "spec.volumes[0]: Required value: must specify a volume type",
    ),
    (
        kinds.POD,
        "spec.volumes",
        [{"name": "v", "emptyDir": {}, "hostPath": {"path": "/"}}],
        "may not specify more than 1 volume type",
    ),
    (
        kinds.POD,
        "spec.volumes",
        [{"name": "v", "hostPath": {"path": "/a/../b"}}],
        "must not contain '..'",
    ),
    (kinds.POD, "spec.restartPolicy", "Maybe", 'spec.restartPolicy: Unsupported value: "Maybe"'),
    (
        kinds.POD,
        "spec.dnsPolicy",
        "None",
        "spec.dnsConfig: Required value: must provide `dnsConfig` when `dnsPolicy` is None",
    ),
    (
        kinds.POD,
        "spec.tolerations",
        [{"operator": "Equal"}],
        "spec.tolerations[0].operator: Invalid value",
    ),
    (
        kinds.POD,
        "spec.dnsConfig",
        {"nameservers": ["10.0.0.1\nsearch evil"]},
        "spec.dnsConfig.nameservers[0]: Invalid value",
    ),
    (
        kinds.POD,
        "spec.dnsConfig",
        {"nameservers": ["10.0.0.1"] * 4},
        "must not have more than 3 nameservers",
    ),
    (
        kinds.POD,
        "spec.dnsConfig",
        {"searches": ["a\nnameserver 10.0.0.1"]},
        "spec.dnsConfig.searches[0]: Invalid value",
    ),
    (
        kinds.POD,
        "spec.dnsConfig",
        {"searches": ["a"] * 33},
        "must not have more than 32 search paths",
    ),
    (
        kinds.POD,
        "spec.dnsConfig",
        {"searches": [".".join(["a" * 60] * 4)] * 9},
        "more than 2048 characters",
    ),
    (kinds.POD, "spec.dnsConfig", {"searches": [".", "a_b.c.", "svc.local"]}, None),
    (
        kinds.POD,
        "spec.dnsConfig",
        {"options": [{"value": "1"}]},
        "spec.dnsConfig.options[0]: Required value: must not be empty",
    ),
    (
        kinds.POD,
        "spec.dnsConfig",
        {"options": [{"name": "ndots", "value": "1\nx"}]},
        "must not contain control characters",
    ),
    (
        kinds.POD,
        "spec.securityContext",
        {"sysctls": [{"name": "net.ipv4/ip_forward", "value": "1"}]},
        None,
    ),
    (
        kinds.POD,
        "spec.securityContext",
        {"sysctls": [{"name": "net..x", "value": "1"}]},
        'sysctls[0].name: Invalid value: "net..x": must have at most 253',
    ),
    (
        kinds.POD,
        "spec.securityContext",
        {"sysctls": [{"name": "a;b", "value": "1"}]},
        'sysctls[0].name: Invalid value: "a;b"',
    ),
    (
        kinds.POD,
        "spec.securityContext",
        {"sysctls": [{"value": "1"}]},
        "sysctls[0].name: Required value",
    ),
    (
        kinds.POD,
        "spec.securityContext",
        {"sysctls": [{"name": "a.b"}, {"name": "a/b"}]},
        'sysctls[1].name: Duplicate value: "a/b"',
    ),
    (
        kinds.POD,
        "spec.securityContext",
        {"fsGroup": -1},
        "spec.securityContext.fsGroup: Invalid value: -1: must be between 0 and 2147483647",
    ),
    (
        kinds.POD,
        "spec.securityContext",
        {"supplementalGroups": [2**31]},
        "supplementalGroups[0]: Invalid value",
    ),
    (
        kinds.POD,
        f"{C}.securityContext",
        {"runAsUser": -1},
        "spec.containers[0].securityContext.runAsUser: Invalid value",
    ),
    (kinds.POD, "spec.runtimeClassName", "A_b", "spec.runtimeClassName: Invalid value"),
    (
        kinds.POD,
        f"{C}.command",
        ["a\0b"],
        'spec.containers[0].command[0]: Invalid value: "a\\u0000b": must not contain',
    ),
    (kinds.POD, f"{C}.args", ["a", "\0"], "spec.containers[0].args[1]: Invalid value"),
    (
        kinds.POD,
        f"{C}.env",
        [{"name": "A", "value": "\0"}],
        "spec.containers[0].env[0].value: Invalid value",
    ),
    (kinds.POD, "spec.hostNetwork", True, None),
    (
        kinds.DEPLOYMENT,
        "spec.selector",
        {"matchLabels": {}},
        "empty selector is invalid for deployment",
    ),
    (
        kinds.DEPLOYMENT,
        "spec.selector",
        {"matchLabels": {"x": "y"}},
        'labels: Invalid value: {"a":"b"}: `selector` does not match template `labels`',
    ),
    (
        kinds.DEPLOYMENT,
        "spec.replicas",
        -1,
        "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
    ),
    (
        kinds.DEPLOYMENT,
        f"{T}.spec.restartPolicy",
        "Never",
        'spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always"',
    ),
    (kinds.DEPLOYMENT, f"{T}.spec.containers", [], "spec.template.spec.containers: Required value"),
    (
        kinds.DEPLOYMENT,
        "spec.strategy.rollingUpdate",
        {"maxSurge": 0, "maxUnavailable": "0%"},
        "may not be 0 when `maxSurge` is 0",
    ),
    (
        kinds.DEPLOYMENT,
        "spec.strategy.rollingUpdate",
        {"maxSurge": "x", "maxUnavailable": 1},
        "a valid percent string must be a numeric string",
    ),
    (
        kinds.DEPLOYMENT,
        "spec.strategy.type",
        "Never",
        'spec.strategy: Unsupported value: {"Type":"Never",',
    ),
    (kinds.POD, "spec.volumes", [{"name": "x", "csi": {}}], "csi.driver: Required value"),
    (
        kinds.SERVICE,
        "spec.loadBalancerSourceRanges",
        ["192.0.2.0/24"],
        "spec.LoadBalancerSourceRanges: Forbidden: may only be used when `type` is 'LoadBalancer'",
    ),
    (kinds.DEPLOYMENT, "spec.progressDeadlineSeconds", 0, "must be greater than minReadySeconds"),
    (
        kinds.DAEMON_SET,
        "spec.updateStrategy.type",
        "Never",
        'spec.updateStrategy: Unsupported value: {"Type":"Never","RollingUpdate":{"MaxSurge":0,'
        '"MaxUnavailable":1}}: supported values: "RollingUpdate", "OnDelete"',
    ),
    (kinds.ENDPOINT_SLICE, "addressType", None, "addressType: Required value"),
    (kinds.ENDPOINT_SLICE, "addressType", "IPv6", "must be an IPv6 address"),
    (
        kinds.ENDPOINT_SLICE,
        "endpoints",
        [{"addresses": []}],
        "endpoints[0].addresses: Required value: must contain at least 1 address",
    ),
    (
        kinds.ENDPOINT_SLICE,
        "endpoints",
        [{"addresses": ["127.0.0.1"]}],
        "may not be in the loopback range",
    ),
    (
        kinds.ENDPOINT_SLICE,
        "endpoints",
        [{"addresses": ["192.0.2.1"]}] * 1001,
        "endpoints: Too many: 1001: must have at most 1000 items",
    ),
    (
        kinds.ENDPOINTS,
        "subsets",
        [{}],
        "subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`",
    ),
    (kinds.CONFIG_MAP, "data", {"a/b": "x"}, 'data[a/b]: Invalid value: "a/b": a valid config key'),
    (
        kinds.CONFIG_MAP,
        "data",
        {"a": "x" * 1_100_000},
        "Too long: may not be more than 1048576 bytes",
    ),
    (kinds.SECRET, "data", {"a": "!"}, "illegal base64 data"),
    (kinds.LEASE, "spec.leaseDurationSeconds", 0, "must be greater than 0"),
    (kinds.SERVICE, "metadata.name", "1a", None),
    (kinds.SERVICE, "metadata.name", "a.b", "must not contain dots"),
    (kinds.EVENT, "involvedObject", {"namespace": "default"}, None),
]


@pytest.mark.parametrize(
    ("kind", "path", "value", "message"),
    [pytest.param(*case, id=f"{case[0].name} {case[1]} {n}") for n, case in enumerate(CASES)],
)
def test_one_wrong_field(kind: Kind, path: str, value: Any, message: str | None):
    found = errors(kind, changed(kind, path, value))
    if message is None:
        assert found == []
    else:
        assert len(found) == 1, found
        assert message in found[0]


def test_all_errors_are_reported_at_once():
    wire = changed(kinds.POD, "spec.restartPolicy", "x")
    wire["spec"]["containers"] += [{"name": "c", "image": ""}]
    assert [error.partition(":")[0] for error in errors(kinds.POD, wire)] == [
        "spec.containers[1].image",
        "spec.containers[1].name",
        "spec.restartPolicy",
    ]


def update_errors(kind: Kind, new: dict[str, Any], old: dict[str, Any]) -> list[str]:
    parse = kind.model.model_validate
    return [str(error) for error in errors_in_update(kind, parse(new), parse(old))]


@pytest.mark.parametrize(
    ("path", "value", "allowed"),
    [
        (f"{C}.image", "other", True),
        ("metadata.labels", {"a": "b"}, True),
        ("spec.activeDeadlineSeconds", 5, True),
        ("spec.tolerations", [{"key": "a", "operator": "Exists"}], True),
        ("spec.nodeName", "n", False),
        (f"{C}.command", ["x"], False),
        ("spec.hostNetwork", True, False),
        ("spec.containers", [{"name": "x", "image": "y"}], False),
    ],
)
def test_a_pod_allows_few_changes(path: str, value: Any, allowed: bool):
    new = rules_of(kinds.POD).default(changed(kinds.POD, path, value))
    found = update_errors(kinds.POD, new, complete(kinds.POD))
    assert not found if allowed else "pod updates may not change fields other than" in found[0]


_MISMATCH = (
    'spec.template.metadata.labels: Invalid value: {"a":"b"}: `selector` does not match template'
    " `labels`"
)


@pytest.mark.parametrize(
    ("kind", "selector", "said"),
    [
        (kinds.DEPLOYMENT, None, ["spec.selector: Required value", _MISMATCH]),
        (kinds.STATEFUL_SET, None, ["spec.selector: Required value", _MISMATCH]),
        (kinds.DAEMON_SET, None, [_MISMATCH]),
        (
            kinds.DEPLOYMENT,
            {},
            ["spec.selector: Invalid value: {}: empty selector is invalid for deployment"],
        ),
        (
            kinds.DEPLOYMENT,
            {"matchExpressions": [{"key": "a", "operator": "X"}]},
            [
                'spec.selector.matchExpressions[0].operator: Invalid value: "X": not a valid'
                " selector operator",
                'spec.selector: Invalid value: {"matchExpressions":[{"key":"a","operator":"X"}]}:'
                " invalid label selector",
            ],
        ),
    ],
)
def test_wrong_selectors_of_workloads(kind: Kind, selector: Any, said: list[str]):
    assert errors(kind, changed(kind, "spec.selector", selector)) == said


def test_immutable_fields_cannot_change():
    selector = {"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "a", "operator": "Exists"}]}
    new = changed(kinds.DEPLOYMENT, "spec.selector", selector)
    (error,) = update_errors(kinds.DEPLOYMENT, new, complete(kinds.DEPLOYMENT))
    assert error.startswith("spec.selector: Invalid value: ")
    assert error.endswith(": field is immutable")
    slice_ = changed(kinds.ENDPOINT_SLICE, "addressType", "FQDN") | {"endpoints": []}
    (error,) = update_errors(kinds.ENDPOINT_SLICE, slice_, complete(kinds.ENDPOINT_SLICE))
    assert error == 'addressType: Invalid value: "FQDN": field is immutable'
    fixed = changed(kinds.CONFIG_MAP, "immutable", True)
    (error,) = update_errors(kinds.CONFIG_MAP, fixed | {"data": {"x": "y"}}, fixed)
    assert error == "data: Forbidden: field is immutable when `immutable` is set"
    node = changed(kinds.NODE, "spec", {"podCIDR": "10.0.0.0/24", "podCIDRs": ["10.0.0.0/24"]})
    other = changed(kinds.NODE, "spec", {"podCIDR": "10.0.1.0/24", "podCIDRs": ["10.0.1.0/24"]})
    assert update_errors(kinds.NODE, node, complete(kinds.NODE)) == []
    assert "spec.podCIDRs: Forbidden" in update_errors(kinds.NODE, other, node)[0]


@pytest.mark.parametrize(
    ("check", "good", "bad"),
    [
        (
            text.dns_label,
            ["a", "a-1", "1a", "a" * 63],
            ["", "A", "-a", "a-", "a.b", "a" * 64, "a\n"],
        ),
        (text.dns_subdomain, ["a", "a.b-c.d"], ["", "a..b", ".a", "a.", "A.b", "a\n"]),
        (text.dns_1035_label, ["a", "a1"], ["1a", "", "a.b", "a\n"]),
        (
            text.qualified_name,
            ["a", "A_b.c", "x.io/A", "a" * 63],
            ["", "/a", "a/", "a/b/c", "-a", "a\n"],
        ),
        (text.label_value, ["", "a", "A.b_c-d"], ["-", "a ", "a" * 64, "a\n"]),
        (text.port_name, ["http", "a-1"], ["", "1", "A", "a--b", "-a", "a" * 16, "a\n"]),
        (text.env_name, ["A", "_a.b-c", "1a", "a b", ".."], ["", "a=b", "a\n", "\u00e9"]),
        (text.config_key, ["a", ".a", "A_b-c.d"], ["", "a/b", ".", "..", "..a", "a\n"]),
        (
            text.ip,
            ["10.0.0.1", "fd00::1"],
            ["", "10.0.0.256", "10.0.0.01", "fe80::1%eth0", "x", "10.0.0.1\n"],
        ),
        (text.cidr, ["10.0.0.0/8", "fd00::/64"], ["10.0.0.1", "10.0.0.1/8", "x", "10.0.0.0/33"]),
    ],
)
def test_text(check: text.Check, good: list[str], bad: list[str]):
    assert [value for value in good if check(value)] == []
    assert [value for value in bad if not check(value)] == []
