"""A PUT creates an object of the kinds that upstream lets, for users who may create it."""

import pytest

from control.server.verbs.update import _CREATED
from tests.support.control.requests import CORE, Api, config_map, service

LEASES = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
MINE = f"{RBAC}/namespaces/default"
ROLE_REF = {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "view"}
EVENT = {"involvedObject": {"kind": "Pod", "namespace": "default", "name": "p"}}


@pytest.mark.parametrize(
    ("path", "wanted"),
    [
        (f"{LEASES}/a", {"spec": {"holderIdentity": "me"}}),
        (f"{CORE}/endpoints/a", {}),
        (f"{CORE}/events/a", EVENT),
        (f"{CORE}/services/a", service("a")),
        (f"{MINE}/roles/a", {"rules": []}),
        (f"{MINE}/rolebindings/a", {"roleRef": ROLE_REF}),
        (f"{RBAC}/clusterroles/a", {"rules": []}),
        (f"{RBAC}/clusterrolebindings/a", {"roleRef": ROLE_REF}),
    ],
)
async def test_a_put_creates(api: Api, path: str, wanted: dict[str, object]):
    wanted = wanted | {"metadata": {"name": "a", "labels": {"app": "x"}}}
    dry = await api("PUT", f"{path}?dryRun=All", wanted)
    assert dry.code == 201 and (await api("GET", path)).code == 404
    made = await api("PUT", path, wanted)
    assert made.code == 201, made
    assert made["metadata"]["name"] == "a" and made["metadata"]["uid"]
    assert [entry["operation"] for entry in made["metadata"]["managedFields"]] == ["Update"]
    assert (await api("PUT", path, made.body)).code == 200
    assert (await api("GET", path)).body == made.body


async def test_a_put_of_another_kind_creates_nothing(api: Api):
    for path, wanted in (
        (f"{CORE}/configmaps/a", config_map()),
        (f"{LEASES}/a/status", {}),
    ):
        reply = await api("PUT", path, wanted)
        assert reply.code == 404
    assert ("", "ConfigMap") not in _CREATED


async def test_a_put_creates_whatever_its_resource_version(api: Api):
    """A leader that lost its Lease writes it anew: upstream ignores the version, not the uid."""
    metadata = {"name": "a", "resourceVersion": "7"}
    made = await api("PUT", f"{LEASES}/a", {"metadata": metadata})
    assert made.code == 201 and made["metadata"]["resourceVersion"] != "7"
    refused = await api("PUT", f"{LEASES}/b", {"metadata": {"name": "b", "uid": "u"}})
    assert (refused.code, refused["reason"]) == (409, "Conflict")
    assert "UID in precondition: u, UID in object meta: " in refused["message"]
    other = await api("PUT", f"{LEASES}/b", {"metadata": {"name": "c"}})
    assert (other.code, other["reason"]) == (400, "BadRequest")
    assert (await api("GET", f"{LEASES}/b")).code == 404
    lost = await api("PUT", "/apis/coordination.k8s.io/v1/namespaces/none/leases/a", {})
    assert lost.code == 404 and 'namespaces "none" not found' in lost["message"]
