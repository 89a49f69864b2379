"""The definition of ClusterNetworkPolicy among the examples: what the API server refuses by it."""

import copy

import yaml

from tests.support.control.definitions import DEFINITIONS, is_established, until
from tests.support.control.requests import Api
from tests.support.e2e.harness import CHECKOUT

POLICIES = "/apis/policy.networking.k8s.io/v1alpha2/clusternetworkpolicies"
FOLDER = CHECKOUT / "examples/policy"
PORT = {"tcp": {"destinationPort": {"number": 80}}}
BOTH = {"number": 80, "range": {"start": 1, "end": 2}}

# Where the value goes in a policy that is right, the value, and the field that is refused.
REFUSED = {
    "a tier": (("tier",), "Middle", "spec.tier"),
    "no tier": (("tier",), None, "spec.tier"),
    "a priority": (("priority",), 1001, "spec.priority"),
    "a negative priority": (("priority",), -1, "spec.priority"),
    "no subject": (("subject",), {}, "spec.subject"),
    "two subjects": (("subject",), {"namespaces": {}, "pods": {"podSelector": {}}}, "spec.subject"),
    "an action": (("ingress", 0, "action"), "Allow", "spec.ingress[0].action"),
    "no peers": (("ingress", 0, "from"), [], "spec.ingress[0].from"),
    "too many peers": (("ingress", 0, "from"), [{"namespaces": {}}] * 26, "spec.ingress[0].from"),
    "a long name": (("ingress", 0, "name"), "n" * 101, "spec.ingress[0].name"),
    "too many rules": (
        ("ingress",),
        [{"action": "Deny", "from": [{"namespaces": {}}]}] * 26,
        "spec",
    ),
    "a port": (
        ("ingress", 0, "protocols"),
        [{"udp": {"destinationPort": {"number": 0}}}],
        "spec.ingress[0].protocols[0].udp.destinationPort.number",
    ),
    "a number and a range": (
        ("ingress", 0, "protocols"),
        [{"udp": {"destinationPort": BOTH}}],
        "spec.ingress[0].protocols[0].udp.destinationPort",
    ),
    "two protocols": (
        ("ingress", 0, "protocols"),
        [PORT | {"destinationNamedPort": "http"}],
        "spec.ingress[0].protocols[0]",
    ),
}


def documents(name: str) -> list[dict]:
    return [*yaml.safe_load_all((FOLDER / name).read_text())]


async def test_the_examples_of_cluster_policies_are_served(api: Api) -> None:
    (definition,) = documents("cluster-definition.yaml")
    await api.make(DEFINITIONS, definition)
    at = f"{DEFINITIONS}/{definition['metadata']['name']}"
    await until(api, at, is_established)
    policies = documents("cluster.yaml")
    for one in policies:
        made = await api.make(POLICIES, one)
        assert made["spec"] == one["spec"]
    for row, (path, value, field) in REFUSED.items():
        answer = await api("POST", POLICIES, _changed(policies[0], path, value))
        assert (row, answer.code) == (row, 422), answer.body
        assert field in answer["message"], row
    unknown = _changed(policies[0], ("ingress", 0, "from"), [{"nodes": {}}])
    assert (await api("POST", POLICIES, unknown)).code == 422


def _changed(policy: dict, path: tuple, value: object) -> dict:
    made = copy.deepcopy(policy)
    made["metadata"]["name"] = "other"
    at = made["spec"]
    for part in path[:-1]:
        at = at[part]
    if value is None:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return made
