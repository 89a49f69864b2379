"""Lists: selectors, pages, old revisions, Tables and bare metadata."""

from urllib.parse import quote

import pytest

from control.tokens import TRACKING
from tests.support.control.requests import CORE, MERGE, Api, config_map, deployment, pod

MAPS = f"{CORE}/configmaps"
PODS = f"{CORE}/pods"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json"
PARTIAL = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io"


async def names(api: Api, path: str) -> list[str]:
    reply = await api("GET", path)
    assert reply.code == 200, reply
    return [item["metadata"]["name"] for item in reply["items"]]


async def fill(api: Api, count: int) -> None:
    for n in range(count):
        await api.make(MAPS, config_map(f"m{n}"))


async def test_a_list_has_its_kind_and_version(api: Api):
    await fill(api, 1)
    reply = await api("GET", MAPS)
    assert (reply["kind"], reply["apiVersion"]) == ("ConfigMapList", "v1")
    assert reply["metadata"] == {"resourceVersion": str(api.state.store.revision)}


async def test_the_items_of_a_list_leave_their_kind_to_it(api: Api):
    await fill(api, 2)
    exact = f"?resourceVersionMatch=Exact&resourceVersion={api.state.store.revision}"
    for query in ("", "?limit=1", "?labelSelector=!a", exact):
        for item in (await api("GET", MAPS + query))["items"]:
            assert item.keys() == {"metadata"}, query
    assert (await api("GET", f"{MAPS}/m0"))["kind"] == "ConfigMap"


async def test_one_namespace_or_all(api: Api):
    await api.make(MAPS, config_map("a"))
    await api.make("/api/v1/namespaces/kube-system/configmaps", config_map("b"))
    assert await names(api, MAPS) == ["a"]
    assert await names(api, "/api/v1/configmaps") == ["a", "b", TRACKING]  # the server's own


async def test_label_selectors(api: Api):
    for name, tier in (("a", "x"), ("b", "y"), ("c", "z")):
        await api.make(PODS, {**pod(name), "metadata": {"name": name, "labels": {"tier": tier}}})
    assert await names(api, f"{PODS}?labelSelector=tier%3Dx") == ["a"]
    assert await names(api, f"{PODS}?labelSelector=tier in (x,z)") == ["a", "c"]
    assert await names(api, f"{PODS}?labelSelector=!tier") == []
    assert (await api("GET", f"{PODS}?labelSelector=tier in (")).code == 400


async def test_field_selectors(api: Api):
    await api.make(PODS, pod("a"))
    await api.make(PODS, pod("b", nodeName="n1"))
    assert await names(api, f"{PODS}?fieldSelector=spec.nodeName%3Dn1") == ["b"]
    assert await names(api, f"{PODS}?fieldSelector=spec.nodeName%3D") == ["a"]
    assert await names(api, f"{PODS}?fieldSelector=metadata.name!%3Da") == ["b"]
    assert await names(api, f"{PODS}?fieldSelector=status.phase%3DPending") == ["a", "b"]
    assert await names(api, f"{PODS}?fieldSelector=spec.hostNetwork%3Dfalse") == ["a", "b"]
    assert await names(api, f"{PODS}?fieldSelector=spec.hostNetwork!%3Dfalse") == []
    unknown = await api("GET", f"{PODS}?fieldSelector=spec.nonsense%3Dx")
    assert (unknown.code, unknown["message"]) == (
        400,
        "field label not supported: spec.nonsense",
    )


@pytest.mark.parametrize(
    ("selector", "found"),
    [
        ("spec.unschedulable=false", ["n1"]),
        ("spec.unschedulable!=false", ["n2"]),
        ("spec.unschedulable=true", ["n2"]),
        ("spec.unschedulable=", []),
    ],
)
async def test_an_absent_boolean_is_false(api: Api, selector: str, found: list[str]):
    """Upstream's e2e framework lists the nodes that are not cordoned in this way."""
    await api.make("/api/v1/nodes", {"metadata": {"name": "n1"}})
    await api.make("/api/v1/nodes", {"metadata": {"name": "n2"}, "spec": {"unschedulable": True}})
    assert await names(api, f"/api/v1/nodes?fieldSelector={quote(selector)}") == found


