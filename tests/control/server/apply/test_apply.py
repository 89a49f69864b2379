"""Server-side apply over HTTP: managers, conflicts, force, removal and shared fields."""

import asyncio
import json
from typing import Any

import pytest

from control.server.wire.body import MAX_NODES
from tests.support.control.requests import (
    APPS,
    CORE,
    MERGE,
    Api,
    Reply,
    config_map,
    deployment,
    pod,
)

APPLY = "application/apply-patch+yaml"
MAP = f"{CORE}/configmaps/a"
MAP_TYPE = {"apiVersion": "v1", "kind": "ConfigMap"}
WEB = f"{APPS}/deployments/d"


async def apply(
    api: Api, who: str, wanted: Any, path: str = MAP, query: str = "", media: str = APPLY
) -> Reply:
    return await api("PATCH", f"{path}?fieldManager={who}{query}", wanted, media)


def of_data(**data: str) -> dict[str, Any]:
    return MAP_TYPE | config_map(**data)


def owners(reply: Reply | dict[str, Any]) -> dict[tuple[str, str], Any]:
    """The fields of each manager, by its name and operation."""
    entries = reply["metadata"].get("managedFields", [])
    return {(each["manager"], each["operation"]): each["fieldsV1"] for each in entries}


async def test_an_apply_creates_and_changes_and_removes(api: Api):
    made = await apply(api, "one", of_data(a="1", b="1"))
    assert (made.code, made["data"]) == (201, {"a": "1", "b": "1"})
    (entry,) = made["metadata"]["managedFields"]
    assert entry.pop("time")
    assert entry == {
        "manager": "one",
        "operation": "Apply",
        "apiVersion": "v1",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:data": {"f:a": {}, "f:b": {}}},
    }
    changed = await apply(api, "one", of_data(a="2"))
    assert (changed.code, changed["data"]) == (200, {"a": "2"})
    same = await apply(api, "one", of_data(a="2"))
    assert same.body == changed.body  # no new version, no new time


async def test_a_conflict_is_refused_with_its_causes_and_force_takes_over(api: Api):
    await apply(api, "one", of_data(a="1", b="1"))
    refused = await apply(api, "two", of_data(a="2", b="1"))
    assert refused.code == 409
    assert refused["reason"] == "Conflict"
    assert refused["message"] == 'Apply failed with 1 conflict: conflict with "one": .data.a'
    assert refused["details"] == {
        "causes": [
            {
                "reason": "FieldManagerConflict",
                "message": 'conflict with "one"',
                "field": ".data.a",
            }
        ]
    }
    both = await apply(api, "two", of_data(a="2", b="2"))
    assert both["message"] == (
        'Apply failed with 2 conflicts: conflicts with "one":\n- .data.a\n- .data.b'
    )
    forced = await apply(api, "two", of_data(a="2", b="1"), query="&force=true")
    assert forced["data"] == {"a": "2", "b": "1"}
    assert owners(forced) == {
        ("one", "Apply"): {"f:data": {"f:b": {}}},
        ("two", "Apply"): {"f:data": {"f:a": {}, "f:b": {}}},
    }


async def test_a_shared_field_stays_until_its_last_manager_drops_it(api: Api):
    await apply(api, "one", of_data(a="1", b="1"))
    await apply(api, "two", of_data(b="1", c="1"))
    assert (await apply(api, "one", of_data(a="1")))["data"] == {"a": "1", "b": "1", "c": "1"}
    assert (await apply(api, "two", of_data(c="1")))["data"] == {"a": "1", "c": "1"}


async def test_an_update_takes_fields_and_an_apply_meets_them(api: Api):
    await apply(api, "one", of_data(a="1", b="1"))
    taken = await api("PATCH", f"{MAP}?fieldManager=ed", {"data": {"a": "2"}}, MERGE)
    assert owners(taken) == {
        ("one", "Apply"): {"f:data": {"f:b": {}}},
        ("ed", "Update"): {"f:data": {"f:a": {}}},
    }
    refused = await apply(api, "one", of_data(a="1", b="1"))
    assert refused["message"] == (
        'Apply failed with 1 conflict: conflict with "ed" using v1: .data.a'
    )


