"""The OpenAPI documents: v3, one a group and version, and v2, everything in one. Pure.

Clients read schemas from them (kubectl explain, apply), and whether writes know fieldValidation
and dryRun. The paths say what clients look for there: the operations and their parameters.
"""

from collections.abc import Iterable
from functools import lru_cache, partial
from typing import Any

from control.api.base import Model
from control.api.kinds import KINDS, Kind
from control.server.discovery import group_versions
from control.server.openapi.schema import (
    group_version_kind,
    models_below,
    schema_name,
    schema_of,
)

Document = dict[str, Any]
_INFO = {"title": "Kubernetes", "version": "v1.33.0"}
_WRITES = ("dryRun", "fieldManager", "fieldValidation")
_LISTS = ("allowWatchBookmarks", "continue", "fieldSelector", "labelSelector", "limit",
          "resourceVersion", "resourceVersionMatch", "sendInitialEvents", "timeoutSeconds",
          "watch")  # fmt: skip
_DELETES = ("dryRun", "gracePeriodSeconds", "propagationPolicy")
_COLLECTION = {"get": ("list", _LISTS), "post": ("post", _WRITES),
               "delete": ("deletecollection", _LISTS + _DELETES)}  # fmt: skip
_OBJECT = {"get": ("get", ()), "put": ("put", _WRITES), "patch": ("patch", (*_WRITES, "force")),
           "delete": ("delete", _DELETES)}  # fmt: skip
_TYPES = {"limit": "integer", "timeoutSeconds": "integer", "gracePeriodSeconds": "integer",
          "watch": "boolean", "allowWatchBookmarks": "boolean", "sendInitialEvents": "boolean",
          "force": "boolean"}  # fmt: skip


def group_path(group: str, version: str) -> str:
    """``api/v1`` or ``apis/apps/v1``."""
    return f"apis/{group}/{version}" if group else f"api/{version}"


@lru_cache
def v3_document(group: str, version: str) -> Document | None:
    """The v3 document of a group and version; None if there is none."""
    kinds = [kind for kind in KINDS if (kind.group, kind.version) == (group, version)]
    if (group, version) not in group_versions():
        return None
    schemas = _schemas(kinds, "#/components/schemas/")
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": _paths(kinds, _parameter_v3),
        "components": {"schemas": schemas},
    }


@lru_cache
def v2_document() -> Document:
    """The v2 document."""
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": _paths(KINDS, _parameter_v2),
        "definitions": _schemas(KINDS, "#/definitions/"),
    }


def _schemas(kinds: Iterable[Kind], prefix: str) -> Document:
    ref = partial(_reference, prefix)
    models: list[type[Model]] = [kind.model for kind in kinds]
    return {schema_name(model): schema_of(model, ref) for model in models_below(models)}


def _reference(prefix: str, model: type[Model]) -> str:
    return prefix + schema_name(model)


def _paths(kinds: Iterable[Kind], parameter: Any) -> Document:
    found: Document = {}
    for kind in kinds:
        namespace = "{namespace}" if kind.namespaced else None
        collection = _operations(kind, _COLLECTION, parameter)
        found[kind.path(namespace)] = collection
        found[kind.path(namespace, "{name}")] = _operations(kind, _OBJECT, parameter)
        for sub in kind.subresources:
            if sub == "status":
                rows = {verb: row for verb, row in _OBJECT.items() if verb != "delete"}
                path = kind.path(namespace, "{name}", sub)
                found[path] = _operations(kind, rows, parameter)
        if kind.namespaced:
            found[kind.path()] = {"get": collection["get"]}
    return found


def _operations(
    kind: Kind, rows: dict[str, tuple[str, tuple[str, ...]]], parameter: Any
) -> Document:
    return {
        method: {
            "operationId": f"{action}{kind.group.title().replace('.', '')}{kind.name}",
            "description": f"{action} {kind.name}",
            "parameters": [parameter(name) for name in names],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-action": action,
            "x-kubernetes-group-version-kind": group_version_kind(kind),
        }
        for method, (action, names) in rows.items()
    }


def _parameter_v3(name: str) -> Document:
    return {"name": name, "in": "query", "schema": {"type": _TYPES.get(name, "string")}}


def _parameter_v2(name: str) -> Document:
    return {"name": name, "in": "query", "type": _TYPES.get(name, "string")}
