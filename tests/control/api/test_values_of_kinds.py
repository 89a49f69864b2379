"""Values of kinds other than Pods that upstream refuses, each beside a neighbor that it takes.

Source of the messages and their fields: the validation packages of k8s.io/kubernetes.
"""

import base64
import copy
from typing import Any

import pytest

from control.api import kinds
from control.api.errors import errors_in, errors_in_update
from control.api.kinds import Kind
from control.api.rules import rules_of
from tests.support.control.objects import VALID, of

LABEL = "a valid label must be an empty string or consist of alphanumeric characters"
SUBDOMAIN = "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters"
QUALIFIED = "name part must consist of alphanumeric characters"
Fields = dict[str, Any]


def data(**content: str) -> Fields:
    """Return a Secret's data; the keys have underscores for dots."""
    return {
        "data": {
            key.replace("_", "."): base64.b64encode(text.encode()).decode()
            for key, text in content.items()
        }
    }


def secret(kind: str, **content: str) -> Fields:
    return {"type": f"kubernetes.io/{kind}"} | data(**content)


def endpoint(address: str = "192.0.2.1", **extra: Any) -> Fields:
    return {"endpoints": [{"addresses": [address]} | extra]}


def zones(*names: str) -> Fields:
    return endpoint(hints={"forZones": [{"name": name} for name in names]})


def nodes(*names: str) -> Fields:
    return endpoint(hints={"forNodes": [{"name": name} for name in names]})


def full_name(name: str) -> Fields:
    return {"addressType": "FQDN"} | endpoint(name)


def cidrs(*values: str) -> Fields:
    return {"spec": {"podCIDR": values[0], "podCIDRs": [*values]}}


