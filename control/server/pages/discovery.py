"""Discovery: the groups, versions, resources and subresources, in all four forms.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#discovery-api (KEP-3352).
"""

from base64 import b64encode
from collections.abc import Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from msgspec import Struct

from control.api.kinds import NAMESPACE, SERVED, Kind
from control.api.measured import GROUP as MEASURED
from control.api.priorities import CUSTOM, FIRST, PRIORITIES
from control.api.unstored import UNSTORED
from control.server.state.extensions import Extensions, GroupVersion
from control.server.wire.accept import Accept

_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")
_AGGREGATED = "apidiscovery.k8s.io"
# Upstream's priority of its groups: of two resources with one name, clients take the first.
_ORDER = (
    "",
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
    MEASURED,
)
# What upstream still stores by its version before v1.
_IN_BETA = (
    "CustomResourceDefinition",
    "MutatingAdmissionPolicy",
    "MutatingAdmissionPolicyBinding",
)
Wire = dict[str, Any]
Kinds = Sequence[Kind]
_NO_EXTENSIONS = Extensions()


class Subresource(Struct, frozen=True):
    """A subresource: its name, its verbs, and the kind of its objects."""

    name: str
    verbs: tuple[str, ...]
    kind: tuple[str, str, str]  # group, version, kind


class ReviewResource(Struct, frozen=True):
    """A resource that is never stored: a client posts a question and gets the answer."""

    group: str
    plural: str
    kind: str
    version: str = "v1"
    namespaced: bool = False


