"""Deletion: at once, in the foreground, with finalizers, with a grace period, of collections."""

import pytest

from tests.support.control.requests import CORE, JSON_PATCH, MERGE, Api, config_map, pod, service

MAPS = f"{CORE}/configmaps"
PODS = f"{CORE}/pods"


async def bound_pod(api: Api, name: str = "p", **spec: object) -> None:
    await api.make(PODS, pod(name, **spec))
    target = {"target": {"kind": "Node", "name": "n1"}}
    assert (await api("POST", f"{PODS}/{name}/binding", target)).code == 201


async def test_an_object_is_removed_at_once(api: Api):
    made = await api.make(MAPS, config_map())
    gone = await api("DELETE", f"{MAPS}/a")
    assert (gone.code, gone["status"]) == (200, "Success")
    assert gone["details"] == {
        "name": "a",
        "kind": "configmaps",
        "uid": made["metadata"]["uid"],
    }
    assert (await api("GET", f"{MAPS}/a")).code == 404
    assert (await api("DELETE", f"{MAPS}/a")).code == 404


async def test_finalizers_delay_the_removal(api: Api):
    held = config_map()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    await api.make(MAPS, held)
    marked = await api("DELETE", f"{MAPS}/a")
    assert marked["metadata"]["deletionTimestamp"]
    assert (await api("DELETE", f"{MAPS}/a")).body == marked.body
    added = {"metadata": {"finalizers": ["example.com/hold", "example.com/more"]}}
    assert (await api("PATCH", f"{MAPS}/a", added, MERGE)).code == 422
    remove = [{"op": "remove", "path": "/metadata/finalizers"}]
    last = await api("PATCH", f"{MAPS}/a", remove, JSON_PATCH)
    assert last.code == 200 and "finalizers" not in last["metadata"]
    assert int(last["metadata"]["resourceVersion"]) == api.state.store.revision
    assert (await api("GET", f"{MAPS}/a")).code == 404


async def test_propagation_is_a_finalizer(api: Api):
    for policy, finalizer in (("Foreground", "foregroundDeletion"), ("Orphan", "orphan")):
        await api.make(MAPS, config_map())
        marked = await api("DELETE", f"{MAPS}/a", {"propagationPolicy": policy})
        assert marked["metadata"]["finalizers"] == [finalizer]
        gone = await api("DELETE", f"{MAPS}/a?propagationPolicy=Background")
        assert gone["status"] == "Success"
    for query, finalizers in (
        ("orphanDependents=true", ["orphan"]),
        ("orphanDependents=false", []),
    ):
        await api.make(MAPS, config_map("b") | {"metadata": {"name": "b", "finalizers": ["a.b/c"]}})
        marked = await api("DELETE", f"{MAPS}/b?{query}")
        assert marked["metadata"]["finalizers"] == ["a.b/c", *finalizers]
        remove = [{"op": "remove", "path": "/metadata/finalizers"}]
        await api("PATCH", f"{MAPS}/b", remove, JSON_PATCH)


UNKNOWN = (
    'propagationPolicy: Unsupported value: "Maybe": supported values: "Foreground", "Background",'
    ' "Orphan", "nil"'
)
BOTH = (
    'propagationPolicy: Invalid value: "Orphan": orphanDependents and deletionPropagation cannot be'
    " both set"
)
DRY = 'dryRun: Unsupported value: ["Some"]: supported values: "All"'


@pytest.mark.parametrize(
    ("query", "body", "why"),
    [
        ("?propagationPolicy=Maybe", None, UNKNOWN),
        ("", {"propagationPolicy": "Maybe"}, UNKNOWN),
        ("?propagationPolicy=Orphan&orphanDependents=0", None, BOTH),
        ("", {"propagationPolicy": "Orphan", "orphanDependents": True}, BOTH),
        ("?dryRun=Some", None, DRY),
        ("", {"dryRun": ["Some"]}, DRY),
    ],
)
async def test_options_of_a_deletion_are_checked(api: Api, query: str, body: object, why: str):
    await api.make(MAPS, config_map())
    for path in (f"{MAPS}/a", MAPS):
        refused = await api("DELETE", f"{path}{query}", body)
        assert (refused.code, refused["reason"]) == (422, "Invalid")
        assert refused["message"] == f'DeleteOptions.meta.k8s.io "" is invalid: {why}'
    assert (await api("GET", f"{MAPS}/a")).code == 200


