"""Derive JSON schemas, with Kubernetes' extensions, from the models. Pure.

Source: https://github.com/kubernetes/kube-openapi. Field types give the structure, ``Merge`` the
extensions of patches, ``markers.txt`` those of server-side apply, docstrings and the texts in
fields/ the descriptions.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from control.api.base import Int32, Model
from control.api.merging import Merge, outline
from control.api.types.table import markers
from control.server.pages.openapi.descriptions import field_description, texts
from control.server.pages.openapi.names import message_of, names, typed

Schema = dict[str, Any]
_SCALARS: Mapping[Any, Schema] = {
    str: {"type": "string"},
    int: {"type": "integer", "format": "int64"},
    Int32: {"type": "integer", "format": "int32"},
    float: {"type": "number", "format": "double"},
    bool: {"type": "boolean"},
}
_ANY_OBJECT = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
_TIMES = ("Timestamp", "Time", "At", "timeAdded")


@dataclass(frozen=True, slots=True)
class Dialect:
    """The differences between OpenAPI v2 and v3."""

    definitions: str  # the prefix of references
    scalars: dict[str, Schema]  # schemas without a model, by name
    wraps: bool  # a $ref allows no siblings: wrap it in allOf

    def refer(self, name: str) -> Schema:
        """Return a reference to a schema."""
        return {"$ref": self.definitions + name}

    def beside(self, schema: Schema, more: Schema) -> Schema:
        """Return a schema with more members."""
        if self.wraps and more and "$ref" in schema:
            return {"allOf": [schema], **more}
        return schema | more


_INT_OR_STRING = "io.k8s.apimachinery.pkg.util.intstr.IntOrString"
_QUANTITY = "io.k8s.apimachinery.pkg.api.resource.Quantity"


def _scalars(int_or_string: Schema, quantity: Schema) -> dict[str, Schema]:
    return {
        _INT_OR_STRING: int_or_string | {"format": "int-or-string"} | _described("IntOrString"),
        _QUANTITY: quantity | _described("Quantity"),
    }


def _described(name: str) -> Schema:
    return {"description": texts()[name]}


V2 = Dialect("#/definitions/", _scalars({"type": "string"}, {"type": "string"}), False)
V3 = Dialect(
    "#/components/schemas/",
    _scalars(
        {"oneOf": [{"type": "integer"}, {"type": "string"}]},
        {"oneOf": [{"type": "string"}, {"type": "number"}]},
    ),
    True,
)


def schema_of(model: type[Model], dialect: Dialect) -> Schema:
    """Return the schema of one model, with references to the models in it."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    found: Schema = {
        "description": description(model),
        "type": "object",
        "properties": {name: _field(model, name, fields[name], dialect) for name in sorted(fields)},
    }
    if required := sorted(name for name, info in fields.items() if info.is_required()):
        found["required"] = required
    kinds = [gvk for gvk, root in typed().items() if root is model]
    if markers().get(message_of(model)) == "atomic":
        found["x-kubernetes-map-type"] = "atomic"
    if kinds:
        found["x-kubernetes-group-version-kind"] = [group_version_kind(*gvk) for gvk in kinds]
    return found


def list_schema(gvk: tuple[str, str, str], item: str, metadata: str, dialect: Dialect) -> Schema:
    """Return the schema of a kind's list; ``item`` and ``metadata`` are names of schemas."""
    group, version, kind = gvk
    items = {"type": "array", "items": dialect.refer(item), "description": f"Each {kind}."}
    names = {
        name: {"type": "string", "description": field_description(["List"], name)}
        for name in ("apiVersion", "kind")
    }
    about_page = {"description": field_description(["List"], "metadata")}
    return {
        "description": f"A list of {kind} objects: all of them, or one page.",
        "type": "object",
        "properties": {
            **names,
            "items": items,
            "metadata": dialect.beside(dialect.refer(metadata), about_page),
        },
        "required": ["items"],
        "x-kubernetes-group-version-kind": [group_version_kind(group, version, f"{kind}List")],
    }


