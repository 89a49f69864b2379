"""Custom objects: pruning, defaults, validation, subresources, versions, server-side apply."""

from typing import Any

from control.api.kinds import DEFINITION
from control.server.app import serve
from control.server.verbs.create import make
from control.server.wire.decode import read
from control.server.wire.info import RequestInfo
from control.server.wire.request import ApiRequest, User
from control.store.memory import MemoryStore
from tests.support.control.definitions import (
    CRONTABS,
    DEFINITIONS,
    NAME,
    SPEC,
    STATUS,
    crontab,
    definition,
    established,
    until,
    version,
)
from tests.support.control.requests import MERGE, Api

RESOURCE = ("example.com", "v1", "crontabs")
APPLY = "application/apply-patch+yaml"
SUBRESOURCES = {
    "status": {},
    "scale": {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.labels",
    },
}


async def test_unknown_fields_are_pruned_and_named(api: Api):
    await established(api)
    body = crontab(typo=1, free={"any": {"thing": 1}}, port="http")
    made = await api("POST", CRONTABS, body)
    assert (made.code, len(made.warnings)) == (201, 1)
    assert 'unknown field \\"spec.typo\\"' in made.warnings[0]
    assert "typo" not in made["spec"]
    assert (made["spec"]["free"], made["spec"]["port"]) == ({"any": {"thing": 1}}, "http")
    strict = await api("POST", f"{CRONTABS}?fieldValidation=Strict", crontab("b", typo=1, x=2))
    assert (strict.code, strict["message"]) == (
        400,
        'CronTab in version "v1" cannot be handled as a CronTab: strict decoding error:'
        ' unknown field "spec.typo", unknown field "spec.x"',
    )
    named = crontab("b")
    named["metadata"]["nonsense"] = 1
    strict = await api("POST", f"{CRONTABS}?fieldValidation=Strict", named)
    assert 'unknown field "metadata.nonsense"' in strict["message"]
    wrong = crontab("b")
    wrong["metadata"]["labels"] = []
    refused = await api("POST", CRONTABS, wrong)
    assert (refused.code, "cannot unmarshal array" in refused["message"]) == (400, True)


# A spec, and what upstream says of it.
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"replicas": 11}, "spec.replicas in body should be less than or equal to 10"),
    ({"replicas": 0}, "spec.replicas in body should be greater than or equal to 1"),
    (
        {"replicas": "2"},
        'spec.replicas: Invalid value: "string": spec.replicas in body must be of type integer:'
        ' "string"',
    ),
    ({"cronSpec": "never"}, "spec.cronSpec in body should match '^("),
    ({"cronSpec": None}, "spec.cronSpec: Required value"),
    ({"port": []}, 'spec.port in body must be of type integer,string: "array"'),
    ({"env": [{}]}, "spec.env[0].name: Required value"),
    ({"env": [{"name": "a"}, {"name": "a"}]}, 'spec.env[1]: Duplicate value: {"name":"a"}'),
]


async def test_values_are_checked_with_upstreams_texts(api: Api):
    await established(api)
    for spec, text in REFUSED:
        refused = await api("POST", CRONTABS, crontab(**spec))
        assert (refused.code, text in refused["message"]) == (422, True), refused["message"]
    body = crontab()
    del body["spec"]
    assert (await api("POST", CRONTABS, body)).code == 201


async def test_what_was_invalid_before_may_stay(api: Api):
    await established(api)
    await api.make(CRONTABS, crontab(replicas=5))
    replicas = {"replicas": {"type": "integer", "maximum": 3}}
    await change_schema(api, SPEC | {"properties": SPEC["properties"] | replicas})
    kept = await api("PATCH", f"{CRONTABS}/a", {"spec": {"image": "x"}}, MERGE)
    assert (kept.code, kept["spec"]["replicas"]) == (200, 5)
    refused = await api("PATCH", f"{CRONTABS}/a", {"spec": {"replicas": 4}}, MERGE)
    assert refused.code == 422


async def change_schema(api: Api, spec: dict[str, Any]) -> None:
    schema = {"type": "object", "properties": {"spec": spec, "status": STATUS}}
    body = [
        {
            "op": "replace",
            "path": "/spec/versions/0/schema/openAPIV3Schema",
            "value": schema,
        }
    ]
    changed = await api("PATCH", f"{DEFINITIONS}/{NAME}", body, "application/json-patch+json")
    assert changed.code == 200, changed


async def test_objects_show_the_defaults_of_a_later_schema(api: Api):
    await established(api)
    await api.make(CRONTABS, crontab(image="own"))
    more = {"zone": {"type": "string", "default": "utc"}}
    left = {name: each for name, each in SPEC["properties"].items() if name != "image"}
    await change_schema(api, SPEC | {"properties": left | more})
    found = await until(api, f"{CRONTABS}/a", lambda it: "zone" in it["spec"])
    assert found["spec"] == {"cronSpec": "* * * * */5", "zone": "utc"}