REVIEWS = (
    ReviewResource(
        "authorization.k8s.io",
        "localsubjectaccessreviews",
        "LocalSubjectAccessReview",
        namespaced=True,
    ),
    ReviewResource("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    ReviewResource("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    ReviewResource("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    ReviewResource("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    ReviewResource("authentication.k8s.io", "tokenreviews", "TokenReview"),
)
# A Binding is posted like a review; ``pods/NAME/binding`` is the same.
_POSTED = (ReviewResource("", "bindings", "Binding", namespaced=True), *REVIEWS)
_STREAM = ("create", "get")
_PROXY = ("create", "delete", "get", "patch", "update")
_SUBS = {
    "pods": (
        Subresource("attach", _STREAM, ("", "v1", "PodAttachOptions")),
        Subresource("binding", ("create",), ("", "v1", "Binding")),
        Subresource("ephemeralcontainers", ("get", "patch", "update"), ("", "v1", "Pod")),
        Subresource("eviction", ("create",), ("policy", "v1", "Eviction")),
        Subresource("exec", _STREAM, ("", "v1", "PodExecOptions")),
        Subresource("log", ("get",), ("", "v1", "Pod")),
        Subresource("portforward", _STREAM, ("", "v1", "PodPortForwardOptions")),
        Subresource("proxy", _PROXY, ("", "v1", "PodProxyOptions")),
        Subresource("resize", ("get", "patch", "update"), ("", "v1", "Pod")),
    ),
    "services": (Subresource("proxy", _PROXY, ("", "v1", "ServiceProxyOptions")),),
    "nodes": (Subresource("proxy", _PROXY, ("", "v1", "NodeProxyOptions")),),
    "serviceaccounts": (
        Subresource("token", ("create",), ("authentication.k8s.io", "v1", "TokenRequest")),
    ),
    "namespaces": (Subresource("finalize", ("update",), ("", "v1", "Namespace")),),
}


def subresources(kind: Kind) -> Iterator[Subresource]:
    """Yield the subresources of a kind in the order of their names."""
    verbs = ("get", "patch", "update")
    own = (kind.group, kind.version, kind.name)
    generic = {"status": own, "approval": own, "scale": ("autoscaling", "v1", "Scale")}
    found = [Subresource(name, verbs, generic[name]) for name in kind.subresources]
    yield from sorted(
        [*found, *(() if kind.group else _SUBS.get(kind.plural, ()))], key=lambda sub: sub.name
    )


def group_versions(kinds: Kinds = SERVED) -> list[tuple[str, str]]:
    """Return every (group, version): upstream's in its order, then custom.

    Of a custom group, the version that is preferred comes first.
    """
    rows = [(k.group, k.version) for k in kinds if not k.custom]
    rows += [(r.group, r.version) for r in REVIEWS]
    rows.sort(key=lambda row: _ORDER.index(row[0]))
    custom = [kind for kind in kinds if kind.custom]
    if custom:
        from control.api.custom.kind import order

        custom.sort(key=lambda kind: order(kind.version), reverse=True)
        groups = list(dict.fromkeys(kind.group for kind in kinds if kind.custom))
        rows += sorted(
            ((kind.group, kind.version) for kind in custom), key=lambda row: groups.index(row[0])
        )
    return list(dict.fromkeys(rows))


def with_extensions(
    rows: list[GroupVersion], kinds: Kinds, extensions: Extensions
) -> list[GroupVersion]:
    """Return every (group, version) with those of extensions, by the priorities of all."""
    if not extensions.by_version:
        return rows
    own = {(kind.group, kind.version): CUSTOM for kind in kinds if kind.custom}
    known = own | PRIORITIES | {(_ORDER[1], "v1"): FIRST}
    known |= {
        at: (it.group_priority, it.version_priority) for at, it in extensions.by_version.items()
    }
    groups = list(dict.fromkeys(group for group, _ in rows))
    highest = {group: max(known[at][0] for at in known if at[0] == group) for group in groups}
    for group in sorted({group for group, _ in extensions.by_version} - set(groups)):
        highest[group] = max(known[at][0] for at in extensions.by_version if at[0] == group)
        groups.insert(sum(highest[it] >= highest[group] for it in groups), group)
    every = list(dict.fromkeys([*rows, *extensions.by_version]))
    return [at for group in groups for at in _of_group(every, group, known, extensions)]


def _of_group(
    every: list[GroupVersion],
    group: str,
    known: Mapping[GroupVersion, tuple[int, int]],
    extensions: Extensions,
) -> list[GroupVersion]:
    """Return the versions of a group, the preferred one first."""
    found = [at for at in every if at[0] == group]
    if not any(at in extensions.by_version for at in found):
        return found
    from control.api.custom.kind import order

    found.sort(key=lambda at: order(at[1]), reverse=True)
    return sorted(found, key=lambda at: -known.get(at, CUSTOM)[1])


def discovery(
    path: str,
    accept: Accept,
    address: str,
    kinds: Kinds = SERVED,
    extensions: Extensions = _NO_EXTENSIONS,
) -> Wire | None:
    """Return the document at ``/api``, ``/apis`` or below; None for any other path.

    ``address`` is the HOST:PORT at which clients reach the server.
    """
    parts = path.strip("/").split("/")
    root, rest = parts[0], parts[1:]
    if root not in ("api", "apis") or len(rest) > 2:
        return None
    every = with_extensions(group_versions(kinds), kinds, extensions)
    wanted = [gv for gv in every if bool(gv[0]) == (root == "apis")]
    if not rest:
        if version := _aggregated_version(accept):
            return _aggregated(kinds, wanted, version, extensions)
        return _api_versions(address) if root == "api" else _group_list(wanted)
    if root == "api":
        return (
            _resource_list(kinds, "", rest[0])
            if len(rest) == 1 and ("", rest[0]) in wanted
            else None
        )
    if len(rest) == 1:
        versions = [gv for gv in wanted if gv[0] == rest[0]]
        group = _group(rest[0], versions) if versions else None
        return group and {"kind": "APIGroup", "apiVersion": "v1"} | group
    return _resource_list(kinds, *rest) if tuple(rest) in wanted else None


def _aggregated_version(accept: Accept) -> str:
    """Return the version of the aggregated form that a client prefers; empty for the old form."""
    for media_range in accept.ranges:
        given = media_range.parameters
        if given.get("g") == _AGGREGATED and given.get("v") in ("v2", "v2beta1"):
            return given["v"]
        if media_range.media in ("application/json", "*/*") and not given:
            return ""
    return ""


def media_type(document: Wire) -> str:
    """Return the Content-Type of a discovery document."""
    group, _, version = document.get("apiVersion", "").partition("/")
    if group != _AGGREGATED:
        return "application/json"
    return f"application/json;g={group};v={version};as=APIGroupDiscoveryList"


def _aggregated(
    kinds: Kinds, wanted: list[GroupVersion], version: str, extensions: Extensions
) -> Wire:
    groups = list(dict.fromkeys(group for group, _ in wanted))
    return {
        "kind": "APIGroupDiscoveryList",
        "apiVersion": f"{_AGGREGATED}/{version}",
        "metadata": {},
        "items": [_discovered(kinds, group, wanted, extensions) for group in groups],
    }


def _discovered(
    kinds: Kinds, group: str, wanted: list[GroupVersion], extensions: Extensions
) -> Wire:
    versions = [version for name, version in wanted if name == group]
    return {
        "metadata": {"name": group} if group else {},
        "versions": [_version(kinds, (group, version), extensions) for version in versions],
    }


def _version(kinds: Kinds, at: GroupVersion, extensions: Extensions) -> Wire:
    if at not in extensions.by_version:
        own = _resources(kinds, *at)
        return {"version": at[1], "freshness": "Current", "resources": own}
    said = extensions.said(at)
    found: Wire = {"version": at[1], "freshness": "Current" if said.fresh else "Stale"}
    return found | ({"resources": list(said.resources)} if said.resources else {})


def _resources(kinds: Kinds, group: str, version: str) -> list[Wire]:
    found = [kind for kind in kinds if (kind.group, kind.version) == (group, version)]
    reviews = [review for review in _POSTED if (review.group, review.version) == (group, version)]
    every = [*map(_discovered_kind, found), *map(_discovered_review, reviews)]
    return sorted(every, key=lambda each: str(each["resource"]))


def verbs(kind: Kind) -> tuple[str, ...]:
    """Return the verbs that a kind has; as upstream, Namespaces are not deleted together."""
    if kind in UNSTORED:
        return ("get", "list")
    return tuple(v for v in _VERBS if v != "deletecollection") if kind == NAMESPACE else _VERBS


def _storage_version_hash(kind: Kind) -> str:
    """Return what changes when the kind is stored by another version."""
    kept = kind.stored
    version = "v1beta1" if kept.name in _IN_BETA else kept.version
    name = f"{kept.group}/{version}/{kept.name}"
    return b64encode(sha256(name.encode()).digest()[:8]).decode()


def _response_kind(of: GroupVersion, group: str, version: str, kind: str) -> Wire:
    """Return a kind; as upstream's, one of the version ``of`` itself does not repeat it."""
    if (group, version) == of:
        group = version = ""
    return {"group": group, "version": version, "kind": kind}


def _discovered_kind(kind: Kind) -> Wire:
    # Upstream's server of custom kinds always says their group and version.
    of = ("", "") if kind.custom else (kind.group, kind.version)
    found: Wire = {
        "resource": kind.plural,
        "responseKind": _response_kind(of, kind.group, kind.version, kind.name),
        "scope": "Namespaced" if kind.namespaced else "Cluster",
        "singularResource": kind.singular,
        "verbs": list(verbs(kind)),
    }
    subs = [
        {"subresource": s.name, "responseKind": _response_kind(of, *s.kind), "verbs": list(s.verbs)}
        for s in subresources(kind)
    ]
    optional = {
        "shortNames": list(kind.short_names),
        "categories": list(kind.categories),
        "subresources": subs,
    }
    return found | {key: value for key, value in optional.items() if value}


def _discovered_review(review: ReviewResource) -> Wire:
    return {
        "resource": review.plural,
        "responseKind": {"group": "", "version": "", "kind": review.kind},
        "scope": "Namespaced" if review.namespaced else "Cluster",
        "singularResource": review.kind.lower(),
        "verbs": ["create"],
    }


def _api_versions(address: str) -> Wire:
    where = {"clientCIDR": "0.0.0.0/0", "serverAddress": address}
    return {
        "kind": "APIVersions",
        "versions": ["v1"],
        "serverAddressByClientCIDRs": [where],
    }


def _group_list(wanted: list[tuple[str, str]]) -> Wire:
    names = dict.fromkeys(group for group, _ in wanted)
    groups = [_group(name, [gv for gv in wanted if gv[0] == name]) for name in names]
    return {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}


def _group(name: str, versions: list[tuple[str, str]]) -> Wire:
    listed = [{"groupVersion": f"{name}/{v}", "version": v} for _, v in versions]
    return {"name": name, "versions": listed, "preferredVersion": listed[0]}


def _resource_list(kinds: Kinds, group: str, version: str) -> Wire:
    name = f"{group}/{version}" if group else version
    found = [kind for kind in kinds if (kind.group, kind.version) == (group, version)]
    reviews = [review for review in _POSTED if (review.group, review.version) == (group, version)]
    resources = [row for kind in found for row in _listed_kind(kind)]
    resources += [
        _listed(r.plural, r.kind, r.namespaced, ("create",), r.kind.lower()) for r in reviews
    ]
    resources.sort(key=lambda each: str(each["name"]))
    head = {"kind": "APIResourceList"} | ({"apiVersion": "v1"} if group else {})
    return head | {"groupVersion": name, "resources": resources}


def _listed(name: str, kind: str, namespaced: bool, verbs: tuple[str, ...], singular: str) -> Wire:
    return {
        "name": name,
        "singularName": singular,
        "namespaced": namespaced,
        "kind": kind,
        "verbs": list(verbs),
    }


def _listed_kind(kind: Kind) -> Iterator[Wire]:
    row = _listed(kind.plural, kind.name, kind.namespaced, verbs(kind), kind.singular)
    optional: Wire = {"shortNames": list(kind.short_names), "categories": list(kind.categories)}
    if kind.custom is None and kind not in UNSTORED:
        optional["storageVersionHash"] = _storage_version_hash(kind)
    yield row | {key: value for key, value in optional.items() if value}
    for sub in subresources(kind):
        group, version, name = sub.kind
        listed = _listed(f"{kind.plural}/{sub.name}", name, kind.namespaced, sub.verbs, "")
        yield listed | ({"group": group, "version": version} if group != kind.group else {})
