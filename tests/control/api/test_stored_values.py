"""Values of stored kinds that upstream refuses, each beside a neighbor that it takes.

Source of the messages and their fields: the validation packages of k8s.io/kubernetes.
"""

import copy
from typing import Any

import pytest

from control.api import kinds
from control.api.errors import errors_in, errors_in_new, errors_in_update
from control.api.kinds import Kind
from control.api.rules import rules_of
from tests.support.control.objects import VALID, containers, of

Fields = dict[str, Any]

BY_NAME = {kind.name: kind for kind in kinds.KINDS}
INGRESS, INGRESS_CLASS = BY_NAME["Ingress"], BY_NAME["IngressClass"]
RANGES, ADDRESS = BY_NAME["ServiceCIDR"], BY_NAME["IPAddress"]
TEMPLATE, CONTROLLER = BY_NAME["PodTemplate"], BY_NAME["ReplicationController"]
RUNTIME = BY_NAME["RuntimeClass"]


def spec(**fields: Any) -> Fields:
    return {"spec": fields}


def backend(**fields: Any) -> Fields:
    return {"service": {"name": "web", "port": {"number": 80}}} | fields


def ingress(**rule: Any) -> Fields:
    return spec(rules=[rule])


def path(**fields: Any) -> Fields:
    whole = {"path": "/", "pathType": "Prefix", "backend": backend()} | fields
    return ingress(http={"paths": [{k: v for k, v in whole.items() if v is not None}]})


def port(**fields: Any) -> Fields:
    return path(backend={"service": {"name": "web", "port": fields}})


def parameters(**fields: Any) -> Fields:
    reference = {"kind": "K", "name": "n", "scope": "Cluster"} | fields
    return spec(controller="x.example/a", parameters=reference)


def parent(**fields: Any) -> Fields:
    return spec(parentRef={"resource": "services", "name": "web"} | fields)


def address(name: str) -> Fields:
    return {"metadata": {"name": name}}


def controller(**fields: Any) -> Fields:
    return spec(**VALID["ReplicationController"]["spec"] | fields)


def pods(**fields: Any) -> Fields:
    return {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers()} | fields}