def group_version_kind(group: str, version: str, kind: str) -> dict[str, str]:
    """Return the extension that connects a schema or an operation with a kind."""
    return {"group": group, "version": version, "kind": kind}


def description(model: type[Model]) -> str:
    """Return the text about a model, else its docstring, with plain quotes."""
    if text := texts().get(model.__name__):
        return text
    paragraphs = (inspect.getdoc(model) or "").split("\n\n")
    return "\n\n".join(" ".join(text.split()) for text in paragraphs).replace("``", '"')


def _field(model: type[Model], name: str, info: FieldInfo, dialect: Dialect) -> Schema:
    annotation = _annotation(info)
    found = _value(annotation, dialect)
    more: Schema = {}
    if text := field_description(_names(model), name) or _inner_description(annotation):
        more["description"] = text
    if found == _SCALARS[str] and name.endswith(_TIMES):
        more["format"] = "date-time"
    if info.default and isinstance(info.default, str):
        more["default"] = info.default
    merge = next((given for given in info.metadata if isinstance(given, Merge)), None)
    marker = markers().get(f"{message_of(model)}.{name}", "")
    more |= _patch_extensions(merge) | _merge_extensions(marker, _is_list(annotation))
    return dialect.beside(found, more)


def _names(model: type[Model]) -> list[str]:
    """Return the names under which a field may be described: the model's and its bases'."""
    return [base.__name__ for base in model.__mro__]


def _annotation(info: FieldInfo) -> Any:
    """Return a field's type; for raw JSON, the type of its outline."""
    model = outline(info)
    if model is None:
        return info.annotation
    return list[model] if get_origin(info.annotation) is list else model  # type: ignore[valid-type]


def _inner_description(annotation: Any) -> str:
    """Return the description of the model in a field; empty if it holds none."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return description(annotation)
    found = (_inner_description(inner) for inner in get_args(annotation))
    return next((text for text in found if text), "")


def _value(annotation: Any, dialect: Dialect) -> Schema:
    """Return the schema of a type."""
    if annotation in _SCALARS:
        return _SCALARS[annotation]
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is list:
        return {"type": "array", "items": _value(arguments[0], dialect)}
    if origin is dict and arguments[1] is not Any:
        return {"type": "object", "additionalProperties": _value(arguments[1], dialect)}
    if origin in (Union, UnionType):
        return _union([inner for inner in arguments if inner is not NoneType], dialect)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return dialect.refer(names()[annotation])
    return _ANY_OBJECT


def _union(members: list[Any], dialect: Dialect) -> Schema:
    """Return the schema of a union: ``X | None`` is X; others are quantities or int-or-string."""
    if len(members) == 1:
        return _value(members[0], dialect)
    return dialect.refer(_QUANTITY if float in members else _INT_OR_STRING)


def _patch_extensions(merge: Merge | None) -> Schema:
    """Return the extensions that say how a field merges in strategic merge patches."""
    if merge is None:
        return {}
    strategies = ["merge"] * merge.merges + ["retainKeys"] * merge.retain_keys
    found: Schema = {}
    if strategies:
        found["x-kubernetes-patch-strategy"] = ",".join(strategies)
    if merge.key:
        found["x-kubernetes-patch-merge-key"] = merge.key
    return found


def _is_list(annotation: Any) -> bool:
    """Return True for a list that may be absent, too."""
    whole = get_args(annotation) if get_origin(annotation) is UnionType else (annotation,)
    return any(get_origin(each) is list for each in whole)


def _merge_extensions(marker: str, is_list: bool) -> Schema:
    """Return the extensions that say how a list or map merges in server-side apply."""
    sort, _, keys = marker.partition(":")
    if is_list:
        found: Schema = {"x-kubernetes-list-type": sort or "atomic"}
        return found | ({"x-kubernetes-list-map-keys": keys.split(",")} if keys else {})
    return {"x-kubernetes-map-type": "atomic"} if marker == "atomic" else {}