async def test_the_manager_of_other_writes_is_the_user_agent(api: Api):
    path = f"{CORE}/configmaps"
    agent = {"User-Agent": "ki\u00a0te/1.2 (linux) x"}
    made = await api("POST", path, config_map(a="1"), **agent)
    assert owners(made) == {("kite", "Update"): {"f:data": {".": {}, "f:a": {}}}}
    put = await api("PUT", f"{MAP}?fieldManager=me", made.body | {"data": {"a": "2"}})
    assert owners(put) == {
        ("kite", "Update"): {"f:data": {}},
        ("me", "Update"): {"f:data": {"f:a": {}}},
    }
    again = await api("PUT", f"{MAP}?fieldManager=me", put.body)
    assert again.body == put.body


async def test_a_status_has_managers_of_its_own(api: Api):
    await apply(api, "one", {"apiVersion": "v1", "kind": "Pod"} | pod(), f"{CORE}/pods/p")
    ready = {"type": "Ready", "status": "True"}
    status = {"status": {"conditions": [ready]}, "spec": {"nodeName": "x"}}
    query = f"{CORE}/pods/p/status?fieldManager=kubelet"
    done = await api("PATCH", query, status, "application/strategic-merge-patch+json")
    entry = done["metadata"]["managedFields"][1]
    assert (entry["manager"], entry["subresource"]) == ("kubelet", "status")
    condition = entry["fieldsV1"]["f:status"]["f:conditions"]['k:{"type":"Ready"}']
    assert {".", "f:status", "f:type"} <= condition.keys()
    assert entry["fieldsV1"].keys() == {"f:status"}
    wanted = {"apiVersion": "v1", "kind": "Pod", "status": {"reason": "R"}}
    applied = await apply(api, "ctl", wanted, f"{CORE}/pods/p/status")
    assert applied["status"]["reason"] == "R"
    assert owners(applied)["ctl", "Apply"] == {"f:status": {"f:reason": {}}}
    assert applied["spec"].get("nodeName") is None


async def test_scale_takes_the_replicas(api: Api):
    await apply(api, "one", {"apiVersion": "apps/v1", "kind": "Deployment"} | deployment(), WEB)
    await api("PATCH", f"{WEB}/scale?fieldManager=hpa", {"spec": {"replicas": 3}}, MERGE)
    found = await api("GET", WEB)
    assert found["metadata"]["managedFields"][1] | {"time": ""} == {
        "manager": "hpa",
        "operation": "Update",
        "apiVersion": "apps/v1",
        "time": "",
        "fieldsType": "FieldsV1",
        "fieldsV1": {"f:spec": {"f:replicas": {}}},
        "subresource": "scale",
    }
    assert "f:replicas" not in owners(found)["one", "Apply"]["f:spec"]
    scale = {"apiVersion": "autoscaling/v1", "kind": "Scale", "spec": {"replicas": 4}}
    refused = await apply(api, "x", scale, f"{WEB}/scale")
    assert 'conflict with "hpa" with subresource "scale" using apps/v1' in refused["message"]
    done = await apply(api, "x", scale, f"{WEB}/scale", "&force=true")
    assert (done.code, done["spec"]["replicas"]) == (200, 4)


