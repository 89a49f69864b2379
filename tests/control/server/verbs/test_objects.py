"""Objects are created, read, changed and removed over HTTP."""

import asyncio
import json

import pytest

from control.server.verbs import create
from tests.support.control.requests import (
    APPS,
    CORE,
    JSON_PATCH,
    MERGE,
    STRATEGIC,
    Api,
    config_map,
    deployment,
    pod,
    service,
)

MAPS = f"{CORE}/configmaps"
PODS = f"{CORE}/pods"


async def test_a_new_object_gets_server_metadata(api: Api):
    made = await api.make(MAPS, config_map("a", x="1") | {"apiVersion": "v1", "kind": "ConfigMap"})
    metadata = made["metadata"]
    assert (metadata["name"], metadata["namespace"]) == ("a", "default")
    assert metadata["uid"] and metadata["creationTimestamp"].endswith("Z")
    assert int(metadata["resourceVersion"]) == api.state.store.revision
    assert (await api("GET", f"{MAPS}/a")).body == made


async def test_empty_lists_and_maps_of_the_metadata_are_absent(api: Api):
    wanted = config_map()
    wanted["metadata"] |= {"labels": {}, "annotations": {}, "finalizers": [], "ownerReferences": []}
    made = await api.make(MAPS, wanted)
    assert set(made["metadata"]) == {
        "name",
        "namespace",
        "uid",
        "creationTimestamp",
        "resourceVersion",
    }
    again = await api("PUT", f"{MAPS}/a", made | {"metadata": made["metadata"] | {"labels": {}}})
    assert again.body == made


async def test_a_name_can_be_generated(api: Api):
    names = {
        (await api.make(MAPS, {"metadata": {"generateName": "a-"}}))["metadata"]["name"]
        for _ in range(20)
    }
    assert len(names) == 20
    assert all(name.startswith("a-") and len(name) == 7 for name in names)


@pytest.mark.parametrize("query", ["", "?dryRun=All"])
async def test_a_generated_name_that_is_taken_is_drawn_again(
    api: Api, monkeypatch: pytest.MonkeyPatch, query: str
):
    names = ["a-1", "a-1", "a-2", *["a-1"] * 8]
    monkeypatch.setattr(create.prepare, "generated_name", lambda _: names.pop(0))
    body = {"metadata": {"generateName": "a-"}}
    await api.make(MAPS, body)
    assert (await api.make(MAPS + query, body))["metadata"]["name"] == "a-2"
    refused = await api("POST", MAPS + query, body)
    assert (refused.code, refused["reason"], names) == (409, "AlreadyExists", [])
    assert refused["message"] == (
        'configmaps "a-1" already exists, the server was not able to generate a unique name'
        " for the object"
    )
    assert refused["details"]["retryAfterSeconds"] == 1


@pytest.mark.parametrize("query", ["", "?dryRun=All"])
async def test_an_object_that_is_being_deleted_cannot_be_created(api: Api, query: str):
    await api.make(MAPS, {"metadata": {"name": "a", "finalizers": ["example.com/wait"]}})
    await api("DELETE", f"{MAPS}/a")
    again = await api("POST", MAPS + query, config_map())
    assert (again.code, again["reason"]) == (409, "AlreadyExists")
    assert again["message"] == 'object is being deleted: configmaps "a" already exists'


async def test_an_existing_object_cannot_be_created(api: Api):
    await api.make(MAPS, config_map())
    again = await api("POST", MAPS, config_map())
    assert (again.code, again["reason"]) == (409, "AlreadyExists")
    assert again["message"] == 'configmaps "a" already exists'
    assert again["details"]["name"] == "a"


@pytest.mark.parametrize("method", ["GET", "PUT", "PATCH", "DELETE"])
async def test_an_absent_object_is_not_found(api: Api, method: str):
    body = config_map("a") if method in ("PUT", "PATCH") else None
    media = MERGE if method == "PATCH" else "application/json"
    reply = await api(method, f"{MAPS}/a", body, media)
    assert (reply.code, reply["reason"]) == (404, "NotFound")
    assert reply["message"] == 'configmaps "a" not found'
    assert reply["kind"] == "Status"


