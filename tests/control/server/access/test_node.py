"""What a node's identity may do: its own Node, its own Pods, and what those name."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from control.tokens import TokenSigner
from tests.support.control.guarded import Guarded, guarded_server
from tests.support.control.requests import CORE, MERGE, STRATEGIC, config_map, pod

NODE1, NODE2 = "system:node:node1", "system:node:node2"
LEASES = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases"
OWN_PODS = "/api/v1/pods?fieldSelector=spec.nodeName%3D"
NOT_RELATED = "no relationship found between node 'node2' and this object"


@pytest.fixture
async def server() -> AsyncIterator[Guarded]:
    signer = TokenSigner(ec.generate_private_key(ec.SECP256R1()))
    async with guarded_server("Node", "RBAC", tokens=signer) as made:
        for name in ("node1", "node2"):
            await made.make("/api/v1/nodes", {"metadata": {"name": name}}, f"system:node:{name}")
        yield made


def secret(name: str) -> dict[str, Any]:
    return {"metadata": {"name": name}, "stringData": {"a": "b"}}


async def patch(server: Guarded, user: str, path: str, change: Any, media: str = MERGE) -> int:
    reply = await server.api("PATCH", path, change, media, Authorization=f"Bearer {user}")
    return reply.code


REVIEWS = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
OWN = {"key": "spec.nodeName", "operator": "In", "values": ["node1"]}


# What a list of all Pods is selected by, whether node1 may, and what could not be asked about.
SELECTED: dict[str, tuple[Any, bool, str]] = {
    "nothing": (None, False, ""),
    "its own": ({"rawSelector": "spec.nodeName=node1"}, True, ""),
    "another's": ({"rawSelector": "spec.nodeName=node2"}, False, ""),
    "no selector": ({"rawSelector": "spec.nodeName"}, False, "ignored due to parse error"),
    "requirements": ({"requirements": [OWN]}, True, ""),
    "not its own": ({"requirements": [OWN | {"operator": "NotIn"}]}, False, ""),
    "two values": (
        {"requirements": [OWN | {"values": ["node1", "node2"]}]},
        False,
        "ignored due to parse error",
    ),
    "one that is unknown": (
        {"requirements": [OWN, {"key": "x", "operator": "Near"}]},
        True,
        "partially ignored due to parse error",
    ),
    "one slipped in by a key": (
        {"requirements": [OWN | {"key": "a=b,spec.nodeName"}]},
        False,
        "ignored due to parse error",
    ),
    "one slipped in by a value": (
        {"requirements": [{"key": "a", "operator": "In", "values": ["b,spec.nodeName=node1"]}]},
        False,
        "",
    ),
}


@pytest.mark.parametrize(("selector", "allowed", "wrong"), SELECTED.values(), ids=SELECTED)
async def test_a_review_asks_about_selected_objects(
    server: Guarded, selector: Any, allowed: bool, wrong: str
) -> None:
    asked = {"verb": "list", "resource": "pods", "version": "v1"}
    asked |= {"fieldSelector": selector} if selector else {}
    spec = {"user": NODE1, "groups": ["system:nodes"], "resourceAttributes": asked}
    status = (await server("root", "POST", REVIEWS, {"spec": spec}))["status"]
    assert status["allowed"] is allowed
    said = f"spec.resourceAttributes.fieldSelector {wrong}" if wrong else ""
    assert status.get("evaluationError", "") == said


REFUSED = [
    ({"fieldSelector": {}}, "fieldSelector.requirements: Required value: when spec.resource"),
    (
        {"labelSelector": {"rawSelector": "a", "requirements": [{"key": "a", "operator": "In"}]}},
        'labelSelector.rawSelector: Invalid value: "a": may not specified at the same time as',
    ),
    (
        {"fieldSelector": {"requirements": [{"operator": "Exists"}]}},
        "fieldSelector.requirements[0].key: Required value: must be specified",
    ),
    (
        {"labelSelector": {"requirements": [{"key": "a", "operator": "In"}]}},
        "labelSelector.requirements[0].values: Required value: must be specified when `operator`",
    ),
    (
        {"fieldSelector": {"requirements": [{"key": "a", "operator": "Exists", "values": ["b"]}]}},
        "fieldSelector.requirements[0].values: Forbidden: may not be specified when `operator`",
    ),
]


@pytest.mark.parametrize(("given", "said"), REFUSED)
async def test_a_wrong_selector_of_a_review_is_refused(
    server: Guarded, given: Any, said: str
) -> None:
    spec = {"user": "x", "resourceAttributes": {"verb": "list", "resource": "pods"} | given}
    refused = await server("root", "POST", REVIEWS, {"spec": spec})
    head = 'SubjectAccessReview.authorization.k8s.io "" is invalid'
    assert (refused.code, refused["message"].startswith(head)) == (422, True)
    assert f"spec.resourceAttributes.{said}" in refused["message"]


NAMING = [
    {"volumes": [{"name": "v", "secret": {"secretName": "s"}}]},
    {"volumes": [{"name": "v", "projected": {"sources": [{"secret": {"name": "s"}}]}}]},
    {"volumes": [{"name": "v", "csi": {"driver": "d", "nodePublishSecretRef": {"name": "s"}}}]},
    {"imagePullSecrets": [{"name": "s"}]},
    {"containers": [{"name": "c", "image": "i", "envFrom": [{"secretRef": {"name": "s"}}]}]},
    {
        "initContainers": [
            {
                "name": "i",
                "image": "i",
                "env": [{"name": "A", "valueFrom": {"secretKeyRef": {"name": "s", "key": "a"}}}],
            }
        ]
    },
]


@pytest.mark.parametrize("spec", NAMING, ids=lambda spec: next(iter(spec)))
async def test_a_node_reads_the_secrets_that_its_pods_name(
    server: Guarded, spec: dict[str, Any]
) -> None:
    for name in ("s", "other"):
        await server.make(f"{CORE}/secrets", secret(name))
    assert (await server(NODE1, "GET", f"{CORE}/secrets/s")).code == 403
    await server.make(f"{CORE}/pods", pod(nodeName="node1", **spec))
    assert (await server(NODE1, "GET", f"{CORE}/secrets/s")).code == 200
    assert (await server(NODE1, "GET", f"{CORE}/secrets/other")).code == 403
    assert (await server(NODE1, "GET", f"{CORE}/secrets")).code == 403
    refused = await server(NODE2, "GET", f"{CORE}/secrets/s")
    assert (refused.code, refused["message"]) == (
        403,
        f'secrets "s" is forbidden: User "{NODE2}" cannot get resource "secrets" in API group ""'
        f' in the namespace "default": {NOT_RELATED}',
    )
    await server("root", "DELETE", f"{CORE}/pods/p?gracePeriodSeconds=0")
    assert (await server(NODE1, "GET", f"{CORE}/secrets/s")).code == 403


async def test_a_secret_stays_readable_while_one_of_two_pods_names_it(server: Guarded) -> None:
    await server.make(f"{CORE}/secrets", secret("s"))
    spec = {"nodeName": "node1", "imagePullSecrets": [{"name": "s"}]}
    await server.make(f"{CORE}/pods", pod("a", **spec))
    await server.make(f"{CORE}/pods", pod("b", **spec))
    await server("root", "DELETE", f"{CORE}/pods/a?gracePeriodSeconds=0")
    assert (await server(NODE1, "GET", f"{CORE}/secrets/s")).code == 200


async def test_a_pod_without_a_node_gives_no_node_a_right(server: Guarded) -> None:
    await server.make(f"{CORE}/configmaps", config_map("a"))
    volumes = [{"name": "v", "configMap": {"name": "a"}}]
    await server.make(f"{CORE}/pods", pod(volumes=volumes))
    assert (await server(NODE1, "GET", f"{CORE}/configmaps/a")).code == 403
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "node1"}}
    await server.make(f"{CORE}/pods/p/binding", binding, "system:kube-scheduler")
    assert (await server(NODE1, "GET", f"{CORE}/configmaps/a")).code == 200
    assert (await server(NODE2, "GET", f"{CORE}/configmaps/a")).code == 403


# Commas that belong to a value: these select everything but one value of another field.
TRICKS = [
    f"{CORE}/secrets?fieldSelector=type!%3Dx%5C,metadata.name%3Ds",
    "/api/v1/pods?fieldSelector=status.phase!%3Dx%5C,spec.nodeName%3Dnode1",
    "/api/v1/nodes?fieldSelector=spec.unschedulable!%3Dx%5C,metadata.name%3Dnode1",
    f"{CORE}/secrets?fieldSelector=metadata.name!%3Ds",
    f"{CORE}/secrets?fieldSelector=type!%3Dx&fieldSelector=metadata.name%3Ds",
]


@pytest.mark.parametrize("path", TRICKS)
@pytest.mark.parametrize("watch", ["", "&watch=true&timeoutSeconds=1"])
async def test_a_selector_does_not_widen_what_a_node_reads(
    server: Guarded, path: str, watch: str
) -> None:
    await server.make(f"{CORE}/secrets", secret("s"))
    await server.make(f"{CORE}/secrets", secret("other"))
    await server.make(f"{CORE}/pods", pod(nodeName="node1", imagePullSecrets=[{"name": "s"}]))
    own = f"{CORE}/secrets?fieldSelector=metadata.name%3Ds"
    assert len((await server(NODE1, "GET", own))["items"]) == 1
    assert (await server(NODE1, "GET", path + watch)).code == 403


READS = [
    ("/api/v1/nodes/node1", 200),
    ("/api/v1/nodes/node2", 403),
    ("/api/v1/nodes", 403),
    ("/api/v1/nodes?fieldSelector=metadata.name%3Dnode1", 200),
    ("/api/v1/nodes?fieldSelector=metadata.name%3Dnode2", 403),
    ("/api/v1/pods", 403),
    (f"{OWN_PODS}node1", 200),
    (f"{OWN_PODS}node2", 403),
    (f"{CORE}/pods/mine", 200),
    (f"{CORE}/pods/theirs", 403),
    (f"{CORE}/secrets", 403),
    (f"{CORE}/configmaps", 403),
    ("/api/v1/services", 200),
    ("/api/v1/namespaces", 403),
    (f"{CORE}/serviceaccounts/default", 403),
    ("/apis/apps/v1/deployments", 403),
    ("/apis/rbac.authorization.k8s.io/v1/clusterroles", 403),
    (f"{LEASES}/node2", 403),
    (LEASES, 403),
]


@pytest.mark.parametrize(("path", "code"), READS)
async def test_what_a_node_reads(server: Guarded, path: str, code: int) -> None:
    await server.make(f"{CORE}/pods", pod("mine", nodeName="node1"))
    await server.make(f"{CORE}/pods", pod("theirs", nodeName="node2"))
    assert (await server(NODE1, "GET", path)).code == code


async def test_a_node_writes_only_its_own_node(server: Guarded) -> None:
    ready = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    own, other = "/api/v1/nodes/node1", "/api/v1/nodes/node2"
    assert await patch(server, NODE1, f"{own}/status", ready, STRATEGIC) == 200
    assert await patch(server, NODE1, f"{other}/status", ready, STRATEGIC) == 403
    assert await patch(server, NODE1, other, {"metadata": {"labels": {"a": "b"}}}) == 403
    taint = {"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}
    assert await patch(server, NODE1, own, taint) == 403
    assert (await server(NODE1, "DELETE", own)).code == 403
    made = await server(NODE1, "POST", "/api/v1/nodes", {"metadata": {"name": "node3"}})
    assert (made.code, made["message"]) == (
        403,
        'nodes "node3" is forbidden: node "node1" is not allowed to modify node "node3"',
    )


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("kubernetes.io/hostname", 200),
        ("topology.kubernetes.io/zone", 200),
        ("node.kubernetes.io/anything", 200),
        ("example.com/a", 200),
        ("plain", 200),
        ("node-restriction.kubernetes.io/secure", 403),
        ("a.node-restriction.kubernetes.io/secure", 403),
        ("node-role.kubernetes.io/control-plane", 403),
        ("security.k8s.io/a", 403),
    ],
)
async def test_the_labels_that_a_node_sets_on_itself(
    server: Guarded, label: str, code: int
) -> None:
    change = {"metadata": {"labels": {label: "x"}}}
    assert await patch(server, NODE1, "/api/v1/nodes/node1", change) == code


async def test_a_node_writes_only_its_own_pods(server: Guarded) -> None:
    await server.make(f"{CORE}/pods", pod("mine", nodeName="node1"))
    await server.make(f"{CORE}/pods", pod("theirs", nodeName="node2"))
    running = {"status": {"phase": "Running"}}
    assert await patch(server, NODE1, f"{CORE}/pods/mine/status", running, STRATEGIC) == 200
    assert await patch(server, NODE1, f"{CORE}/pods/theirs/status", running, STRATEGIC) == 403
    named = running | {"metadata": {"labels": {"app": "web"}}}
    assert await patch(server, NODE1, f"{CORE}/pods/mine/status", named, STRATEGIC) == 403
    assert await patch(server, NODE1, f"{CORE}/pods/mine", {"metadata": {"labels": {}}}) == 403
    assert (await server(NODE1, "POST", f"{CORE}/pods", pod("new", nodeName="node1"))).code == 403
    eviction = {"metadata": {"name": "theirs"}}
    assert (await server(NODE1, "POST", f"{CORE}/pods/theirs/eviction", eviction)).code == 403
    refused = await server(NODE1, "DELETE", f"{CORE}/pods/theirs")
    assert (refused.code, refused["message"]) == (
        403,
        'pods "theirs" is forbidden: node "node1" can only delete pods with spec.nodeName set to'
        " itself",
    )
    assert (await server(NODE1, "DELETE", f"{CORE}/pods/mine?gracePeriodSeconds=0")).code == 200


TOKEN = {"projected": {"sources": [{"serviceAccountToken": {"path": "t"}}]}}
MIRRORS = [
    ({"nodeName": "node1"}, 201, ""),
    ({"nodeName": "node2"}, 403, "can only create pods with spec.nodeName set to itself"),
    ({"serviceAccountName": "default"}, 403, "a mirror pod may not reference service accounts"),
    (NAMING[0], 403, "a mirror pod may not reference secrets"),
    (NAMING[1], 403, "a mirror pod may not reference secrets"),
    (NAMING[2], 403, "can not create pods that reference secrets"),
    (NAMING[3], 403, "can not create pods that reference secrets"),
    (NAMING[4], 403, "can not create pods that reference secrets"),
    ({"volumes": [{"name": "v"} | TOKEN]}, 403, "may not use ServiceAccountToken volume"),
    (
        {"volumes": [{"name": "v", "configMap": {"name": "a"}}]},
        403,
        "can not create pods that reference configmaps",
    ),
]


@pytest.mark.parametrize(("spec", "code", "message"), MIRRORS)
async def test_a_mirror_pod_gives_its_node_nothing(
    server: Guarded, spec: dict[str, Any], code: int, message: str
) -> None:
    made = pod("m", **({"nodeName": "node1"} | spec))
    made["metadata"]["annotations"] = {"kubernetes.io/config.mirror": "x"}
    reply = await server(NODE1, "POST", f"{CORE}/pods", made)
    assert (reply.code, message in reply.body.get("message", "")) == (code, True)


async def test_a_node_keeps_only_its_own_lease(server: Guarded) -> None:
    def lease(name: str) -> dict[str, Any]:
        return {"metadata": {"name": name}, "spec": {"holderIdentity": name}}

    assert (await server(NODE1, "POST", LEASES, lease("node1"))).code == 201
    assert (await server(NODE1, "POST", LEASES, lease("node2"))).code == 403
    found = (await server(NODE1, "GET", f"{LEASES}/node1")).body
    assert (await server(NODE1, "PUT", f"{LEASES}/node1", found)).code == 200
    assert (await server(NODE2, "PUT", f"{LEASES}/node1", found)).code == 403
    elsewhere = LEASES.replace("kube-node-lease", "kube-system")
    assert (await server(NODE1, "POST", elsewhere, lease("node1"))).code == 403


async def test_a_node_asks_only_for_tokens_of_its_pods(server: Guarded) -> None:
    await server.make(f"{CORE}/serviceaccounts", {"metadata": {"name": "robot"}})
    path = f"{CORE}/serviceaccounts/robot/token"
    made = await server.make(f"{CORE}/pods", pod(nodeName="node1", serviceAccountName="robot"))
    reference = {"kind": "Pod", "apiVersion": "v1", "name": "p"}
    whole = reference | {"uid": made["metadata"]["uid"]}
    codes = {
        "bound": (await server(NODE1, "POST", path, {"spec": {"boundObjectRef": whole}})).code,
        "no uid": (await server(NODE1, "POST", path, {"spec": {"boundObjectRef": reference}})).code,
        "unbound": (await server(NODE1, "POST", path, {"spec": {}})).code,
        "other node": (await server(NODE2, "POST", path, {"spec": {"boundObjectRef": whole}})).code,
    }
    assert codes == {"bound": 201, "no uid": 403, "unbound": 403, "other node": 403}


async def test_a_node_reads_the_volumes_of_its_pods_claims(server: Guarded) -> None:
    sizes = {"storage": "1Gi"}
    modes = ["ReadWriteOnce"]
    spec = {"accessModes": modes, "resources": {"requests": sizes}, "volumeName": "v"}
    await server.make(f"{CORE}/persistentvolumeclaims", {"metadata": {"name": "c"}, "spec": spec})
    ref = {"namespace": "default", "name": "c"}
    source = {"capacity": sizes, "accessModes": modes, "hostPath": {"path": "/d"}}
    for name, more in (("v", {"claimRef": ref}), ("other", {})):
        made = {"metadata": {"name": name}, "spec": source | more}
        await server.make("/api/v1/persistentvolumes", made)
    url = "/api/v1/persistentvolumes/v"
    assert (await server(NODE1, "GET", url)).code == 403
    claim = {"name": "d", "persistentVolumeClaim": {"claimName": "c"}}
    await server.make(f"{CORE}/pods", pod(nodeName="node1", volumes=[claim]))
    assert (await server(NODE1, "GET", url)).code == 200
    assert (await server(NODE1, "GET", f"{CORE}/persistentvolumeclaims/c")).code == 200
    assert (await server(NODE2, "GET", url)).code == 403
    assert (await server(NODE1, "GET", "/api/v1/persistentvolumes/other")).code == 403
    assert (await server(NODE1, "GET", "/api/v1/persistentvolumes")).code == 403