async def test_preconditions(api: Api):
    made = await api.make(MAPS, config_map())
    wrong = {"preconditions": {"uid": "other"}}
    refused = await api("DELETE", f"{MAPS}/a", wrong)
    assert (refused.code, refused["reason"]) == (409, "Conflict")
    stale = {"preconditions": {"resourceVersion": "1"}}
    assert (await api("DELETE", f"{MAPS}/a", stale)).code == 409
    right = {"preconditions": {"uid": made["metadata"]["uid"]}}
    assert (await api("DELETE", f"{MAPS}/a", right)).code == 200


async def test_a_pod_without_a_node_is_removed_at_once(api: Api):
    await api.make(PODS, pod())
    gone = await api("DELETE", f"{PODS}/p")
    assert (gone["kind"], gone["metadata"]["deletionGracePeriodSeconds"]) == ("Pod", 0)
    assert (await api("GET", f"{PODS}/p")).code == 404


async def test_a_pod_on_a_node_waits_for_its_agent(api: Api):
    await bound_pod(api, terminationGracePeriodSeconds=7)
    marked = await api("DELETE", f"{PODS}/p")
    metadata = marked["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 7
    assert metadata["generation"] == 2
    status = {"status": {"phase": "Running"}}
    assert (await api("PATCH", f"{PODS}/p/status", status, MERGE)).code == 200
    longer = await api("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 60})
    assert longer["metadata"]["deletionGracePeriodSeconds"] == 7
    shorter = await api("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 2})
    assert shorter["metadata"]["deletionGracePeriodSeconds"] == 2
    gone = await api("DELETE", f"{PODS}/p", {"gracePeriodSeconds": 0})
    assert gone["metadata"]["deletionGracePeriodSeconds"] == 0
    assert int(gone["metadata"]["resourceVersion"]) == api.state.store.revision
    assert (await api("GET", f"{PODS}/p")).code == 404


async def test_a_finished_pod_is_removed_at_once(api: Api):
    await bound_pod(api)
    await api("PATCH", f"{PODS}/p/status", {"status": {"phase": "Succeeded"}}, MERGE)
    assert (await api("DELETE", f"{PODS}/p"))["status"]["phase"] == "Succeeded"
    assert (await api("GET", f"{PODS}/p")).code == 404


async def test_the_end_of_some_kinds_is_answered_with_the_object(api: Api):
    """As kube-apiserver 1.36.2; of the others with a Status."""
    for path, body in (
        (f"{CORE}/services", service("a")),
        (f"{CORE}/serviceaccounts", {"metadata": {"name": "a"}}),
        (f"{CORE}/resourcequotas", {"metadata": {"name": "a"}, "spec": {}}),
        ("/apis/storage.k8s.io/v1/csinodes", {"metadata": {"name": "a"}, "spec": {"drivers": []}}),
    ):
        made = await api.make(path, body)
        gone = await api("DELETE", f"{path}/a")
        assert (gone["kind"], gone["metadata"]["uid"]) == (made["kind"], made["metadata"]["uid"])
        assert "deletionTimestamp" not in gone["metadata"]
        assert (await api("GET", f"{path}/a")).code == 404
    await api.make(MAPS, config_map())
    assert (await api("DELETE", f"{MAPS}/a"))["kind"] == "Status"


async def test_a_deletion_in_dry_run_shows_the_marks(api: Api):
    held = config_map()
    held["metadata"]["finalizers"] = ["example.com/hold"]
    made = await api.make(MAPS, held)
    marked = await api("DELETE", f"{MAPS}/a?dryRun=All")
    assert marked["metadata"]["deletionTimestamp"]
    assert marked["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    assert (await api("GET", f"{MAPS}/a")).body == made


async def test_eviction_is_a_deletion(api: Api):
    await bound_pod(api)
    eviction = {"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 3}}
    assert (await api("POST", f"{PODS}/p/eviction", eviction)).code == 201
    metadata = (await api("GET", f"{PODS}/p"))["metadata"]
    assert metadata["deletionGracePeriodSeconds"] == 3


async def test_a_collection_is_deleted_by_selector(api: Api):
    for name in ("a", "b", "c"):
        wanted = config_map(name)
        wanted["metadata"]["labels"] = {"keep": str(name == "b").lower()}
        await api.make(MAPS, wanted)
    removed = await api("DELETE", f"{MAPS}?labelSelector=keep!%3Dtrue")
    assert len(removed["items"]) == 2
    left = await api("GET", MAPS)
    assert [item["metadata"]["name"] for item in left["items"]] == ["b"]


async def test_a_namespace_is_removed_after_its_last_finalizer(api: Api):
    spaces = "/api/v1/namespaces"
    made = await api.make(spaces, {"metadata": {"name": "n"}})
    assert made["spec"]["finalizers"] == ["kubernetes"]
    marked = await api("DELETE", f"{spaces}/n")
    assert marked["status"]["phase"] == "Terminating"
    emptied = marked.body | {"spec": {"finalizers": []}}
    assert (await api("PUT", f"{spaces}/n/finalize", emptied)).code == 200
    assert (await api("GET", f"{spaces}/n")).code == 404


async def test_a_deleted_services_values_are_free_again(api: Api):
    path = f"{CORE}/services"
    for name in ("a", "b"):
        await api.make(
            path,
            service(
                name,
                clusterIP="10.96.5.5",
                type="NodePort",
                ports=[{"port": 80, "nodePort": 30100}],
            ),
        )
        await api("DELETE", f"{path}/{name}")
    assert not [c for c in api.state.cache.claims if "10.96.5.5" in c or "30100" in c]


async def test_a_bound_pod_knows_its_place_and_is_nominated_no_more(api: Api):
    """The Binding's labels, and the zone of the node: as kube-apiserver 1.36.2."""
    zone = {"topology.kubernetes.io/zone": "a"}
    labels = zone | {"kubernetes.io/hostname": "n1"}
    await api.make("/api/v1/nodes", {"metadata": {"name": "n1", "labels": labels}})
    await api.make(PODS, pod("p"))
    nominated = {"status": {"nominatedNodeName": "n1"}}
    assert (await api("PATCH", f"{PODS}/p/status", nominated, MERGE)).code == 200
    binding = {"metadata": {"labels": {"by": "me"}}, "target": {"kind": "Node", "name": "n1"}}
    assert (await api("POST", f"{PODS}/p/binding", binding)).code == 201
    bound = await api("GET", f"{PODS}/p")
    assert "nominatedNodeName" not in bound["status"]
    assert zone | {"by": "me"} == {
        key: value for key, value in bound["metadata"]["labels"].items() if key != "app"
    }
    placed = await api.make(PODS, pod("q", nodeName="n1"))
    assert zone.items() <= placed["metadata"]["labels"].items()
    assert "kubernetes.io/hostname" not in placed["metadata"]["labels"]


async def test_binding_happens_once(api: Api):
    await bound_pod(api)
    bound = await api("GET", f"{PODS}/p")
    assert bound["spec"]["nodeName"] == "n1"
    assert bound["status"]["conditions"][0]["type"] == "PodScheduled"
    again = await api("POST", f"{PODS}/p/binding", {"target": {"name": "n2"}})
    assert (again.code, again["reason"]) == (409, "Conflict")
    assert 'pod p is already assigned to node "n1"' in again["message"]
    await api.make(PODS, pod("q"))
    assert (await api("POST", f"{PODS}/q/binding", {"target": {}})).code == 422
    assert (
        await api("POST", f"{PODS}/q/binding", {"target": {"kind": "X", "name": "n"}})
    ).code == 422
    uid = {"metadata": {"uid": "other"}, "target": {"name": "n1"}}
    assert (await api("POST", f"{PODS}/q/binding", uid)).code == 409
    assert (await api("POST", f"{PODS}/none/binding", {"target": {"name": "n"}})).code == 404
    other = {"metadata": {"name": "p"}, "target": {"name": "n"}}
    refused = await api("POST", f"{PODS}/q/binding", other)
    assert (refused.code, refused["message"]) == (
        400,
        "name in URL does not match name in Binding object",
    )