async def test_the_status_is_written_apart(api: Api):
    await established(api, definition(version(subresources=SUBRESOURCES)))
    made = await api.make(CRONTABS, crontab(replicas=2) | {"status": {"replicas": 9}})
    assert "status" not in made
    change = made | {"spec": {"cronSpec": "1 * * * *"}, "status": {"replicas": 2, "labels": "a=b"}}
    written = await api("PUT", f"{CRONTABS}/a/status", change)
    assert (written.code, written["spec"]) == (200, made["spec"])
    assert (written["status"]["replicas"], written["metadata"]["generation"]) == (2, 1)
    scale = await api("GET", f"{CRONTABS}/a/scale")
    assert scale["status"] == {"replicas": 2, "selector": "a=b"}
    scaled = await api("PATCH", f"{CRONTABS}/a/scale", {"spec": {"replicas": 4}}, MERGE)
    assert scaled["spec"] == {"replicas": 4}
    assert (await api("GET", f"{CRONTABS}/a"))["metadata"]["generation"] == 2
    refused = await api("PATCH", f"{CRONTABS}/a/status", {"status": {"replicas": "x"}}, MERGE)
    assert (refused.code, "status.replicas in body must be" in refused["message"]) == (422, True)


async def test_a_put_names_the_version_that_it_changes(api: Api):
    await established(api)
    await api.make(CRONTABS, crontab())
    refused = await api("PUT", f"{CRONTABS}/a", crontab())
    assert (refused.code, "must be specified for an update" in refused["message"]) == (422, True)


async def test_versions_show_the_same_objects(api: Api):
    old = version("v1alpha1", storage=False, deprecated=True)
    await established(api, definition(old, version()))
    made = await api.make(CRONTABS, crontab())
    other = CRONTABS.replace("v1", "v1alpha1")
    found = await api("GET", f"{other}/a")
    assert (found["apiVersion"], found["spec"]) == ("example.com/v1alpha1", made["spec"])
    assert "example.com/v1alpha1 CronTab is deprecated" in found.warnings[0]
    older = crontab("b") | {"apiVersion": "example.com/v1alpha1"}
    assert (await api.make(other, older))["apiVersion"] == "example.com/v1alpha1"
    listed = (await api("GET", CRONTABS))["items"]
    assert [item["apiVersion"] for item in listed] == ["example.com/v1"] * 2
    group = await api("GET", "/apis/example.com")
    assert group["preferredVersion"]["version"] == "v1"


async def test_selectors_name_the_fields_of_the_definition(api: Api):
    fields = [{"jsonPath": ".spec.image"}]
    await established(api, definition(version(selectableFields=fields)))
    await api.make(CRONTABS, crontab("a", image="x"))
    await api.make(CRONTABS, crontab("b", image="y"))
    found = (await api("GET", f"{CRONTABS}?fieldSelector=spec.image%3Dy"))["items"]
    assert [item["metadata"]["name"] for item in found] == ["b"]
    assert (await api("GET", f"{CRONTABS}?fieldSelector=spec.replicas%3D1")).code == 400


async def test_applies_merge_by_the_schema(api: Api):
    await established(api)
    path = f"{CRONTABS}/a?fieldManager="
    one = crontab(env=[{"name": "a", "value": "1"}], free={"x": {"y": 1}})
    two = {**crontab(env=[{"name": "b"}], free={"z": 1}), "spec": {}}
    two["spec"] = {"env": [{"name": "b"}], "free": {"z": 1}}
    assert (await api("PATCH", f"{path}one", one, APPLY)).code == 201
    both = await api("PATCH", f"{path}two", two, APPLY)
    assert [each["name"] for each in both["spec"]["env"]] == ["a", "b"]
    assert both["spec"]["free"] == {"x": {"y": 1}, "z": 1}
    managers = {each["manager"]: each["fieldsV1"] for each in both["metadata"]["managedFields"]}
    assert managers["two"]["f:spec"]["f:env"] == {'k:{"name":"b"}': {".": {}, "f:name": {}}}
    conflict = await api("PATCH", f"{path}two", crontab(env=[], free={"x": {"y": 2}}), APPLY)
    assert (conflict.code, ".spec.free.x.y" in conflict["message"]) == (409, True)
    gone = await api("PATCH", f"{path}two", {**two, "spec": {"env": []}}, APPLY)
    assert gone["spec"]["free"] == {"x": {"y": 1}}
    unknown = await api("PATCH", f"{path}two", crontab(typo=1), APPLY)
    assert (unknown.code, ".spec.typo: field not declared in schema" in unknown["message"]) == (
        500,
        True,
    )


async def test_cluster_scoped_objects(api: Api):
    await established(api, definition(scope="Cluster"))
    path = "/apis/example.com/v1/crontabs"
    made = await api.make(path, crontab())
    assert "namespace" not in made["metadata"]
    assert (await api("GET", CRONTABS)).code == 404
    assert (await api("DELETE", path)).code == 200
    assert (await api("GET", path))["items"] == []


async def test_large_objects_are_computed_in_a_worker(api: Api):
    await established(api)
    many = [{"name": f"n{at}"} for at in range(2000)]
    made = await api("POST", CRONTABS, crontab(env=many, typo=1))
    assert (made.code, len(made["spec"]["env"]), len(made.warnings)) == (201, 2000, 1)


async def test_a_definition_is_served_by_other_servers_and_after_a_restart():
    store = MemoryStore()
    async with serve(store, []) as first, serve(store, []) as second:
        info = RequestInfo("create", DEFINITION, "", NAME)
        request = ApiRequest(info, User("test", ("system:masters",)))
        await make(first, request, read(DEFINITION, definition())[0])
        for state in (first, second):
            while RESOURCE not in state.cache.kinds.by_resource:
                await state.cache.reach(state.cache.revision + 1)
    async with serve(store, []) as third:
        assert RESOURCE in third.cache.kinds.by_resource
    await store.close()