async def test_the_source_of_an_event_is_its_component_or_its_reporter(api: Api):
    events = f"{CORE}/events"
    await api.make(events, {"metadata": {"name": "a"}, "source": {"component": "kubelet"}})
    await api.make(events, {"metadata": {"name": "b"}, "reportingComponent": "kubelet"})
    await api.make(events, {"metadata": {"name": "c"}})
    assert await names(api, f"{events}?fieldSelector=source%3Dkubelet") == ["a", "b"]
    assert await names(api, f"{events}?fieldSelector=source%3D") == ["c"]


async def test_absent_replicas_are_none(api: Api):
    spec = deployment("r")["spec"]
    wire = {"metadata": {"name": "r"}, "spec": {"template": spec["template"]}}
    await api.make(f"{CORE}/replicationcontrollers", wire)
    query = "fieldSelector=status.replicas%3D0"
    assert await names(api, f"{CORE}/replicationcontrollers?{query}") == ["r"]


async def test_pages_show_one_revision(api: Api):
    await fill(api, 5)
    first = await api("GET", f"{MAPS}?limit=2")
    assert first["metadata"]["remainingItemCount"] == 3
    await api("DELETE", f"{MAPS}/m3")
    await api("PATCH", f"{MAPS}/m4", {"data": {"x": "1"}}, MERGE)
    found = [item["metadata"]["name"] for item in first["items"]]
    token = first["metadata"]["continue"]
    while token:
        page = await api("GET", f"{MAPS}?limit=2&continue={token}")
        assert page["metadata"]["resourceVersion"] == first["metadata"]["resourceVersion"]
        found += [item["metadata"]["name"] for item in page["items"]]
        token = page["metadata"].get("continue")
    assert found == ["m0", "m1", "m2", "m3", "m4"]
    assert "data" not in page["items"][-1]


async def test_pages_of_selected_objects_are_full(api: Api):
    """The selector drops most objects; each page is full, and each object is in one page."""
    for number in range(12):
        labels = {"app": "web"} if number % 5 in (0, 1) else {}
        made = config_map(f"m{number:02}")
        made["metadata"]["labels"] = labels
        await api.make(MAPS, made)
    for limit in (1, 2, 3, 5, 50):
        query, sizes, found = f"{MAPS}?labelSelector=app%3Dweb&limit={limit}", [], []
        token = ""
        while True:
            page = await api("GET", query + (f"&continue={token}" if token else ""))
            sizes.append(len(page["items"]))
            found += [item["metadata"]["name"] for item in page["items"]]
            token = page["metadata"].get("continue")
            if not token:
                break
        assert found == ["m00", "m01", "m05", "m06", "m10", "m11"]
        assert set(sizes[:-1]) <= {limit}


async def test_a_page_of_a_compacted_revision_has_expired(api: Api):
    await fill(api, 3)
    token = (await api("GET", f"{MAPS}?limit=1"))["metadata"]["continue"]
    await api.make(MAPS, config_map("z"))
    await api.state.store.compact(api.state.store.revision)
    late = await api("GET", f"{MAPS}?limit=1&continue={token}")
    assert (late.code, late["reason"]) == (410, "Expired")
    assert (await api("GET", f"{MAPS}?continue=rubbish")).code == 400


async def test_exact_and_future_revisions(api: Api):
    made = await api.make(MAPS, config_map("a"))
    then = made["metadata"]["resourceVersion"]
    await api("DELETE", f"{MAPS}/a")
    exact = f"{MAPS}?resourceVersion={then}&resourceVersionMatch=Exact"
    assert await names(api, exact) == ["a"]
    assert await names(api, f"{MAPS}?resourceVersion={then}") == []
    assert await names(api, f"{MAPS}?resourceVersion=0") == []
    future = await api("GET", f"{MAPS}?resourceVersion=99999")
    assert (future.code, future["reason"]) == (504, "Timeout")
    assert future["details"]["causes"][0]["reason"] == "ResourceVersionTooLarge"


