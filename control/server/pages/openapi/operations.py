"""List the operations at each path, for both versions of OpenAPI. Pure.

Clients read them: kubectl learns from the parameters of a kind's PATCH that the server validates
fields and supports dry runs, and from its media types which patches the server takes.
"""

from collections.abc import Iterator, Sequence

from msgspec import Struct

from control.api.definitions.table import type_name
from control.api.kinds import SERVED, Kind
from control.server.pages.discovery import (
    REVIEWS,
    ReviewResource,
    Subresource,
    subresources,
    verbs,
)
from control.server.pages.openapi import parameters
from control.server.pages.openapi.custom import custom_type
from control.server.pages.openapi.parameters import Parameter
from control.server.pages.openapi.schema import META, PATCH
from control.server.verbs.patch import methods_of
from control.server.wire.media import APPLY_PATCH

Gvk = tuple[str, str, str]  # group, version, kind
Query = tuple[Parameter, ...]
_ANY = ("*/*",)
# Action -> (the start of an operation's name, the part after the group).
_NAMES = {
    "get": ("read", ""),
    "post": ("create", ""),
    "put": ("replace", ""),
    "deletecollection": ("delete", "Collection"),
}


class Operation(Struct, frozen=True):
    """One method at one path; a schema is given by the short name of its type.

    It is empty for free text or a stream.
    """

    method: str
    action: str
    id: str
    description: str
    kind: Gvk
    query: Query = ()
    body: str = ""
    consumes: tuple[str, ...] = _ANY
    answer: str = ""


PathOperation = tuple[str, Operation]  # (path, operation)


def operations(group: str, version: str, kinds: Sequence[Kind] = SERVED) -> Iterator[PathOperation]:
    """Yield all operations of a group and version."""
    for kind in kinds:
        if (kind.group, kind.version) == (group, version):
            yield from _of_kind(kind)
    for review in REVIEWS:
        if (review.group, review.version) == (group, version):
            yield _of_review(review)


def own_type(kind: Kind) -> str:
    """Return the short name of a kind's type; a custom one is marked: see ``custom.py``."""
    if kind.custom is not None:
        return custom_type(kind)
    return type_name(kind.group, kind.version, kind.name)


def own_list(kind: Kind) -> str:
    """Return the short name of the type of a kind's lists."""
    return own_type(kind).removesuffix(kind.name) + kind.list_name


def _of_kind(kind: Kind) -> Iterator[PathOperation]:
    scope = "{namespace}" if kind.namespaced else None
    one, many = kind.path(scope, "{name}"), kind.path(scope)
    for row in _COLLECTION:
        if _VERB_OF.get(row[0], row[0]) in verbs(kind):
            yield many, _operation(kind, *row)
    for row in _OBJECT:
        if _VERB_OF.get(row[0], row[0]) in verbs(kind):
            yield one, _operation(kind, *row)
    if kind.namespaced:
        yield kind.path(), _operation(kind, "list", "get", parameters.LIST, "ForAllNamespaces")
    for sub in subresources(kind):
        path = kind.path(scope, "{name}", sub.name)
        schema = own_type(kind) if kind.custom and sub.name == "status" else _schema(sub)
        for verb in sub.verbs:
            yield path, _transfer(kind, sub, schema, verb) if schema else _connect(kind, sub, verb)


_VERB_OF = {"post": "create", "put": "update"}  # of an action
_COLLECTION: tuple[tuple[str, str, Query], ...] = (
    ("list", "get", parameters.LIST),
    ("post", "post", parameters.WRITE),
    ("deletecollection", "delete", parameters.DELETE_ALL),
)
_OBJECT: tuple[tuple[str, str, Query], ...] = (
    ("get", "get", parameters.READ),
    ("put", "put", parameters.WRITE),
    ("patch", "patch", parameters.PATCH),
    ("delete", "delete", parameters.DELETE),
)
_VERBS: dict[str, tuple[str, Query]] = {
    "get": ("get", parameters.READ),
    "update": ("put", parameters.WRITE),
    "patch": ("patch", parameters.PATCH),
    "create": ("post", parameters.WRITE),
    "delete": ("delete", parameters.DELETE),
}


def _operation(kind: Kind, action: str, method: str, query: Query, tail: str = "") -> Operation:
    own, done = own_type(kind), f"{META}.Status"
    answers = {"list": own_list(kind), "delete": done, "deletecollection": done}
    return Operation(
        method=method,
        action=action,
        id=_id(kind, action, tail),
        description=f"{action} {kind.plural}",
        kind=(kind.group, kind.version, kind.name),
        query=query,
        body=_body(method, own),
        consumes=(*methods_of(kind), APPLY_PATCH) if method == "patch" else _ANY,
        answer=answers.get(action, own),
    )


def _body(method: str, schema: str) -> str:
    bodies = {"get": "", "patch": PATCH, "delete": f"{META}.DeleteOptions"}
    return bodies.get(method, schema)


def _schema(sub: Subresource) -> str:
    """Return the schema of a subresource's objects; empty for text or a stream."""
    return type_name(*sub.kind) if sub.name != "log" else ""


def _transfer(kind: Kind, sub: Subresource, schema: str, verb: str) -> Operation:
    method, query = _VERBS[verb]
    return Operation(
        method=method,
        action=method,
        id=_id(kind, method, sub.name.capitalize()),
        description=f"{method} {sub.name} of {kind.plural}",
        kind=sub.kind,
        query=query,
        body=_body(method, schema),
        consumes=(*methods_of(kind), APPLY_PATCH) if method == "patch" else _ANY,
        answer=schema,
    )


def _connect(kind: Kind, sub: Subresource, verb: str) -> Operation:
    method, _ = _VERBS[verb]
    return Operation(
        method=method,
        action="connect",
        id=_id(kind, "connect", sub.name.capitalize(), method.capitalize()),
        description=f"connect to {sub.name} of {kind.plural}",
        kind=sub.kind,
    )


def _of_review(review: ReviewResource) -> PathOperation:
    gvk = (review.group, review.version, review.kind)
    schema = type_name(*gvk)
    operation = Operation(
        "post",
        "post",
        f"create{_title(review.group, review.version)}{review.kind}",
        f"answer a {review.kind}",
        gvk,
        parameters.WRITE,
        schema,
        answer=schema,
    )
    scope = "namespaces/{namespace}/" if review.namespaced else ""
    return f"/apis/{review.group}/{review.version}/{scope}{review.plural}", operation


def _id(kind: Kind, action: str, tail: str, part: str = "") -> str:
    """Return upstream's name of an operation: ``patchAppsV1NamespacedDeploymentScale``."""
    scope = "Namespaced" if kind.namespaced and tail != "ForAllNamespaces" else ""
    verb, part = _NAMES.get(action, (action, part))
    return f"{verb}{_title(kind.group, kind.version)}{part}{scope}{kind.name}{tail}"


def _title(group: str, version: str) -> str:
    return (group.partition(".")[0] or "core").capitalize() + version.capitalize()