async def test_an_applied_item_of_a_list_merges_by_its_key(api: Api):
    wanted = {"apiVersion": "apps/v1", "kind": "Deployment"} | deployment()
    await apply(api, "one", wanted, WEB)
    port = {"name": "c", "ports": [{"containerPort": 80}]}
    other = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "d"},
        "spec": {"template": {"spec": {"containers": [port, {"name": "e", "image": "y"}]}}},
    }
    both = await apply(api, "two", other, WEB)
    assert [(item["name"], item["image"]) for item in containers(both)] == [
        ("c", "busybox:1"),
        ("e", "y"),
    ]
    assert containers(both)[0]["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    other["spec"] = {}
    left = await apply(api, "two", other, WEB)
    assert [item["name"] for item in containers(left)] == ["c"]
    assert "ports" not in containers(left)[0]


def containers(workload: Reply) -> list[dict[str, Any]]:
    return list(workload["spec"]["template"]["spec"]["containers"])


async def test_a_dry_run_changes_nothing(api: Api):
    made = await apply(api, "one", of_data(a="1"), query="&dryRun=All")
    assert (made.code, owners(made)) == (201, {("one", "Apply"): {"f:data": {"f:a": {}}}})
    assert (await api("GET", MAP)).code == 404
    stored = await apply(api, "one", of_data(a="1"))
    dry = await apply(api, "one", of_data(a="2"), query="&dryRun=All")
    assert dry["data"] == {"a": "2"}
    assert (await api("GET", MAP)).body == stored.body


async def test_managers_can_be_replaced_and_forgotten(api: Api):
    """As kubectl's migration from client-side apply does, by a JSON patch."""
    made = await apply(api, "one", of_data(a="1"))
    entries = [made["metadata"]["managedFields"][0] | {"manager": "kubectl"}]
    replaced = [
        {"op": "replace", "path": "/metadata/managedFields", "value": entries},
        {
            "op": "replace",
            "path": "/metadata/resourceVersion",
            "value": made["metadata"]["resourceVersion"],
        },
    ]
    done = await api("PATCH", MAP, replaced, "application/json-patch+json")
    assert owners(done) == {("kubectl", "Apply"): {"f:data": {"f:a": {}}}}
    assert (await api("PATCH", MAP, replaced, "application/json-patch+json")).code == 409
    cleared = await api("PATCH", MAP, {"metadata": {"managedFields": [{}]}}, MERGE)
    assert "managedFields" not in cleared["metadata"]
    changed = await api("PATCH", MAP, {"data": {"a": "2"}}, MERGE)
    assert "managedFields" not in changed["metadata"]  # nobody tracks it before the next apply
    again = await apply(api, "one", of_data(b="2"))
    assert owners(again)["before-first-apply", "Update"] == {"f:data": {".": {}, "f:a": {}}}


async def test_malformed_managers_are_not_taken(api: Api):
    made = await apply(api, "one", of_data(a="1"))
    for entry in ({"manager": "x"}, made["metadata"]["managedFields"][0] | {"fieldsV1": {"a": {}}}):
        sent = made.body | {"metadata": made["metadata"] | {"managedFields": [entry]}}
        assert owners(await api("PUT", MAP, sent)) == owners(made)


async def test_every_answer_has_the_managers_that_the_store_has(api: Api):
    made = await apply(api, "one", of_data(a='"managedFields":[{}],"name":"b"'))
    partial = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io"
    table = "application/json;as=Table;v=v1;g=meta.k8s.io"
    listed = await api("GET", f"{CORE}/configmaps")
    kind = {"kind": "ConfigMap", "apiVersion": "v1"}  # which a list says once
    assert [kind | one for one in listed["items"] if one["metadata"]["name"] == "a"] == [made.body]
    assert owners(await api("GET", MAP, Accept=partial)) == owners(made)
    (row,) = (await api("GET", MAP, Accept=table))["rows"]
    assert owners(row["object"]) == {}  # no row of a Table shows them
    (row,) = (await api("GET", f"{MAP}?includeObject=Object", Accept=table))["rows"]
    assert row["object"] == made.body
    marked = await api("PATCH", MAP, {"metadata": {"finalizers": ["a.b/c"]}}, MERGE)
    gone = await api("DELETE", MAP)
    assert gone["metadata"]["deletionTimestamp"]
    assert owners(gone) == owners(marked)


@pytest.mark.parametrize(
    ("query", "wanted", "code", "message"),
    [
        (
            "?force=true",
            of_data(),
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for'
            " apply patch",
        ),
        (
            "?fieldManager=" + "x" * 129,
            of_data(),
            422,
            'PatchOptions.meta.k8s.io "" is invalid: fieldManager: Too long: may not be more than'
            " 128 bytes",
        ),
        ("?fieldManager=x", {}, 400, "invalid object type: /, Kind="),
        (
            "?fieldManager=x",
            {"apiVersion": "v1", "kind": "Secret"},
            400,
            "invalid object type: /v1, Kind=Secret",
        ),
        (
            "?fieldManager=x",
            MAP_TYPE | {"metadata": {"managedFields": []}},
            400,
            "metadata.managedFields must be nil",
        ),
        (
            "?fieldManager=x",
            MAP_TYPE | config_map("b"),
            400,
            "the name of the object (b) does not match the name on the URL (a)",
        ),
        (
            "?fieldManager=x",
            of_data() | {"datum": {}},
            500,
            "failed to create typed patch object (default/a; v1, Kind=ConfigMap): .datum: field not"
            " declared in schema",
        ),
        ("?fieldManager=x", b"[", 400, "error decoding YAML: error converting YAML to JSON: yaml:"),
        ("?fieldManager=x", b"a: *b", 400, "error decoding YAML: error converting YAML to JSON"),
        (
            "?fieldManager=x",
            b"apiVersion: v1\nkind: ConfigMap\nkind: ConfigMap\nmetadata: {name: a}\n",
            400,
            'error strict decoding YAML: line 3: key "kind" already set in map',
        ),
    ],
)
async def test_what_cannot_be_applied(api: Api, query: str, wanted: Any, code: int, message: str):
    strict = f"{query}&fieldValidation=Strict"
    refused = await api("PATCH", f"{MAP}{strict}", wanted, APPLY)
    assert (refused.code, refused["message"][: len(message)]) == (code, message)
    assert (await api("GET", MAP)).code == 404


async def test_force_is_only_for_apply(api: Api):
    await api.make(f"{CORE}/configmaps", config_map())
    refused = await api("PATCH", f"{MAP}?force=true", {}, MERGE)
    assert (refused.code, refused["details"]["causes"][0]["field"]) == (422, "force")


async def test_yaml_is_read_by_upstreams_rules(api: Api):
    text = """
        # a comment
        apiVersion: v1
        kind: ConfigMap
        metadata: {name: a, annotations: &x {day: 2001-01-01, yes: "on"}, labels: *x}
        data: {1: "0x10"}
    """
    made = await apply(api, "one", text.encode())
    assert made["metadata"]["annotations"] == {"day": "2001-01-01", "true": "on"}
    assert made["metadata"]["labels"] == made["metadata"]["annotations"]
    assert made["data"] == {"1": "0x10"}


@pytest.mark.parametrize(
    "text",
    [
        b"[" * 20_000,
        b"a: &a [x]\n" + b"".join(b"b%d: &b%d [%b]\n" % (n, n, b"*a," * 9) for n in range(2)),
        b"a: &a " + b"x" * 100_000 + b"\nb: [" + b"*a," * 1000 + b"]\n",
        b"a: &a [*a]",
        b"{" + b",".join(b"k%d: []" % n for n in range(MAX_NODES + 1)) + b"}",
        b"\xff\xfe",
        b"? [a]\n: b",
    ],
)
async def test_hostile_yaml_is_refused(api: Api, text: bytes):
    assert (await apply(api, "one", text)).code in (400, 413)


async def test_two_first_applies_at_once_both_count(api: Api):
    wanted = [of_data(**{name: "1"}) for name in "abcdef"]
    replies = await asyncio.gather(*(apply(api, f"m{n}", each) for n, each in enumerate(wanted)))
    assert sorted(reply.code for reply in replies) == [200] * 5 + [201]
    found = await api("GET", MAP)
    assert found["data"] == dict.fromkeys("abcdef", "1")
    assert len(owners(found)) == 6


async def test_a_large_object_is_applied_in_a_worker(api: Api):
    data = {f"k{n}": "x" for n in range(2000)}
    made = await apply(api, "one", of_data(**data))
    assert (made.code, made["data"]) == (201, data)
    del data["k0"]
    block = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n" + b"".join(
        f"  {name}: {value}\n".encode() for name, value in data.items()
    )
    changed = await apply(api, "one", block)
    assert (changed.code, changed["data"]) == (200, data)