async def test_an_update_keeps_the_servers_fields(api: Api):
    made = await api.make(PODS, pod())
    changed = json.loads(json.dumps(made))
    changed["metadata"]["creationTimestamp"] = "2001-01-01T00:00:00Z"
    changed["metadata"] |= {"generation": 9, "labels": {"new": "1"}}
    changed["status"] = {"phase": "Running"}
    reply = await api("PUT", f"{PODS}/p", changed)
    assert reply.code == 200
    metadata = reply["metadata"]
    assert metadata["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert metadata["generation"] == 1
    assert metadata["labels"] == {"new": "1"}
    assert reply["status"]["phase"] == "Pending"


async def test_a_stale_update_conflicts(api: Api):
    made = await api.make(MAPS, config_map(x="1"))
    await api("PUT", f"{MAPS}/a", config_map(x="2"))
    stale = await api("PUT", f"{MAPS}/a", made)
    assert (stale.code, stale["reason"]) == (409, "Conflict")
    assert stale["message"] == (
        'Operation cannot be fulfilled on configmaps "a": the object has been modified;'
        " please apply your changes to the latest version and try again"
    )
    assert (await api("GET", f"{MAPS}/a"))["data"] == {"x": "2"}


async def test_another_objects_uid_conflicts(api: Api):
    await api.make(MAPS, config_map())
    other = config_map()
    other["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555"
    reply = await api("PUT", f"{MAPS}/a", other)
    assert (reply.code, reply["reason"]) == (409, "Conflict")
    assert "UID in precondition: 11111111" in reply["message"]


async def test_an_update_that_changes_nothing_writes_nothing(api: Api):
    made = await api.make(f"{APPS}/deployments", deployment())
    before = api.state.store.revision
    assert (await api("PUT", f"{APPS}/deployments/d", deployment())).body == made
    assert (await api("PATCH", f"{APPS}/deployments/d", {}, MERGE)).body == made
    assert api.state.store.revision == before


_OPERATIONS = [
    {"op": "remove", "path": "/data/x"},
    {"op": "add", "path": "/data/y", "value": "2"},
]


@pytest.mark.parametrize(
    ("media", "patch"),
    [
        (MERGE, {"data": {"x": None, "y": "2"}}),
        (STRATEGIC, {"data": {"x": None, "y": "2"}}),
        (JSON_PATCH, _OPERATIONS),
    ],
)
async def test_patches(api: Api, media: str, patch: object):
    await api.make(MAPS, config_map(x="1"))
    reply = await api("PATCH", f"{MAPS}/a", patch, media)
    assert (reply.code, reply["data"]) == (200, {"y": "2"})


async def test_concurrent_patches_are_all_applied(api: Api):
    await api.make(MAPS, config_map())
    patches = [api("PATCH", f"{MAPS}/a", {"data": {f"k{n}": "1"}}, MERGE) for n in range(6)]
    replies = await asyncio.gather(*patches)
    assert {reply.code for reply in replies} == {200}
    assert len((await api("GET", f"{MAPS}/a"))["data"]) == 6


async def test_a_patch_can_require_a_version(api: Api):
    made = await api.make(MAPS, config_map())
    version = made["metadata"]["resourceVersion"]
    insisting = {"metadata": {"resourceVersion": version}, "data": {"x": "1"}}
    assert (await api("PATCH", f"{MAPS}/a", insisting, MERGE)).code == 200
    assert (await api("PATCH", f"{MAPS}/a", insisting, MERGE)).code == 409
    test = [{"op": "test", "path": "/metadata/resourceVersion", "value": version}]
    assert (await api("PATCH", f"{MAPS}/a", test, JSON_PATCH)).code == 422


@pytest.mark.parametrize(
    ("media", "code"),
    [("application/cbor", 415), ("text/plain", 415), ("application/json", 415)],
)
async def test_unknown_patch_types_are_refused(api: Api, media: str, code: int):
    await api.make(MAPS, config_map())
    assert (await api("PATCH", f"{MAPS}/a", {}, media)).code == code


async def test_names_and_namespaces_must_agree_with_the_path(api: Api):
    await api.make(MAPS, config_map())
    wrong = await api("PUT", f"{MAPS}/a", config_map("b"))
    assert (wrong.code, wrong["message"]) == (
        400,
        "the name of the object (b) does not match the name on the URL (a)",
    )
    elsewhere = {"metadata": {"name": "a", "namespace": "kube-system"}}
    assert (await api("POST", MAPS, elsewhere))["message"] == (
        "the namespace of the provided object does not match the namespace sent on the request"
    )
    other = config_map("c") | {"kind": "Secret"}
    assert (await api("POST", MAPS, other)).code == 400


async def test_unknown_and_repeated_fields(api: Api):
    body = b'{"metadata":{"name":"a"},"data":{"x":"1","x":"2"},"nonsense":1}'
    texts = ['299 - "duplicate field \\"data.x\\""', '299 - "unknown field \\"nonsense\\""']
    strict = await api("POST", f"{MAPS}?fieldValidation=Strict", body)
    assert strict.code == 400
    assert strict["message"] == (
        'ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error:'
        ' duplicate field "data.x", unknown field "nonsense"'
    )
    assert (await api("POST", MAPS, body)).warnings == tuple(texts)
    assert (await api("PUT", f"{MAPS}/a?fieldValidation=Ignore", body)).warnings == ()
    refused = await api("POST", f"{MAPS}?fieldValidation=maybe", body)
    assert refused.code == 422
    assert refused["message"] == (
        'CreateOptions.meta.k8s.io "" is invalid: fieldValidation: Unsupported value: "maybe":'
        ' supported values: "", "Ignore", "Strict", "Warn"'
    )
    patch = {"data": {"y": "1"}, "other": 1}
    warned = await api("PATCH", f"{MAPS}/a", patch, MERGE)
    assert warned.warnings == ('299 - "unknown field \\"other\\""',)


async def test_wrong_types_name_the_field(api: Api):
    reply = await api("POST", f"{APPS}/deployments", deployment() | {"spec": {"replicas": "x"}})
    assert (reply.code, reply["reason"]) == (400, "BadRequest")
    assert reply["message"] == (
        'Deployment in version "v1" cannot be handled as a Deployment: json: cannot unmarshal'
        " string into Go struct field DeploymentSpec.spec.replicas of type int32"
    )


async def test_a_dry_run_returns_the_object_and_writes_nothing(api: Api):
    before = api.state.store.revision
    reply = await api("POST", f"{CORE}/services?dryRun=All", service())
    assert reply.code == 201
    assert reply["spec"]["clusterIP"].startswith("10.96.")
    made = await api.make(MAPS, config_map(x="1"))
    patched = await api("PATCH", f"{MAPS}/a?dryRun=All", {"data": {"x": "2"}}, MERGE)
    assert patched["data"] == {"x": "2"}
    # kubectl diff shows every difference between this answer and what is there.
    assert patched["metadata"] == made["metadata"]
    assert (await api("DELETE", f"{MAPS}/a?dryRun=All")).code == 200
    assert (await api("GET", f"{MAPS}/a"))["data"] == {"x": "1"}
    assert api.state.store.revision == before + 1
    assert (await api("POST", f"{MAPS}?dryRun=maybe", config_map("b"))).code == 422


async def test_the_generation_counts_changes_of_the_spec(api: Api):
    path = f"{APPS}/deployments"
    made = await api.make(path, deployment())
    assert made["metadata"]["generation"] == 1
    labelled = await api("PATCH", f"{path}/d", {"metadata": {"labels": {"a": "b"}}}, MERGE)
    assert labelled["metadata"]["generation"] == 1
    scaled = await api("PATCH", f"{path}/d", {"spec": {"replicas": 3}}, MERGE)
    assert scaled["metadata"]["generation"] == 2
    counted = await api("PATCH", f"{path}/d/status", {"status": {"replicas": 3}}, MERGE)
    assert counted["metadata"]["generation"] == 2
    assert counted["status"] == {"replicas": 3}


async def test_status_and_spec_are_written_separately(api: Api):
    path = f"{APPS}/deployments"
    await api.make(path, deployment() | {"status": {"replicas": 9}})
    assert (await api("GET", f"{path}/d"))["status"] == {}
    body = deployment(replicas=5) | {"status": {"readyReplicas": 1}}
    written = await api("PUT", f"{path}/d/status", body)
    assert (written["spec"]["replicas"], written["status"]) == (1, {"readyReplicas": 1})
    assert (await api("GET", f"{path}/d/status")).body == written.body
    kept = await api("PUT", f"{path}/d", deployment(replicas=5))
    assert (kept["spec"]["replicas"], kept["status"]) == (5, {"readyReplicas": 1})


async def test_scale(api: Api):
    path = f"{APPS}/deployments/d/scale"
    await api.make(f"{APPS}/deployments", deployment(replicas=2))
    scale = await api("GET", path)
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 2}
    assert scale["status"] == {"replicas": 0, "selector": "app=d"}
    changed = scale.body | {"spec": {"replicas": 4}}
    assert (await api("PUT", path, changed))["spec"] == {"replicas": 4}
    assert (await api("PUT", path, changed)).code == 409
    assert (await api("PATCH", path, {"spec": {"replicas": 7}}, MERGE))["spec"] == {"replicas": 7}
    assert (await api("GET", f"{APPS}/deployments/d"))["spec"]["replicas"] == 7
    assert (await api("PUT", path, {"spec": {"replicas": -1}})).code == 422
    assert (await api("PUT", path, {"spec": {"replicas": "x"}})).code == 400


async def test_scale_of_a_large_workload(api: Api):
    """It is computed in another process."""
    path = f"{APPS}/deployments/d/scale"
    large = deployment(replicas=2)
    large["metadata"]["annotations"] = {"note": "x" * 200_000}
    await api.make(f"{APPS}/deployments", large)
    assert (await api("PATCH", path, {"spec": {"replicas": 7}}, MERGE))["spec"] == {"replicas": 7}
    changed = (await api("GET", path)).body | {"spec": {"replicas": 4}}
    assert (await api("PUT", path, changed))["spec"] == {"replicas": 4}


async def test_an_object_with_an_unknown_spec_can_be_deleted(api: Api):
    for name, spec in (("a", True), ("b", "x"), ("c", [1]), ("d", {"finalizers": ["a/b"]})):
        await api.make(MAPS, config_map(name) | {"spec": spec, "status": spec})
    assert (await api("PATCH", f"{MAPS}/a", {"data": {"k": "v"}}, MERGE)).code == 200
    for name in "abcd":
        assert (await api("DELETE", f"{MAPS}/{name}")).code == 200
    assert (await api("GET", MAPS))["items"] == []


async def test_secrets_store_plain_text_encoded(api: Api):
    secret = {"metadata": {"name": "s"}, "stringData": {"a": "b"}}
    made = await api.make(f"{CORE}/secrets", secret)
    assert (made["data"], made["type"]) == ({"a": "Yg=="}, "Opaque")
    assert "stringData" not in made


async def test_no_object_is_created_in_a_missing_or_ending_namespace(api: Api):
    missing = await api("POST", "/api/v1/namespaces/none/configmaps", config_map())
    assert (missing.code, missing["message"]) == (404, 'namespaces "none" not found')
    await api.make("/api/v1/namespaces", {"metadata": {"name": "n"}})
    await api("DELETE", "/api/v1/namespaces/n")
    going = await api("POST", "/api/v1/namespaces/n/configmaps", config_map())
    assert (going.code, going["reason"]) == (403, "Forbidden")
    assert going["message"] == (
        'configmaps "a" is forbidden: unable to create new content in namespace n because it is'
        " being terminated"
    )
    assert going["details"]["causes"][0]["reason"] == "NamespaceTerminating"


async def test_a_new_cluster_has_namespaces_and_the_kubernetes_service(api: Api):
    names = {n["metadata"]["name"] for n in (await api("GET", "/api/v1/namespaces"))["items"]}
    assert names == {"default", "kube-node-lease", "kube-public", "kube-system"}
    own = await api("GET", f"{CORE}/services/kubernetes")
    assert own["spec"]["clusterIP"] == "10.96.0.1"
    assert own["spec"]["ports"][0]["port"] == 443
    assert (await api("DELETE", "/api/v1/namespaces/default")).code == 403


async def test_an_invalid_object_is_named_with_its_group(api: Api):
    wrong = deployment("d") | {"metadata": {"name": "D"}}
    refused = await api("POST", f"{APPS}/deployments", wrong)
    assert refused.code == 422
    assert refused["message"].startswith('Deployment.apps "D" is invalid: metadata.name: ')
    assert (refused["details"]["kind"], refused["details"]["group"]) == ("Deployment", "apps")
    core = await api("POST", f"{CORE}/configmaps", config_map("M"))
    assert core["message"].startswith('ConfigMap "M" is invalid: metadata.name: ')


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ([], []),
        ([{"key": "a", "effect": "NoExecute"}], [("a", "NoExecute")]),
        ([{"key": "node.kubernetes.io/not-ready", "effect": "NoSchedule"}], []),
    ],
)
async def test_a_new_node_takes_no_pods_before_it_is_judged(
    api: Api, given: list[dict[str, str]], kept: list[tuple[str, str]]
):
    node = {"metadata": {"name": "n"}, "spec": {"taints": given} if given else {}}
    taints = (await api.make("/api/v1/nodes", node))["spec"]["taints"]
    not_ready = ("node.kubernetes.io/not-ready", "NoSchedule")
    assert [(it["key"], it["effect"]) for it in taints] == [*kept, not_ready]
