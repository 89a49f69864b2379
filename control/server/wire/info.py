"""Parse the method and path of a request into verb, kind, object and subresource. Pure.

Source: https://kubernetes.io/docs/reference/using-api/api-concepts/#resource-uris
"""

from collections.abc import Mapping

from msgspec import Struct

from control.api.kinds import POD, SERVED, Kind
from control.server.wire.errors import method_not_allowed, no_such_path

_OBJECT_VERBS = {"GET": "get", "PUT": "update", "PATCH": "patch", "DELETE": "delete"}
_COLLECTION_VERBS = {"GET": "list", "POST": "create", "DELETE": "deletecollection"}
PROXY = "proxy"
_PROXIED = ("nodes", "pods", "services")
# As upstream, OPTIONS has no verb: only who may do everything may ask so.
_PROXY_VERBS = {
    "GET": "get",
    "HEAD": "get",
    "POST": "create",
    "PUT": "update",
    "PATCH": "patch",
    "DELETE": "delete",
    "OPTIONS": "",
}
# Subresources that take a POST: the verb is create.
_POSTED = {"POST": "create"}


class RequestInfo(Struct, frozen=True):
    """The target of a request. An empty name means the collection, an empty namespace all."""

    verb: str
    kind: Kind
    namespace: str = ""
    name: str = ""
    subresource: str = ""


Resources = Mapping[tuple[str, str, str], Kind]  # by group, version and plural
_BY_RESOURCE: Resources = {(kind.group, kind.version, kind.plural): kind for kind in SERVED}


def parse(
    method: str, path: str, query: Mapping[str, str], kinds: Resources = _BY_RESOURCE
) -> RequestInfo:
    """Parse a request on a kind; raises StatusError (404, 405) if it does not exist."""
    group, rest = _group(path.strip("/").split("/"))
    if method == "POST" and (group, rest[0], rest[2:]) == (("", "v1"), "namespaces", ["bindings"]):
        return RequestInfo("create", POD, rest[1], "", "binding")  # the Pod's name is in the body
    watched = rest[0] == "watch" and len(rest) > 1
    namespace, kind, rest = _scope(kinds, group, rest[1:] if watched else rest)
    if kind is None:
        raise no_such_path()
    name, subresource = (*rest, "", "")[:2]
    if subresource == PROXY and name and not kind.group and kind.plural in _PROXIED and not watched:
        if method not in _PROXY_VERBS:
            raise method_not_allowed()
        return RequestInfo(_PROXY_VERBS[method], kind, namespace, name, PROXY)
    if len(rest) > 2 or "" in rest or (watched and subresource):
        raise no_such_path()
    if watched:
        return RequestInfo(_watch(method), kind, namespace, name)
    return RequestInfo(_verb(method, name, subresource, query), kind, namespace, name, subresource)


def _group(parts: list[str]) -> tuple[tuple[str, str], list[str]]:
    """Return ((group, version), the further parts)."""
    if parts[0] == "api" and len(parts) > 2:
        return ("", parts[1]), parts[2:]
    if parts[0] == "apis" and len(parts) > 3:
        return (parts[1], parts[2]), parts[3:]
    raise no_such_path()


def _scope(
    kinds: Resources, group: tuple[str, str], rest: list[str]
) -> tuple[str, Kind | None, list[str]]:
    """Return (namespace, kind, the further parts) of a path."""
    if rest[0] == "namespaces" and len(rest) > 2:
        kind = kinds.get((*group, rest[2]))
        if kind is not None and kind.namespaced:
            return rest[1], kind, rest[3:]
    kind = kinds.get((*group, rest[0]))
    if kind is not None and kind.namespaced and len(rest) > 1:
        kind = None  # an object of a namespaced kind, without a namespace
    return "", kind, rest[1:]


def _verb(method: str, name: str, subresource: str, query: Mapping[str, str]) -> str:
    table = _COLLECTION_VERBS if not name else _OBJECT_VERBS
    verb = (table | _POSTED if subresource else table).get(method)
    if verb is None:
        raise method_not_allowed()
    if verb == "list" and is_true(query.get("watch", "0")):
        return "watch"
    return verb


def _watch(method: str) -> str:
    """Return the verb of a path with ``watch`` before the resource, which upstream keeps."""
    if method != "GET":
        raise method_not_allowed()
    return "watch"


def is_true(value: str) -> bool:
    """Read a boolean query parameter that is there: as upstream, all but 0 and false is true."""
    return value != "0" and value.lower() != "false"


def storage_prefix(kind: Kind, namespace: str = "") -> str:
    """Return the prefix of a kind's keys in the store, with a final slash."""
    kept = kind.stored
    base = f"/registry/{kept.group or 'core'}/{kept.plural}/"
    return f"{base}{namespace}/" if namespace else base


def storage_key(kind: Kind, namespace: str, name: str) -> str:
    """Return the key of one object in the store."""
    return storage_prefix(kind, namespace if kind.namespaced else "") + name