async def test_a_repeated_field_is_found_beside_managers(api: Api):
    """Names of list items in managedFields have quotes and colons, as the ends of names do."""
    await api.make(f"{CORE}/pods", pod())
    found = await api("GET", f"{CORE}/pods/p")
    assert "k:" in str(found["metadata"]["managedFields"])
    put = await api("PUT", f"{CORE}/pods/p", found.body)
    assert (put.code, put.warnings) == (200, ())
    text = json.dumps(found.body).encode()
    twice = text.replace(b'"kind": "Pod"', b'"kind": "Pod", "kind": "Pod"', 1)
    put = await api("PUT", f"{CORE}/pods/p", twice)
    assert put.warnings == ('299 - "duplicate field \\"kind\\""',)


async def test_a_binding_has_no_manager_and_a_finalizer_of_a_namespace_has(api: Api):
    made = await api.make(f"{CORE}/pods", pod())
    target = {"target": {"kind": "Node", "name": "n"}}
    await api.make(f"{CORE}/pods/p/binding?fieldManager=x", target)
    bound = await api("GET", f"{CORE}/pods/p")
    assert bound["spec"]["nodeName"] == "n"
    assert bound["metadata"]["managedFields"] == made["metadata"]["managedFields"]
    space = await api.make("/api/v1/namespaces", {"metadata": {"name": "s"}})
    space["spec"]["finalizers"] = ["kubernetes", "a.b/c"]
    done = await api("PUT", "/api/v1/namespaces/s/finalize?fieldManager=f", space)
    entry = next(each for each in done["metadata"]["managedFields"] if each["manager"] == "f")
    assert (entry["subresource"], entry["fieldsV1"]) == (
        "finalize",
        {"f:spec": {"f:finalizers": {}}},
    )


