"""OpenAPI: the schemas and operations of every kind, and their encodings."""

import json
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from control.api.definitions.table import definition, type_name
from control.api.kinds import POD, SERVED
from control.server.pages.discovery import REVIEWS, group_versions, subresources, verbs
from control.server.pages.openapi import gnostic, gnostic_v3
from control.server.pages.openapi.documents import v2_document, v3_documents
from control.server.pages.openapi.operations import operations
from control.server.wire.protobuf.wire import fields
from control.server.wire.strict import unknown_complaints
from tests.support.control.requests import Api

V2_PROTOBUF = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
V3_PROTOBUF = V2_PROTOBUF.replace("v2", "v3")
v2 = cache(v2_document)
all_v3 = cache(lambda: dict(v3_documents()))


def v3(group: str, version: str) -> dict[str, Any]:
    """Return the v3 document of a group and version."""
    return all_v3()[group, version]


def schema(name: str) -> dict[str, Any]:
    """Return a v3 schema by the last part of its name."""
    for group, version in group_versions():
        for full, found in v3(group, version)["components"]["schemas"].items():
            if full.rpartition(".")[2] == name:
                return dict(found)
    raise AssertionError(f"no schema {name}")


def inside(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every object in a document."""
    if isinstance(value, dict):
        yield value
        for item in value.values():
            yield from inside(item)
    elif isinstance(value, list):
        for item in value:
            yield from inside(item)


def references(value: Any) -> Iterator[dict[str, Any]]:
    """Yield every reference in a document; a schema of schemas has a property of that name."""
    return (found for found in inside(value) if isinstance(found.get("$ref"), str))


@pytest.mark.parametrize("gv", group_versions(), ids="/".join)
def test_every_reference_of_v3_leads_to_a_schema_of_the_same_document(gv):
    document = v3(*gv)
    known = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]}
    assert {found["$ref"] for found in references(document)} <= known


def test_every_reference_of_v2_leads_to_a_definition():
    known = {f"#/definitions/{name}" for name in v2()["definitions"]}
    assert {found["$ref"] for found in references(v2())} <= known


def test_v2_has_all_that_v3_has():
    documents = [v3(*gv) for gv in group_versions()]
    paths = {path for document in documents for path in document["paths"]}
    schemas = {name for document in documents for name in document["components"]["schemas"]}
    assert (paths, schemas) == (set(v2()["paths"]), set(v2()["definitions"]))


@pytest.mark.parametrize("gv", group_versions(), ids="/".join)
def test_v3_references_have_no_siblings(gv):
    assert all(set(found) == {"$ref"} for found in references(v3(*gv)))


def test_operations_have_names_of_their_own():
    found = [o.id for gv in group_versions() for _, o in operations(*gv)]
    assert len(set(found)) == len(found)
    assert {
        "listCoreV1NamespacedPod",
        "listCoreV1PodForAllNamespaces",
        "readCoreV1Node",
        "patchAppsV1NamespacedDeploymentScale",
        "deleteCoreV1CollectionNamespacedPod",
        "createCoreV1NamespacedPodBinding",
        "connectCoreV1GetNamespacedPodExec",
        "createAuthorizationV1SelfSubjectAccessReview",
    } <= set(found)


@pytest.mark.parametrize(
    "kind", SERVED, ids=lambda kind: f"{kind.plural}.{kind.group}/{kind.version}"
)
def test_every_operation_on_a_kind_is_there(kind):
    paths = v3(kind.group, kind.version)["paths"]
    scope = "{namespace}" if kind.namespaced else None
    many = {"get", "post"} | ({"delete"} if "deletecollection" in verbs(kind) else set())
    assert set(paths[kind.path(scope)]) - {"parameters"} == many
    one = paths[kind.path(scope, "{name}")]
    assert set(one) - {"parameters"} == {"get", "put", "patch", "delete"}
    for sub in subresources(kind):
        assert kind.path(scope, "{name}", sub.name) in paths
    placed = {parameter["name"] for parameter in one["parameters"]}
    assert placed == ({"name", "namespace"} if kind.namespaced else {"name"})


@pytest.mark.parametrize(
    "kind", SERVED, ids=lambda kind: f"{kind.plural}.{kind.group}/{kind.version}"
)
def test_writes_have_the_parameters_that_kubectl_reads(kind):
    gvk = {"group": kind.group, "version": kind.version, "kind": kind.name}
    item = v3(kind.group, kind.version)["paths"][
        kind.path("{namespace}" if kind.namespaced else None, "{name}")
    ]
    taken = {parameter["name"] for parameter in item["patch"]["parameters"]}
    assert taken == {"dryRun", "fieldManager", "fieldValidation", "force"}
    assert {parameter["name"] for parameter in item["put"]["parameters"]} == taken - {"force"}
    assert item["patch"]["x-kubernetes-group-version-kind"] == gvk
    assert "application/strategic-merge-patch+json" in item["patch"]["requestBody"]["content"]


@pytest.mark.parametrize(
    "kind", SERVED, ids=lambda kind: f"{kind.plural}.{kind.group}/{kind.version}"
)
def test_a_schema_names_its_kind_and_has_a_list(kind):
    schemas = v3(kind.group, kind.version)["components"]["schemas"]
    tied = {
        (gvk["group"], gvk["version"], gvk["kind"]): name
        for name, found in schemas.items()
        for gvk in found.get("x-kubernetes-group-version-kind", ())
    }
    name = tied[kind.group, kind.version, kind.name]
    listed = schemas[tied[kind.group, kind.version, f"{kind.name}List"]]
    assert listed["properties"]["items"]["items"]["$ref"].endswith(f"/{name}")
    fields = definition(type_name(kind.group, kind.version, kind.name)).fields
    assert set(schemas[name]["properties"]) == set(fields)


def test_reviews_have_schemas():
    for review in REVIEWS:
        name = type_name(review.group, review.version, review.kind)
        assert f"io.k8s.api.{name}" in v3(review.group, review.version)["components"]["schemas"]


def extensions(model: str, field: str) -> dict[str, Any]:
    found = schema(model)["properties"][field]
    return {
        key.removeprefix("x-kubernetes-"): value
        for key, value in found.items()
        if key.startswith("x-")
    }


def merged(key: str, *keys: str, strategy: str = "merge") -> dict[str, Any]:
    return {
        "patch-strategy": strategy,
        "patch-merge-key": key,
        "list-type": "map",
        "list-map-keys": [*keys] or [key],
    }


@pytest.mark.parametrize(
    ("model", "field", "expected"),
    [
        ("PodSpec", "containers", merged("name")),
        ("PodSpec", "volumes", merged("name", strategy="merge,retainKeys")),
        ("PodSpec", "ephemeralContainers", merged("name")),
        ("Container", "ports", merged("containerPort", "containerPort", "protocol")),
        ("Container", "volumeMounts", merged("mountPath")),
        ("ServiceSpec", "ports", merged("port", "port", "protocol")),
        ("ObjectMeta", "finalizers", {"patch-strategy": "merge", "list-type": "set"}),
        ("PodSpec", "tolerations", {"list-type": "atomic"}),
        ("PodSpec", "nodeSelector", {"map-type": "atomic"}),
        ("ServiceStatus", "conditions", merged("type")),
        ("ResourceRequirements", "claims", {"list-type": "map", "list-map-keys": ["name"]}),
        ("DeploymentSpec", "strategy", {"patch-strategy": "retainKeys"}),
        ("DeploymentSpec", "replicas", {}),
        ("Volume", "nfs", {}),
        ("ServiceSpec", "selector", {"map-type": "atomic"}),
        ("ServiceStatus", "conditions", merged("type")),
        ("IngressSpec", "rules", {"list-type": "atomic"}),
    ],
)
def test_fields_say_how_they_merge(model, field, expected):
    assert extensions(model, field) == expected


def test_a_structure_with_one_owner_says_so():
    assert schema("LabelSelector")["x-kubernetes-map-type"] == "atomic"
    assert "x-kubernetes-map-type" not in schema("PodSpec")


@pytest.mark.parametrize(
    ("model", "field", "expected"),
    [
        ("DeploymentSpec", "paused", {"type": "boolean"}),
        ("DeploymentSpec", "replicas", {"type": "integer", "format": "int32"}),
        ("ObjectMeta", "generation", {"type": "integer", "format": "int64"}),
        ("ServicePort", "protocol", {"type": "string", "default": "TCP"}),
        ("ConfigMap", "data", {"type": "object", "additionalProperties": {"type": "string"}}),
    ],
)
def test_fields_have_types(model, field, expected):
    found = schema(model)["properties"][field]
    assert {key: value for key, value in found.items() if key != "description"} == expected


@pytest.mark.parametrize(
    ("model", "field", "kind"),
    [
        ("ServicePort", "targetPort", "intstr.IntOrString"),
        ("RollingUpdateDeployment", "maxSurge", "intstr.IntOrString"),
        ("EmptyDirVolumeSource", "sizeLimit", "resource.Quantity"),
        ("ObjectMeta", "creationTimestamp", "meta.v1.Time"),
        ("DeploymentSpec", "template", "core.v1.PodTemplateSpec"),
        ("Volume", "projected", "core.v1.ProjectedVolumeSource"),
    ],
)
def test_fields_refer_to_the_schemas_they_hold(model, field, kind):
    assert schema(model)["properties"][field]["allOf"][0]["$ref"].endswith(f".{kind}")


def test_maps_and_lists_refer_to_their_values():
    quantities = schema("ResourceRequirements")["properties"]["limits"]["additionalProperties"]
    assert quantities["$ref"].endswith(".Quantity")
    assert schema("IntOrString")["oneOf"] == [{"type": "integer"}, {"type": "string"}]
    assert schema("PodSpec")["properties"]["containers"]["items"]["$ref"].endswith(".Container")


def test_required_fields_are_listed():
    assert schema("OwnerReference")["required"] == ["apiVersion", "kind", "name", "uid"]
    assert schema("PodSpec")["required"] == ["containers"]


UPSTREAM = Path(sys.prefix) / "share/definitions.json"  # fetched by bin/setup --dev
# Upstream describes the first four at length; the last is a kind of every group.
OWN = ("Quantity", "IntOrString", "Time", "MicroTime", "DeleteOptions")


def plain(value: Any) -> Any:
    """Return a schema of either side without its way to write types, references and required."""
    if isinstance(value, list):
        return [plain(item) for item in value]
    if not isinstance(value, dict):
        return value.replace("\t", " ") if isinstance(value, str) else value
    made = {key: plain(item) for key, item in value.items() if key not in ("enum", "default")}
    if isinstance(made.get("type"), list):
        made["type"] = made["type"][0]  # upstream's table adds null
    if "required" in made and isinstance(made["required"], list):
        made["required"] = sorted(made["required"])
    if isinstance(made.get("$ref"), str):
        made["$ref"] = made["$ref"].rpartition("/")[2]
        made.pop("type", None)
    return made


def test_schemas_are_upstreams():
    found = json.loads(UPSTREAM.read_text())["$defs"]
    for name, own in v2()["definitions"].items():
        assert name in found, name
        if name.endswith("List"):
            continue
        if name.rpartition(".")[2] not in OWN:
            assert plain(own) == plain(found[name]), name


def test_outlined_json_is_checked_for_unknown_fields():
    sources = [{"configMap": {"name": "a", "itms": []}}, {"secrt": {}}]
    spec = {
        "securityContext": {
            "fsGrup": 1,
            "sysctls": [{"name": "a", "vale": "b"}],
            "seLinuxOptions": {"level": "s0"},
        },
        "ephemeralContainers": [{"name": "d", "image": "i"}, {"name": "e", "imge": "i"}],
        "volumes": [{"name": "p", "projected": {"sources": sources}}],
    }
    found = unknown_complaints(POD, "Warn", {"spec": spec})
    assert sorted(text.split('"')[1] for text in found) == [
        "spec.ephemeralContainers[1].imge",
        "spec.securityContext.fsGrup",
        "spec.securityContext.sysctls[0].vale",
        "spec.volumes[0].projected.sources[0].configMap.itms",
        "spec.volumes[0].projected.sources[1].secrt",
    ]


def messages(data: bytes, number: int) -> list[bytes]:
    return [value for at, value in fields(data) if at == number and isinstance(value, bytes)]


def entries(data: bytes, number: int) -> dict[str, bytes]:
    """Read a map: a repeated message of a name and a value."""
    pairs = [
        (messages(pair, 1)[0].decode(), messages(pair, 2)[0]) for pair in messages(data, number)
    ]
    return dict(pairs)


def read_schema(data: bytes) -> dict[str, Any]:
    """Read a Schema of gnostic's OpenAPIv2.proto as JSON."""
    texts = {1: "$ref", 2: "format", 4: "description"}
    found: dict[str, Any] = {
        name: value[0].decode() for at, name in texts.items() if (value := messages(data, at))
    }
    for value in messages(data, 5):
        found["default"] = json.loads(messages(value, 2)[0])
    if required := messages(data, 19):
        found["required"] = [value.decode() for value in required]
    for value in messages(data, 21):
        found["additionalProperties"] = read_schema(messages(value, 1)[0])
    for value in messages(data, 22):
        found["type"] = messages(value, 1)[0].decode()
    for value in messages(data, 23):
        found["items"] = read_schema(messages(value, 1)[0])
    for value in messages(data, 25):
        found["properties"] = {n: read_schema(s) for n, s in entries(value, 1).items()}
    for name, value in entries(data, 31).items():
        found[name] = json.loads(messages(value, 2)[0])
    return found


def test_the_protobuf_holds_every_definition():
    (definitions,) = messages(gnostic.document(v2()), 9)
    read = {name: read_schema(value) for name, value in entries(definitions, 1).items()}
    assert read == v2()["definitions"]


METHODS = {2: "get", 3: "put", 4: "post", 5: "delete", 8: "patch"}


def read_parameter(data: bytes) -> str:
    """Read a parameter's oneof: a body, or the name of a query or path parameter."""
    (parameter,) = messages(data, 1)
    if messages(parameter, 1):
        return "body"
    (other,) = messages(parameter, 2)
    ((place, value),) = fields(other)
    assert isinstance(value, bytes)
    assert messages(value, 2)[0].decode() == {3: "query", 4: "path"}[place]
    return messages(value, 4)[0].decode()


def test_the_protobuf_holds_every_operation():
    (paths,) = messages(gnostic.document(v2()), 8)
    read = entries(paths, 2)
    assert set(read) == set(v2()["paths"])
    for path, item in v2()["paths"].items():
        found = {METHODS[at]: value for at, value in fields(read[path]) if at in METHODS}
        assert set(found) == set(item) - {"parameters"}
        for method, data in found.items():
            assert isinstance(data, bytes)
            assert messages(data, 5)[0].decode() == item[method]["operationId"]
            taken = [read_parameter(value) for value in messages(data, 8)]
            assert taken == [parameter["name"] for parameter in item[method].get("parameters", ())]
            codes = entries(messages(data, 9)[0], 1)
            assert set(codes) == set(item[method]["responses"])
            kind = json.loads(messages(entries(data, 13)["x-kubernetes-group-version-kind"], 2)[0])
            assert kind == item[method]["x-kubernetes-group-version-kind"]


@given(st.dictionaries(st.text(), st.text(max_size=300), max_size=5))
def test_texts_of_any_length_survive_the_wire(texts):
    document = {"definitions": {name: {"description": text} for name, text in texts.items()}}
    (definitions,) = messages(gnostic.document(document), 9)
    read = {name: read_schema(value) for name, value in entries(definitions, 1).items()}
    assert read == document["definitions"]


def read_v3_schema(data: bytes) -> dict[str, Any]:
    """Read a SchemaOrReference of gnostic's OpenAPIv3.proto as JSON."""
    if reference := messages(data, 2):
        return {"$ref": messages(reference[0], 1)[0].decode()}
    (data,) = messages(data, 1)
    texts = {25: "type", 34: "description", 35: "format"}
    found: dict[str, Any] = {
        name: value[0].decode() for at, name in texts.items() if (value := messages(data, at))
    }
    for at, name in {26: "allOf", 27: "oneOf"}.items():
        if several := messages(data, at):
            found[name] = [read_v3_schema(value) for value in several]
    if required := messages(data, 23):
        found["required"] = [value.decode() for value in required]
    for value in messages(data, 30):
        found["items"] = read_v3_schema(messages(value, 1)[0])
    for value in messages(data, 31):
        found["properties"] = {n: read_v3_schema(s) for n, s in entries(value, 1).items()}
    for value in messages(data, 32):
        found["additionalProperties"] = read_v3_schema(messages(value, 1)[0])
    for value in messages(data, 33):
        found["default"] = messages(value, 3)[0].decode()
    for name, value in entries(data, 36).items():
        found[name] = json.loads(messages(value, 2)[0])
    return found


V3_METHODS = {4: "get", 5: "put", 6: "post", 7: "delete", 10: "patch"}


@pytest.mark.parametrize("gv", [("apps", "v1"), ("", "v1"), ("batch", "v1")], ids="/".join)
def test_the_protobuf_of_v3_holds_every_schema_and_operation(gv):
    written = gnostic_v3.document(v3(*gv))
    (components,) = messages(written, 5)
    read = entries(messages(components, 1)[0], 1)
    found = {name: read_v3_schema(value) for name, value in read.items()}
    assert found == v3(*gv)["components"]["schemas"]
    (paths,) = messages(written, 4)
    for path, item in entries(paths, 1).items():
        given = v3(*gv)["paths"][path]
        operations = {V3_METHODS[at]: value for at, value in fields(item) if at in V3_METHODS}
        assert set(operations) == set(given) - {"parameters"}
        for method, data in operations.items():
            assert isinstance(data, bytes)
            assert messages(data, 5)[0].decode() == given[method]["operationId"]
            assert len(messages(data, 6)) == len(given[method].get("parameters", ()))
            assert set(entries(messages(data, 8)[0], 2)) == set(given[method]["responses"])


def test_all_that_a_schema_of_a_custom_kind_may_say_has_a_place():
    """The bytes were read by protoc's code for gnostic's own file."""
    custom = {
        "nullable": True,
        "maximum": 1.5,
        "maxLength": 300,
        "enum": ["a", 1],
        "default": {"no": "place"},
        "additionalProperties": False,
        "not": {"minItems": 1},
    }
    (components,) = messages(gnostic_v3.document({"components": {"schemas": {"c": custom}}}), 5)
    schema = messages(entries(messages(components, 1)[0], 1)["c"], 1)[0]
    assert schema.hex() == (
        "0801"  # nullable
        "59000000000000f83f"
        "78ac02"
        "c201051203226122c201031201318202021000ea0103980101"
    )


def test_unknown_members_are_refused_in_protobuf():
    with pytest.raises(KeyError):
        gnostic.document({"definitions": {"a": {"oneOf": []}}})


async def test_the_index_names_documents_that_can_be_cached(api: Api):
    index = (await api("GET", "/openapi/v3")).body["paths"]
    assert set(index) == {f"apis/{g}/{v}" if g else f"api/{v}" for g, v in group_versions()}
    for place in index.values():
        async with api.session.get(place["serverRelativeURL"]) as answer:
            assert "immutable" in answer.headers["Cache-Control"]
            assert (await answer.json())["openapi"] == "3.0.0"
            tag = {"If-None-Match": answer.headers["ETag"]}
        async with api.session.get(place["serverRelativeURL"], headers=tag) as again:
            assert (again.status, await again.read()) == (304, b"")


async def test_an_old_hash_redirects_to_the_new_document(api: Api):
    index = (await api("GET", "/openapi/v3")).body["paths"]
    old = "/openapi/v3/apis/apps/v1?hash=OLD"
    async with api.session.get(old, allow_redirects=False) as answer:
        place = index["apis/apps/v1"]["serverRelativeURL"]
        assert (answer.status, answer.headers["Location"]) == (301, place)
    async with api.session.get("/openapi/v3/apis/apps/v1") as answer:
        assert (answer.status, answer.headers["Cache-Control"]) == (200, "no-cache, private")


@pytest.mark.parametrize(
    ("path", "accept", "code", "media"),
    [
        ("/openapi/v2", "", 200, "application/json"),
        ("/openapi/v2", "*/*", 200, "application/json"),
        ("/openapi/v2", V2_PROTOBUF, 200, V2_PROTOBUF.replace("@", ".")),
        (
            "/openapi/v2",
            f"application/json;q=0.5, {V2_PROTOBUF}",
            200,
            V2_PROTOBUF.replace("@", "."),
        ),
        ("/openapi/v2", "text/html", 406, "application/json"),
        ("/openapi/v3", "application/json, */*", 200, "application/json"),
        ("/openapi/v3/api/v1", "application/json", 200, "application/json"),
        ("/openapi/v3/api/v1", V2_PROTOBUF, 406, "application/json"),
        ("/openapi/v3/api/v1", V3_PROTOBUF, 200, V3_PROTOBUF.replace("@", ".")),
        ("/openapi/v3/api/v1", V3_PROTOBUF.replace("@", "."), 200, V3_PROTOBUF.replace("@", ".")),
        ("/openapi/v3", "text/html", 200, "application/json"),
        ("/openapi/v3/apis/apps/v2", "*/*", 404, "text/plain; charset=utf-8"),
        ("/openapi/v4", "*/*", 404, "text/plain; charset=utf-8"),
    ],
)
async def test_documents_are_served_in_every_encoding(api: Api, path, accept, code, media):
    async with api.session.get(path, headers={"Accept": accept}) as answer:
        assert (answer.status, answer.headers["Content-Type"]) == (code, media)
        assert await answer.read()
