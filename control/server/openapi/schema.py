"""JSON schemas of the models, as Kubernetes extends them. Pure.

Source: https://github.com/kubernetes/kube-openapi and KEP-2896; what is not said by the types of a
model's fields is in their `Merge`.
"""

import inspect
from collections.abc import Callable, Iterable
from types import UnionType
from typing import Any, Union, get_args, get_origin

from control.api.base import Model
from control.api.kinds import KINDS, Kind
from control.api.merging import Merge, Shape, shapes

_PACKAGES = {
    "meta": "io.k8s.apimachinery.pkg.apis.meta.v1",
    "workload": "io.k8s.api.apps.v1",
}
_CORE = "io.k8s.api.core.v1"
_SCALARS: dict[Any, dict[str, Any]] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    float: {"type": "number", "format": "double"},
    bool: {"type": "boolean"},
}
_TIMES = ("Timestamp", "Time", "At")
Schema = dict[str, Any]
Ref = Callable[[type[Model]], str]  # where the schema of a model is


def schema_name(model: type[Model]) -> str:
    """The name of a model's schema, such as ``io.k8s.api.core.v1.Pod``."""
    kind = _kind(model)
    if kind is not None:
        group = kind.group.partition(".")[0] or "core"
        return f"io.k8s.api.{group}.{kind.version}.{kind.name}"
    return f"{_PACKAGES.get(model.__module__.rpartition('.')[2], _CORE)}.{model.__name__}"


def _kind(model: type[Model]) -> Kind | None:
    return next((kind for kind in KINDS if kind.model is model), None)


def models_below(roots: Iterable[type[Model]]) -> list[type[Model]]:
    """The models, and every model that their fields mention."""
    found: dict[type[Model], None] = {}
    waiting = list(roots)
    while waiting:
        model = waiting.pop()
        if model not in found:
            found[model] = None
            waiting += [s.model for s in shapes(model).values() if s.model is not None]
    return sorted(found, key=schema_name)


def schema_of(model: type[Model], ref: Ref) -> Schema:
    """The schema of one model; models in it are referred to."""
    properties = {
        info.alias or name: _field(info.alias or name, info.annotation, shapes(model), ref)
        for name, info in model.model_fields.items()
    }
    found: Schema = {
        "description": inspect.getdoc(model) or model.__name__,
        "type": "object",
        "properties": properties,
    }
    required = [
        info.alias or name for name, info in model.model_fields.items() if info.is_required()
    ]
    if required:
        found["required"] = required
    if kind := _kind(model):
        found["x-kubernetes-group-version-kind"] = [group_version_kind(kind)]
    return found


def group_version_kind(kind: Kind) -> dict[str, str]:
    """The extension that ties a schema or an operation to a kind."""
    return {"group": kind.group, "version": kind.version, "kind": kind.name}


def _field(name: str, annotation: Any, known: dict[str, Shape], ref: Ref) -> Schema:
    found = _type(annotation, ref)
    if found.get("type") == "string" and name.endswith(_TIMES):
        found = found | {"format": "date-time"}
    merge = known[name].merge
    return found | (_extensions(merge, found) if merge else {})


def _type(annotation: Any, ref: Ref) -> Schema:
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return {"type": "array", "items": _type(arguments[0], ref)}
    if origin is dict:
        return {"type": "object", "additionalProperties": _type(arguments[1], ref)}
    if origin in (Union, UnionType):
        return _union([a for a in arguments if a is not type(None)], ref)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return {"allOf": [{"$ref": ref(annotation)}], "default": {}}
    return {"type": "object"}


def _union(members: list[Any], ref: Ref) -> Schema:
    """``X | None`` is X; the only others are numbers or text, and quantities."""
    if len(members) == 1:
        return _type(members[0], ref)
    if float in members:
        return {"description": "A quantity, such as 500m or 2Gi.", "type": "string"}
    return {"type": "string", "format": "int-or-string"}


def _extensions(merge: Merge, found: Schema) -> Schema:
    keys = list(merge.map_keys or ((merge.key,) if merge.key else ()))
    strategies = ["merge"] * merge.merges + ["retainKeys"] * merge.retain_keys
    extensions: Schema = {"x-kubernetes-patch-strategy": ",".join(strategies)}
    if merge.key:
        extensions["x-kubernetes-patch-merge-key"] = merge.key
    if found.get("type") == "array":
        extensions["x-kubernetes-list-type"] = "map" if keys else "set"
        if keys:
            extensions["x-kubernetes-list-map-keys"] = keys
    return {name: value for name, value in extensions.items() if value}