async def test_tables(api: Api):
    await api.make(PODS, pod("a", nodeName="n1"))
    table = await api("GET", PODS, Accept=TABLE)
    assert (table["kind"], table["apiVersion"]) == ("Table", "meta.k8s.io/v1")
    columns = [column["name"] for column in table["columnDefinitions"]]
    assert columns[:5] == ["Name", "Ready", "Status", "Restarts", "Age"]
    (row,) = table["rows"]
    assert row["cells"][:4] == ["a", "0/1", "Pending", "0"]
    assert row["object"]["kind"] == "PartialObjectMetadata"
    whole = await api("GET", f"{PODS}/a?includeObject=Object", Accept=TABLE)
    assert whole["rows"][0]["object"]["spec"]["nodeName"] == "n1"
    bare = await api("GET", f"{PODS}?includeObject=None", Accept=TABLE)
    assert bare["rows"][0]["object"] is None


async def test_bare_metadata(api: Api):
    await api.make(MAPS, config_map("a", x="1"))
    found = await api("GET", MAPS, Accept=PARTIAL)
    assert found["kind"] == "PartialObjectMetadataList"
    (item,) = found["items"]
    assert item.keys() == {"kind", "apiVersion", "metadata"}
    assert item["metadata"]["name"] == "a"


@pytest.mark.parametrize(
    ("accept", "code"),
    [
        ("", 200),
        ("*/*", 200),
        ("application/vnd.kubernetes.protobuf,application/json", 200),
        ("application/vnd.kubernetes.protobuf", 406),
        ("text/html", 406),
        ("application/json;as=Nonsense;v=v1;g=meta.k8s.io", 406),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", 200),
    ],
)
async def test_accept(api: Api, accept: str, code: int):
    assert (await api("GET", MAPS, Accept=accept)).code == code


async def test_a_page_has_no_revision_of_the_clients_choice(api: Api):
    await fill(api, 3)
    token = (await api("GET", f"{MAPS}?limit=1"))["metadata"]["continue"]
    page = f"{MAPS}?limit=1&continue={token}"
    refused = await api("GET", f"{page}&resourceVersion={api.state.store.revision}")
    message = "specifying resource version is not allowed when using continue"
    assert (refused.code, refused["message"]) == (400, message)
    assert await names(api, f"{page}&resourceVersion=0") == ["m1"]


_MATCH = "resourceVersionMatch: Forbidden: "


@pytest.mark.parametrize(
    ("query", "why"),
    [
        (
            "resourceVersionMatch=Exact",
            f"{_MATCH}resourceVersionMatch is forbidden unless resourceVersion is provided",
        ),
        (
            "resourceVersion=1&resourceVersionMatch=NotOlderThan&continue=x",
            f"{_MATCH}resourceVersionMatch is forbidden when continue is provided",
        ),
        (
            "resourceVersion=1&resourceVersionMatch=Newer",
            'resourceVersionMatch: Unsupported value: "Newer": supported values:'
            ' "Exact", "NotOlderThan", ""',
        ),
        (
            "resourceVersion=0&resourceVersionMatch=Exact",
            f'{_MATCH}resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
        ),
        (
            "sendInitialEvents=true",
            "sendInitialEvents: Forbidden: sendInitialEvents is forbidden for list",
        ),
        (
            "watch=1&timeoutSeconds=1&sendInitialEvents=true",
            f"{_MATCH}sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
        ),
        (
            "watch=1&timeoutSeconds=1&resourceVersionMatch=NotOlderThan",
            f"{_MATCH}resourceVersionMatch is forbidden for watch unless sendInitialEvents is"
            " provided",
        ),
    ],
)
async def test_options_that_contradict_each_other(api: Api, query: str, why: str):
    refused = await api("GET", f"{MAPS}?{query}")
    assert (refused.code, refused["reason"]) == (422, "Invalid")
    assert refused["message"] == f'ListOptions.meta.k8s.io "" is invalid: {why}'
    assert refused["details"]["kind"] == "ListOptions"


async def test_an_answer_says_in_its_headers_when_to_ask_again(api: Api):
    """client-go waits by the header, not by the Status."""
    async with api.session.get(f"{MAPS}?resourceVersion=999999999") as answer:
        body = await answer.json()
    assert (answer.status, body["details"]["retryAfterSeconds"]) == (504, 1)
    assert answer.headers["Retry-After"] == "1"
    async with api.session.get(f"{MAPS}/nothing") as answer:
        assert answer.status == 404 and "Retry-After" not in answer.headers
