"""Discovery: every form lists the same resources, and every listed resource exists."""

from collections.abc import Iterator
from typing import Any

import pytest
from msgspec.structs import replace

from control.api.kinds import NODE, POD, SERVED, SERVICE
from control.api.unstored import UNSTORED
from control.server.pages.discovery import (
    REVIEWS,
    discovery,
    group_versions,
    media_type,
    subresources,
)
from control.server.streams.target import TARGETS
from control.server.verbs.table import verb_of
from control.server.wire.accept import Accept, parse_accept
from control.server.wire.errors import StatusError
from control.server.wire.info import PROXY, RequestInfo, parse
from tests.support.control.kubectls import KUBECTLS, at_version
from tests.support.control.requests import Api

V2 = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
V2BETA1 = "application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList"
ADDRESS = "192.0.2.1:6443"


def found(path: str, accept: str = "application/json") -> dict[str, Any]:
    document = discovery(path, parse_accept(accept), ADDRESS)
    assert document is not None
    return document


@pytest.mark.parametrize(
    ("accept", "version"),
    [
        (V2, "v2"),
        (V2BETA1, "v2beta1"),
        (f"{V2},{V2BETA1},application/json", "v2"),
        (f"{V2BETA1},application/json", "v2beta1"),
        (f"application/json;q=0.5,{V2BETA1}", "v2beta1"),
    ],
)
@pytest.mark.parametrize("path", ["/api", "/apis"])
def test_the_aggregated_form_is_in_the_first_version_asked_for(path, accept, version):
    document = found(path, accept)
    assert document["apiVersion"] == f"apidiscovery.k8s.io/{version}"
    assert document["kind"] == "APIGroupDiscoveryList"
    assert media_type(document) == (
        f"application/json;g=apidiscovery.k8s.io;v={version};as=APIGroupDiscoveryList"
    )


@pytest.mark.parametrize("accept", ["", "*/*", "application/json", f"application/json,{V2};q=0.9"])
def test_the_unaggregated_form_is_the_default(accept):
    core = found("/api", accept)
    assert (core["kind"], core["versions"]) == ("APIVersions", ["v1"])
    assert core["serverAddressByClientCIDRs"][0]["serverAddress"] == ADDRESS
    groups = found("/apis", accept)
    assert groups["kind"] == "APIGroupList"
    assert {group["name"] for group in groups["groups"]} == {g for g, _ in group_versions() if g}


def test_a_group_lists_its_versions():
    group = found("/apis/apps")
    assert (group["kind"], group["name"]) == ("APIGroup", "apps")
    version = {"groupVersion": "apps/v1", "version": "v1"}
    assert (group["versions"], group["preferredVersion"]) == ([version], version)


@pytest.mark.parametrize(
    "path",
    [
        "/apis/nope",
        "/apis/apps/v2",
        "/api/v2",
        "/apis/apps/v1/deployments",
        "/api/v1/x",
        "/apis/v1",
        "/metrics",
        "/",
    ],
)
def test_unknown_paths_have_no_document(path):
    assert discovery(path, Accept(), ADDRESS) is None