def taint(**fields: str) -> Fields:
    return {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"} | fields]}}


def event(**extra: Any) -> Fields:
    return {
        "involvedObject": {"namespace": "default"},
        "eventTime": "2026-01-02T03:04:05.000000Z",
        "reportingComponent": "a/b",
        "reportingInstance": "c",
        "action": "d",
        "reason": "e",
    } | extra


def job(**extra: Any) -> Fields:
    return {"spec": VALID["Job"]["spec"] | extra}


INDEXED = {"completionMode": "Indexed", "completions": 10}


def named(name: str, **extra: Any) -> Fields:
    return job(**extra) | {"metadata": {"name": name, "namespace": "default"}}


def failing(**rule: Any) -> Fields:
    return job(podFailurePolicy={"rules": [{"action": "Ignore"} | rule]})


def codes(**extra: Any) -> Fields:
    return failing(onExitCodes={"operator": "In", "values": [1]} | extra)


def condition(**fields: str) -> Fields:
    return failing(onPodConditions=[fields])


CASES: list[tuple[Kind, Fields, tuple[str, ...], Fields]] = [
    (
        kinds.SECRET,
        secret("tls", tls_crt="a"),
        ("data[tls.key]: Required value",),
        secret("tls", tls_crt="", tls_key=""),
    ),
    (
        kinds.SECRET,
        secret("basic-auth", user="a"),
        ("data[username]: Required value", "data[password]: Required value"),
        secret("basic-auth", password="a"),
    ),
    (
        kinds.SECRET,
        {"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}},
        ("data[ssh-privatekey]: Required value",),
        {"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": "eA=="}},
    ),
    (
        kinds.SECRET,
        secret("dockercfg"),
        ("data[.dockercfg]: Required value",),
        secret("dockercfg", _dockercfg="{}"),
    ),
    (
        kinds.SECRET,
        secret("dockerconfigjson", _dockerconfigjson=""),
        (
            'data[.dockerconfigjson]: Invalid value: "<secret contents redacted>":'
            " unexpected end of JSON input",
        ),
        secret("dockerconfigjson", _dockerconfigjson='{"auths": {}}'),
    ),
    (
        kinds.SECRET,
        secret("dockerconfigjson", _dockerconfigjson="[]"),
        ('data[.dockerconfigjson]: Invalid value: "<secret contents redacted>": json: cannot',),
        secret("unheard-of", _dockerconfigjson="[]"),
    ),
    (
        kinds.SECRET,
        data(big="x" * (2**20 + 1)),
        ("data: Too long: may not be more than 1048576 bytes",),
        data(big="x" * (2**20 - 1)),  # beside the "b" of VALID
    ),
    (
        kinds.CONFIG_MAP,
        {"binaryData": data(big="x" * (2**20 + 1))["data"]},
        (": Too long: may not be more than 1048576 bytes",),
        {"binaryData": data(big="x" * 2**20)["data"]},
    ),
    (
        kinds.NODE,
        cidrs("192.0.2.0/25", "192.0.2.128/25"),
        ("spec.podCIDRs: Invalid value: [", "may specify no more than one CIDR for each IP family"),
        cidrs("192.0.2.0/25", "2001:db8::/64"),
    ),
    (
        kinds.NODE,
        {"status": {"capacity": {"cpu": "-1"}}},
        ('status.capacity.cpu: Invalid value: "-1": must be greater than or equal to 0',),
        {"status": {"capacity": {"cpu": "100m"}}},
    ),
    (
        kinds.NODE,
        {"status": {"allocatable": {"acme.io/a": "1500m"}}},
        ('status.allocatable.acme.io/a: Invalid value: "1500m": must be an integer',),
        {"status": {"allocatable": {"acme.io/a": "2"}}},
    ),
    (kinds.NODE, taint(effect=""), ("metadata.taints[0].effect: Required value",), taint()),
    (kinds.NODE, taint(value="-"), ("metadata.taints[0].value: Invalid", LABEL), taint(value="")),
    (
        kinds.EVENT,
        {"involvedObject": {"namespace": "other"}},
        ('involvedObject.namespace: Invalid value: "other": does not match event.namespace',),
        {"involvedObject": {"kind": "Node", "name": "n"}},
    ),
    (kinds.EVENT, event(reason=""), ("reason: Required value",), event()),
    (
        kinds.EVENT,
        event(reportingComponent=""),
        ("reportingComponent: Required value", "reportingComponent: Invalid value"),
        {"involvedObject": {"namespace": "default"}, "reportingComponent": ""},
    ),
    (
        kinds.EVENT,
        event(action="x" * 129),
        ('action: Invalid value: "": can have at most 128 characters',),
        event(action="x" * 128),
    ),
    (
        kinds.EVENT,
        event(message="x" * 1025),
        ('message: Invalid value: "": can have at most 1024 characters',),
        event(message="x" * 1024),
    ),
    (
        kinds.CONTROLLER_REVISION,
        {"data": {}, "revision": -1},
        ("revision: Invalid value: -1: must be greater than or equal to 0",),
        {"data": {}, "revision": 0},
    ),
    (
        kinds.CONTROLLER_REVISION,
        {"data": None, "revision": 1},
        ("data: Required value: data is mandatory",),
        {"data": {"a": 1}, "revision": 1},
    ),
    (
        kinds.ENDPOINT_SLICE,
        zones("a", "a"),
        ('endpoints[0].hints.forZones[1].name: Duplicate value: "a"',),
        zones("a", "b"),
    ),
    (
        kinds.ENDPOINT_SLICE,
        zones(*"abcdefghi"),
        ("endpoints[0].hints.forZones: Too many: 9: must have at most 8 items",),
        zones(*"abcdefgh"),
    ),
    (
        kinds.ENDPOINT_SLICE,
        zones("a b"),
        ('endpoints[0].hints.forZones[0].name: Invalid value: "a b"', LABEL),
        zones("A_b"),
    ),
    (
        kinds.ENDPOINT_SLICE,
        nodes("A"),
        ('endpoints[0].hints.forNodes[0].name: Invalid value: "A"', SUBDOMAIN),
        nodes("a.b"),
    ),
    (
        kinds.ENDPOINT_SLICE,
        endpoint(nodeName=""),
        ('endpoints[0].nodeName: Invalid value: ""', SUBDOMAIN),
        endpoint(nodeName="n"),
    ),
    (
        kinds.ENDPOINT_SLICE,
        {"ports": [{"port": 1, "appProtocol": "a b"}]},
        ('ports[0].appProtocol: Invalid value: "a b"', QUALIFIED),
        {"ports": [{"port": 1, "appProtocol": "acme.io/a"}]},
    ),
    (
        kinds.ENDPOINT_SLICE,
        full_name("a"),
        ('endpoints[0].addresses[0]: Invalid value: "a": should be a domain with at least two',),
        full_name("a.b."),
    ),
    (
        kinds.JOB,
        job(managedBy="acme.io"),
        ("spec.managedBy: Invalid value", 'must be a domain-prefixed path (such as "acme.io/foo")'),
        job(managedBy="acme.io/a/b"),
    ),
    (
        kinds.JOB,
        job(managedBy="acme.io/" + "a" * 56),
        ("spec.managedBy: Too long: may not be more than 63 bytes",),
        job(managedBy="acme.io/" + "a" * 55),
    ),
    (
        kinds.JOB,
        codes(containerName="other"),
        (
            "spec.podFailurePolicy.rules[0].onExitCodes.containerName: Invalid value",
            "must be one of the container or initContainer names in the pod template",
        ),
        codes(containerName="c"),
    ),
    (
        kinds.JOB,
        condition(type="a b", status="True"),
        ("spec.podFailurePolicy.rules[0].onPodConditions[0].type: Invalid value", QUALIFIED),
        condition(type="acme.io/a", status="True"),
    ),
    (
        kinds.JOB,
        condition(type="a", status="Maybe"),
        (
            "spec.podFailurePolicy.rules[0].onPodConditions[0].status: Unsupported value:"
            ' "Maybe": supported values: "False", "True", "Unknown"',
        ),
        condition(type="a"),
    ),
    (
        kinds.JOB,
        named("a.b", **INDEXED),
        ('metadata.name: Invalid value: "a.b": will not able to create pod with invalid DNS',),
        named("a.b"),
    ),
    (
        kinds.JOB,
        named("a" * 61, **INDEXED | {"completions": 11}),
        ("label: " + "a" * 61 + "-10",),
        named("a" * 61, **INDEXED),
    ),
]
IDS = [f"{case[0].name} {case[2][0].partition(':')[0]} {at}" for at, case in enumerate(CASES)]


def made(kind: Kind, fields: Fields) -> Fields:
    wire = of(kind, **copy.deepcopy(VALID.get(kind.name, {}) | fields))
    if not kind.namespaced:
        del wire["metadata"]["namespace"]
    return rules_of(kind).default(wire)


def errors(kind: Kind, fields: Fields) -> list[str]:
    return [str(error) for error in errors_in(kind, kind.model.model_validate(made(kind, fields)))]


@pytest.mark.parametrize(("kind", "refused", "whys", "taken"), CASES, ids=IDS)
def test_a_value_is_refused_as_upstream(
    kind: Kind, refused: Fields, whys: tuple[str, ...], taken: Fields
):
    found = "\n".join(errors(kind, refused))
    assert found, "taken"
    for why in whys:
        assert why in found


@pytest.mark.parametrize(("kind", "refused", "whys", "taken"), CASES, ids=IDS)
def test_its_neighbor_is_taken(kind: Kind, refused: Fields, whys: tuple[str, ...], taken: Fields):
    assert errors(kind, taken) == []


def updated(kind: Kind, new: Fields, old: Fields) -> list[str]:
    before, after = (kind.model.model_validate(made(kind, fields)) for fields in (old, new))
    return [str(error) for error in errors_in_update(kind, after, before)]


def test_a_wrong_value_that_is_stored_may_stay_beside_a_change():
    assert updated(kinds.SECRET, secret("tls", tls_crt="b"), secret("tls", tls_crt="a")) == []


def test_what_a_revision_holds_does_not_change():
    old, new = {"data": {"a": 1}, "revision": 1}, {"data": {"a": 2}, "revision": 1}
    assert "field is immutable" in updated(kinds.CONTROLLER_REVISION, new, old)[0]
    assert updated(kinds.CONTROLLER_REVISION, old | {"revision": 2}, old) == []


def test_addresses_of_a_node_are_told_apart():
    kind, one = kinds.NODE, {"type": "InternalIP", "address": "192.0.2.1"}
    validate = rules_of(kind).validate_status
    for addresses, whys in (
        ([one, one], ["status.addresses[1]: Duplicate value"]),
        ([one, one | {"type": "ExternalIP"}], []),
    ):
        node = kind.model.model_validate(made(kind, {"status": {"addresses": addresses}}))
        found = [str(error) for error in validate(node)]
        assert len(found) == len(whys)
        assert all(why in error for why, error in zip(whys, found, strict=True))


def test_topology_of_old_clients_is_dropped():
    wire = made(kinds.ENDPOINT_SLICE, endpoint(deprecatedTopology={"a": "b"}))
    assert wire["endpoints"] == [{"addresses": ["192.0.2.1"]}]