VALID_PATHS = [{"path": "/", "pathType": "Prefix", "backend": backend()}]
P = "spec.rules[0].http.paths[0]"
CASES: list[tuple[Kind, Fields, tuple[str, ...], Fields]] = [
    (
        INGRESS,
        {"spec": {}},
        ("spec: Invalid value: []: either `defaultBackend` or `rules` must be specified",),
        spec(defaultBackend=backend()),
    ),
    (
        INGRESS,
        ingress(host="192.0.2.1"),
        ('spec.rules[0].host: Invalid value: "192.0.2.1": must be a DNS name, not an IP address',),
        ingress(host="a.example"),
    ),
    (
        INGRESS,
        ingress(host="*.*.example"),
        ('spec.rules[0].host: Invalid value: "*.*.example": a wildcard DNS-1123 subdomain',),
        ingress(host="*.a.example"),
    ),
    (
        INGRESS,
        ingress(http={}),
        ("spec.rules[0].http.paths: Required value",),
        ingress(http={"paths": VALID_PATHS}),
    ),
    (INGRESS, path(pathType=None), (f"{P}.pathType: Required value",), path(pathType="Exact")),
    (
        INGRESS,
        path(pathType="Regex"),
        (f'{P}.pathType: Unsupported value: "Regex": supported values: "Exact",',),
        path(pathType="ImplementationSpecific", path=None),
    ),
    (
        INGRESS,
        path(path="a"),
        (f'{P}.path: Invalid value: "a": must be an absolute path',),
        path(path="/a"),
    ),
    (
        INGRESS,
        path(path="/a//%2F/.."),
        ("must not contain '//'", "must not contain '%2F'", "cannot end with '/..'"),
        path(path="/a//", pathType="ImplementationSpecific"),
    ),
    (
        INGRESS,
        path(backend={}),
        (f'{P}.backend: Invalid value: "": resource or service backend is required',),
        path(backend={"resource": {"kind": "K", "name": "n"}}),
    ),
    (
        INGRESS,
        path(backend=backend(resource={"kind": "K", "name": "n"})),
        ("cannot set both resource and service backends",),
        path(),
    ),
    (
        INGRESS,
        path(backend={"resource": {"apiGroup": "A", "name": "a/b"}}),
        (
            f'{P}.backend.resource.apiGroup: Invalid value: "A"',
            f"{P}.backend.resource.kind: Required value",
            f"{P}.backend.resource.name: Invalid value: \"a/b\": may not contain '/'",
        ),
        path(backend={"resource": {"apiGroup": "a", "kind": "K", "name": "a.b"}}),
    ),
    (
        INGRESS,
        port(),
        (f"{P}.backend: Required value: port name or number is required",),
        port(name="http"),
    ),
    (
        INGRESS,
        port(name="http", number=80),
        ("cannot set both port name & port number",),
        port(number=80),
    ),
    (
        INGRESS,
        port(number=70000),
        (f"{P}.backend.service.port.number: Invalid value: 70000: must be between 1 and",),
        port(number=65535),
    ),
    (
        INGRESS,
        spec(rules=[{}], tls=[{"hosts": ["A"], "secretName": "B"}], ingressClassName="C"),
        (
            'spec.tls[0].hosts[0]: Invalid value: "A"',
            'spec.tls[0].secretName: Invalid value: "B"',
            'spec.ingressClassName: Invalid value: "C"',
        ),
        spec(rules=[{}], tls=[{"hosts": ["*.a.b"], "secretName": ""}], ingressClassName="c"),
    ),
    (INGRESS_CLASS, {"spec": {}}, ("spec.controller: Required value",), {}),
    (
        INGRESS_CLASS,
        spec(controller="a"),
        ('spec.controller: Invalid value: "a": must be a domain-prefixed path',),
        spec(controller="a/b"),
    ),
    (
        INGRESS_CLASS,
        spec(controller="a/" + "b" * 249),
        ("spec.controller: Too long: may not be more than 250 bytes",),
        spec(controller="a/" + "b" * 248),
    ),
    (
        INGRESS_CLASS,
        parameters(namespace="n"),
        ("spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'",),
        parameters(namespace="n", scope="Namespace"),
    ),
    (
        INGRESS_CLASS,
        parameters(scope="Namespace"),
        ("spec.parameters.namespace: Required value: `parameters.scope` is set to",),
        parameters(),
    ),
    (
        INGRESS_CLASS,
        parameters(scope="x"),
        ('spec.parameters.scope: Unsupported value: "x": supported values: "Cluster",',),
        parameters(),
    ),
    (RANGES, {"spec": {}}, ("spec.cidrs: Required value: at least one CIDR required",), {}),
    (
        RANGES,
        spec(cidrs=["192.0.2.0/24", "198.51.100.0/24"]),
        ("may specify no more than one IP for each IP family",),
        spec(cidrs=["192.0.2.0/24", "2001:db8::/64"]),
    ),
    (
        RANGES,
        spec(cidrs=["192.0.2.1/24", "2001:DB8::/64"]),
        (
            'spec.cidrs[0]: Invalid value: "192.0.2.1/24"',
            'spec.cidrs[1]: Invalid value: "2001:DB8::/64": must be in canonical form',
        ),
        spec(cidrs=["2001:db8::/64", "192.0.2.0/24"]),
    ),
    (
        RANGES,
        spec(cidrs=["192.0.2.0/24"] * 3),
        ("may only hold up to 2 values",),
        spec(cidrs=["192.0.2.0/24"]),
    ),
    (ADDRESS, {"spec": {}}, ("spec.parentRef: Required value",), parent()),
    (
        ADDRESS,
        parent(resource="", name="a/b"),
        ("spec.parentRef.resource: Required value", "spec.parentRef.name: Invalid value"),
        parent(namespace="n"),
    ),
    (
        ADDRESS,
        address("2001:DB8::1"),
        ('metadata.name: Invalid value: "2001:DB8::1": must be in canonical form',),
        address("2001:db8::1"),
    ),
    (
        ADDRESS,
        address("::ffff:192.0.2.1"),
        ("must not be an IPv4-mapped IPv6 address",),
        address("192.0.2.1"),
    ),
    (
        TEMPLATE,
        {"template": pods(containers=[])},
        ("template.spec.containers: Required value",),
        {"template": pods(restartPolicy="Never")},
    ),
    (
        TEMPLATE,
        {"template": pods(ephemeralContainers=containers(name="e"))},
        ("ephemeralContainers: Forbidden: ephemeral containers not allowed in pod template",),
        {"template": pods()},
    ),
    (
        CONTROLLER,
        controller(replicas=-1, selector={"a": "c"}),
        (
            "spec.replicas: Invalid value: -1: must be greater than or equal to 0",
            "spec.template.metadata.labels: Invalid value",
        ),
        controller(replicas=0),
    ),
    (
        CONTROLLER,
        {"spec": {"selector": {"a": "b"}}},
        ("spec.template: Required value",),
        controller(),
    ),
    (
        CONTROLLER,
        controller(template=pods(restartPolicy="Never", activeDeadlineSeconds=1)),
        (
            'spec.template.spec.restartPolicy: Unsupported value: "Never"',
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in",
        ),
        controller(minReadySeconds=1),
    ),
    (RUNTIME, {"handler": ""}, ('handler: Invalid value: ""',), {"handler": "gvisor"}),
    (
        RUNTIME,
        {"overhead": {"podFixed": {"gpu": "1"}}},
        ("overhead.limits[gpu]: Invalid value",),
        {"overhead": {"podFixed": {"cpu": "1"}}},
    ),
    (
        RUNTIME,
        {"scheduling": {"nodeSelector": {"a": "b c"}, "tolerations": [{"operator": "x"}]}},
        ("scheduling.nodeSelector: Invalid value", "scheduling.tolerations[0].operator: Invalid"),
        {"scheduling": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]}},
    ),
]
IDS = [f"{case[0].name} {case[2][0].partition(':')[0]} {at}" for at, case in enumerate(CASES)]