def aggregated() -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Return (group, version, resource) of the aggregated documents."""
    for path in ("/api", "/apis"):
        for group in found(path, V2)["items"]:
            for version in group["versions"]:
                for resource in version["resources"]:
                    yield group["metadata"].get("name", ""), version["version"], resource


def test_both_forms_say_the_same():
    flat = {}
    for group, version, resource in aggregated():
        path = f"/apis/{group}/{version}" if group else f"/api/{version}"
        namespaced = resource["scope"] == "Namespaced"
        key = (path, resource["resource"])
        flat[key] = (
            namespaced,
            resource["responseKind"]["kind"],
            resource["verbs"],
            resource.get("shortNames"),
            resource.get("categories"),
            resource["singularResource"],
        )
        for sub in resource.get("subresources", ()):
            kind, verbs = sub["responseKind"]["kind"], sub["verbs"]
            name = f"{resource['resource']}/{sub['subresource']}"
            flat[path, name] = (namespaced, kind, verbs, None, None, "")
    listed = {
        (path, row["name"]): (
            row["namespaced"],
            row["kind"],
            row["verbs"],
            row.get("shortNames"),
            row.get("categories"),
            row["singularName"],
        )
        for path in {path for path, _ in flat}
        for row in found(path)["resources"]
    }
    assert flat == listed


METHODS = {
    "create": "POST",
    "delete": "DELETE",
    "deletecollection": "DELETE",
    "get": "GET",
    "list": "GET",
    "patch": "PATCH",
    "update": "PUT",
    "watch": "GET",
}
ON_MANY = ("create", "list", "watch", "deletecollection")


def served(info: RequestInfo) -> bool:
    if info.subresource == PROXY:
        return info.kind in (NODE, POD, SERVICE)
    if info.kind is POD and info.subresource in TARGETS:
        return info.verb in ("get", "create")
    return callable(verb_of(info))


@pytest.mark.parametrize(
    "kind", SERVED, ids=lambda kind: f"{kind.plural}.{kind.group}/{kind.version}"
)
def test_every_verb_that_is_listed_is_served(kind):
    rows = {
        row["resource"]: row
        for group, version, row in aggregated()
        if (group, version) == (kind.group, kind.version)
    }
    row = rows[kind.plural]
    namespace = "n" if kind.namespaced else ""
    for verb in row["verbs"]:
        path = kind.path(namespace, "" if verb in ON_MANY else "x")
        query = {"watch": "true"} if verb == "watch" else {}
        info = parse(METHODS[verb], path, query)
        assert (info.verb, served(info)) == (verb, True)
    for sub in subresources(kind):
        for verb in sub.verbs:
            info = parse(METHODS[verb], kind.path(namespace, "x", sub.name), {})
            assert (info.verb, served(info)) == (verb, True)


@pytest.mark.parametrize(
    "kind", SERVED, ids=lambda kind: f"{kind.plural}.{kind.group}/{kind.version}"
)
def test_every_verb_that_is_not_listed_is_refused(kind):
    listed = {(sub.name, verb) for sub in subresources(kind) for verb in sub.verbs}
    names = {*TARGETS, "status", "scale", "binding", "eviction", "finalize"}
    for name in names - {name for name, _ in listed}:
        with pytest.raises(StatusError) as refused:
            verb_of(RequestInfo("get", kind, "n", "x", name))
        assert refused.value.code == 404
    for name in {name for name, _ in listed} - set(TARGETS):
        info = RequestInfo("", kind, "n", "x", name)
        for verb in {"get", "create", "update", "patch", "delete"}:
            if (name, verb) not in listed:
                with pytest.raises(StatusError) as refused:
                    verb_of(replace(info, verb=verb))
                assert refused.value.code == 405


async def test_discovered_reviews_are_answered(api: Api):
    for review in REVIEWS:
        scope = "namespaces/default/" if review.namespaced else ""
        path = f"/apis/{review.group}/{review.version}/{scope}{review.plural}"
        asked = {"verb": "get", "resource": "pods", "namespace": "default"}
        each = {"user": "a", "resourceAttributes": asked, "namespace": "default", "token": "none"}
        reply = await api("POST", path, {"spec": each})  # of each review, what it needs
        assert (reply.code, reply["kind"]) == (201, review.kind)


async def test_a_client_with_the_document_gets_304(api: Api):
    async with api.session.get("/apis", headers={"Accept": V2}) as first:
        tag = first.headers["ETag"]
        assert first.headers["Vary"] == "Accept"
        assert "as=APIGroupDiscoveryList" in first.headers["Content-Type"]
    known = {"Accept": V2, "If-None-Match": tag}
    async with api.session.get("/apis", headers=known) as again:
        assert (again.status, await again.read(), again.headers["ETag"]) == (304, b"", tag)
    other = {"Accept": "application/json", "If-None-Match": tag}
    async with api.session.get("/apis", headers=other) as legacy:
        assert legacy.status == 200


@pytest.mark.parametrize("program", KUBECTLS, ids=lambda path: path.name)
async def test_every_kubectl_finds_everything(secured, program):
    kubectl = at_version(secured, program)
    shown = await kubectl("api-resources", "-o", "name")
    assert set(shown.split()) == {
        *(f"{kind.plural}.{kind.group}".rstrip(".") for kind in (*SERVED, *UNSTORED)),
        *(f"{review.plural}.{review.group}" for review in REVIEWS),
        "bindings",
    }
    versions = await kubectl("api-versions")
    assert set(versions.split()) == {
        f"{g}/{v}".lstrip("/") for g, v in group_versions((*SERVED, *UNSTORED))
    }
    short = "po,svc,deploy,rs,ds,no,ns,cm,sa,lease,endpointslice,controllerrevisions"
    names = await kubectl("get", short, "-o", "name")
    assert "namespace/default" in names
    old = await kubectl.try_("get", "ep")  # the server warns of it, as upstream's
    assert (old.code, "v1 Endpoints is deprecated in v1.33+" in old.err) == (0, True)
    assert "service/kubernetes" in await kubectl("get", "all", "-A")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/healthz", 200),
        ("/openapi/v3", 200),
        ("/openapi/v2", 200),
        ("/version", 405),
        ("/api", 405),
        ("/apis/apps/v1", 405),
        ("/api/v1/namespaces", 405),
        ("/api/v1/namespaces/default", 405),
    ],
)
async def test_only_pages_that_are_no_resources_have_head(api: Api, path: str, code: int):
    async with api.session.head(path) as answer:
        assert (answer.status, await answer.read()) == (code, b"")


async def test_the_root_names_every_page(api: Api):
    paths = (await api("GET", "/"))["paths"]
    assert {"/api/v1", "/apis/apps", "/apis/apps/v1", "/healthz", "/metrics", "/version"} <= set(
        paths
    )
    assert [path for path in paths if (await api("GET", path)).code != 200] == []


@pytest.mark.parametrize("path", ["/nope", "/healthz/nope", "/apis/nope/v1/foos"])
async def test_what_no_group_has_is_answered_in_text(api: Api, path: str):
    answer = await api("GET", path)
    assert (answer.code, answer.body) == (404, "404 page not found\n")


@pytest.mark.parametrize("path", ["/api/v2/pods", "/api/v1/foos", "/apis/apps/v9/deployments"])
async def test_what_a_group_lacks_is_answered_by_a_status(api: Api, path: str):
    answer = await api("GET", path)
    assert (answer.code, answer["reason"]) == (404, "NotFound")


def test_hashes_of_stored_versions_are_those_of_upstream():
    """Those that kube-apiserver 1.36.2 shows."""
    rows = {
        row["name"]: row
        for row in found("/api/v1")["resources"] + found("/apis/apps/v1")["resources"]
    }
    assert rows["pods"]["storageVersionHash"] == "xPOwRZ+Yhw8="
    assert rows["deployments"]["storageVersionHash"] == "8aSe+NMegvE="
    assert "storageVersionHash" not in rows["pods/log"]
    (definitions, *_) = found("/apis/apiextensions.k8s.io/v1")["resources"]
    assert definitions["storageVersionHash"] == "jfWCUB31mvA="


async def test_namespaces_are_not_deleted_together(api: Api):
    assert "deletecollection" not in found("/api/v1")["resources"][0]["verbs"]
    assert (await api("DELETE", "/api/v1/namespaces")).code == 405


async def test_no_cache_may_keep_an_answer(api: Api):
    async with api.session.get("/api/v1/secrets") as answer:
        assert answer.headers["Cache-Control"] == "no-cache, private"
