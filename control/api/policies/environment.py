"""What the expressions of policies, and the conditions of webhooks, may name.

Source: pkg/admission/plugin/cel/{compile,condition}.go of k8s.io/apiserver.
"""

from collections.abc import Mapping

from control.api.cel.functions.authorizer import AUTHORIZATION, AUTHORIZER
from control.api.cel.functions.table import Overload, Table
from control.api.cel.meter import traversal
from control.api.cel.program import ROWS, Environment
from control.api.cel.types import BOOL, DYN, INT, STRING, Field, Type, list_of, map_of, object_of

OBJECT, OLD, PARAMS, REQUEST = "object", "oldObject", "params", "request"
NAMESPACE, AUTHORIZER_NAME, VARIABLES = "namespaceObject", "authorizer", "variables"
_TEXTS = map_of(STRING, STRING)


def _object(name: str, fields: Mapping[str, Type]) -> Type:
    return object_of(f"kubernetes.{name}", {key: Field(of, key) for key, of in fields.items()})


def _texts(name: str, *fields: str) -> Type:
    return _object(name, dict.fromkeys(fields, STRING))


_KIND = _texts("GroupVersionKind", "group", "version", "kind")
_RESOURCE = _texts("GroupVersionResource", "group", "version", "resource")
_USER = _object(
    "UserInfo",
    {
        "username": STRING,
        "uid": STRING,
        "groups": list_of(STRING),
        "extra": map_of(STRING, list_of(STRING)),
    },
)
_REQUEST = _object(
    "AdmissionRequest",
    {
        "kind": _KIND,
        "resource": _RESOURCE,
        "subResource": STRING,
        "requestKind": _KIND,
        "requestResource": _RESOURCE,
        "requestSubResource": STRING,
        "name": STRING,
        "namespace": STRING,
        "operation": STRING,
        "userInfo": _USER,
        "dryRun": BOOL,
        "options": DYN,
    },
)
_METADATA = _object(
    "NamespaceMetadata",
    {
        "name": STRING,
        "generateName": STRING,
        "namespace": STRING,
        "labels": _TEXTS,
        "annotations": _TEXTS,
        "UID": STRING,
        "creationTimestamp": Type("timestamp"),
        "deletionGracePeriodSeconds": INT,
        "deletionTimestamp": Type("timestamp"),
        "generation": INT,
        "resourceVersion": STRING,
        "finalizers": list_of(STRING),
    },
)
_NAMESPACE = _object(
    "Namespace",
    {
        "metadata": _METADATA,
        "spec": _object("NamespaceSpec", {"finalizers": list_of(STRING)}),
        "status": _texts("NamespaceStatus", "phase"),
    },
)
_BASE = {
    OBJECT: DYN,
    OLD: DYN,
    REQUEST: _REQUEST,
    NAMESPACE: _NAMESPACE,
}


_TABLE = Table.of(*ROWS, AUTHORIZATION)
_OPERATION = object_of(
    "JSONPatch",
    {name: Field(STRING, name) for name in ("op", "path", "from")} | {"value": Field(DYN, "value")},
)
# What mutations evaluate to.
OPERATIONS, APPLIED = list_of(_OPERATION), Type("Object")


def _object_type(name: str) -> Type | None:
    """Return the type of an object that a mutation makes: a part of an object has any fields."""
    if name == "JSONPatch":
        return _OPERATION
    return Type(name) if name == "Object" or name.startswith("Object.") else None


def _escape(key: str) -> str:
    """Write a key for a JSON pointer, as upstream does."""
    return "".join({"/": "~1", "~": "~0"}.get(sign, sign) for sign in key)


_MUTATING = Table.of(
    *ROWS,
    AUTHORIZATION,
    [Overload("jsonpatch.escapeKey", "(string) string", _escape, traversal)],
    objects=_object_type,
)


def environment(
    *,
    params: bool = False,
    authorizer: bool = True,
    mutates: bool = False,
    variables: Mapping[str, Type] | None = None,
) -> Environment:
    """Return what expressions may name."""
    known = dict(_BASE)
    if params:
        known[PARAMS] = DYN
    if authorizer:
        known[AUTHORIZER_NAME] = AUTHORIZER
    if variables is not None:
        fields = {name: Field(of, name) for name, of in variables.items()}
        known[VARIABLES] = object_of("kubernetes.variables", fields)
    return Environment(known, _MUTATING if mutates else _TABLE)