def made(kind: Kind, fields: Fields) -> Any:
    wire = of(kind, **copy.deepcopy(VALID[kind.name] | fields))
    if not kind.namespaced:
        wire["metadata"].pop("namespace", None)
    return kind.model.model_validate(rules_of(kind).default(wire))


def errors(kind: Kind, fields: Fields) -> list[str]:
    return [str(error) for error in errors_in(kind, made(kind, fields))]


@pytest.mark.parametrize(("kind", "refused", "whys", "taken"), CASES, ids=IDS)
def test_a_value_is_refused_as_upstream_and_its_neighbor_is_taken(
    kind: Kind, refused: Fields, whys: tuple[str, ...], taken: Fields
):
    found = "\n".join(errors(kind, refused))
    for why in whys:
        assert why in found
    assert errors(kind, taken) == []


@pytest.mark.parametrize(
    ("kind", "old", "new", "why"),
    [
        (INGRESS_CLASS, spec(controller="a/b"), spec(controller="a/c"), "spec.controller"),
        (RUNTIME, {"handler": "a"}, {"handler": "b"}, "handler"),
        (ADDRESS, parent(), parent(name="other"), "spec.parentRef"),
        (RANGES, spec(cidrs=["192.0.2.0/24"]), spec(cidrs=["198.51.100.0/24"]), "spec.cidrs[0]"),
        (
            RANGES,
            spec(cidrs=["192.0.2.0/24", "2001:db8::/64"]),
            spec(cidrs=["192.0.2.0/24"]),
            "spec.cidrs",
        ),
    ],
)
def test_what_may_not_change(kind: Kind, old: Fields, new: Fields, why: str):
    before, after = made(kind, old), made(kind, new)
    (error,) = errors_in_update(kind, after, before)
    assert str(error).startswith(f"{why}: Invalid value") and "immutable" in str(error)
    assert errors_in_update(kind, before, before) == []


def test_a_second_range_may_come_beside_the_first():
    one, two = spec(cidrs=["192.0.2.0/24"]), spec(cidrs=["192.0.2.0/24", "2001:db8::/64"])
    assert errors_in_update(RANGES, made(RANGES, two), made(RANGES, one)) == []


def test_a_new_ingress_has_one_class():
    noted = {"metadata": {"name": "x", "annotations": {"kubernetes.io/ingress.class": "a"}}}
    noted["metadata"]["namespace"] = "default"
    for named, whys in (("a", 0), ("b", 1)):
        new = made(INGRESS, noted | spec(rules=[{}], ingressClassName=named))
        assert len(errors_in_new(INGRESS, new)) == whys


@pytest.mark.parametrize(
    ("kind", "status", "whys"),
    [
        (INGRESS, {"loadBalancer": {"ingress": [{"ip": "x"}]}}, ["must be a valid IP address"]),
        (INGRESS, {"loadBalancer": {"ingress": [{"hostname": "192.0.2.1"}]}}, ["not an IP addr"]),
        (INGRESS, {"loadBalancer": {"ingress": [{"hostname": "a.b", "ip": "::1"}]}}, []),
        (CONTROLLER, {"replicas": 1, "readyReplicas": 2}, ["greater than status.replicas"]),
        (CONTROLLER, {"replicas": 2, "availableReplicas": 1}, ["greater than readyReplicas"]),
        (CONTROLLER, {"replicas": -1}, ["greater than or equal to 0", *["than status.rep"] * 3]),
        (CONTROLLER, {"replicas": 2, "readyReplicas": 2, "availableReplicas": 2}, []),
    ],
)
def test_a_wrong_status_is_refused(kind: Kind, status: Fields, whys: list[str]):
    found = rules_of(kind).validate_status(made(kind, {"status": status}))
    assert len(found) == len(whys)
    assert all(why in str(error) for error, why in zip(found, whys, strict=True))