async def test_an_item_without_its_key_stops_no_write(api: Api):
    """Upstream's server stores such an object without managers, and says no to an apply alone."""
    accounts, account = f"{CORE}/serviceaccounts", {"metadata": {"name": "s"}, "secrets": [{}]}
    assert owners(await api.make(accounts, account)) == {}
    patch = {"metadata": {"labels": {"a": "b"}}}
    assert (await api("PATCH", f"{accounts}/s", patch, MERGE)).code == 200
    wanted = {"apiVersion": "v1", "kind": "ServiceAccount"} | patch
    refused = await apply(api, "one", wanted, f"{accounts}/s")
    why = "failed to create typed live object (default/s; v1, Kind=ServiceAccount): associative"
    assert (refused.code, refused["message"][: len(why)]) == (500, why)
    repaired = await api("PATCH", f"{accounts}/s", {"secrets": None}, MERGE)
    assert repaired.code == 200
    assert (await apply(api, "one", wanted, f"{accounts}/s")).code == 200


async def test_an_update_that_brings_an_item_without_its_key_keeps_the_managers(api: Api):
    account = {"metadata": {"name": "s", "labels": {"a": "b"}}}
    made = await api.make(f"{CORE}/serviceaccounts", account)
    nameless = await api("PATCH", f"{CORE}/serviceaccounts/s", {"secrets": [{}]}, MERGE)
    assert nameless.code == 200
    assert owners(nameless) == owners(made) != {}


async def test_the_name_of_a_pull_secret_is_empty_by_default(api: Api):
    made = await api.make(f"{CORE}/pods", pod(imagePullSecrets=[{"name": ""}]))
    (fields,) = owners(made).values()
    secrets = {".": {}, 'k:{"name":""}': {}}
    assert fields["f:spec"]["f:imagePullSecrets"] == secrets
