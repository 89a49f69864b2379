"""JSON schemas of the models, as Kubernetes extends them. Pure.

Source: https://github.com/kubernetes/kube-openapi; what the types of a model's fields do not say is
in their ``Merge``, in docstrings, and in fields/.
"""

import inspect
from collections.abc import Mapping
from dataclasses import dataclass
from types import NoneType, UnionType
from typing import Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo

from control.api.base import Int32, Model
from control.api.merging import Merge, outline
from control.server.pages.openapi.names import names, typed
from control.server.pages.openapi.words import about, sayings

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
    """What two versions of OpenAPI write differently."""

    definitions: str  # where references lead
    scalars: dict[str, Schema]  # schemas of what is no model, by name
    wraps: bool  # a reference stands alone: what is said beside it goes around it

    def refer(self, name: str) -> Schema:
        """A reference to a schema."""
        return {"$ref": self.definitions + name}

    def beside(self, schema: Schema, more: Schema) -> Schema:
        """A schema, with more said about it."""
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
    return {"description": sayings()[name]}


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
    """The schema of one model; models in it are referred to."""
    fields = {info.alias or name: info for name, info in model.model_fields.items()}
    found: Schema = {
        "description": description(model),
        "type": "object",
        "properties": {name: _field(model, name, fields[name], dialect) for name in sorted(fields)},
    }
    if required := sorted(name for name, info in fields.items() if info.is_required()):
        found["required"] = required
    kinds = [gvk for gvk, root in typed().items() if root is model]
    if kinds:
        found["x-kubernetes-group-version-kind"] = [group_version_kind(*gvk) for gvk in kinds]
    return found


def list_schema(gvk: tuple[str, str, str], item: str, metadata: str, dialect: Dialect) -> Schema:
    """The schema of a list of one kind; ``item`` and ``metadata`` name schemas."""
    group, version, kind = gvk
    items = {"type": "array", "items": dialect.refer(item), "description": f"Each {kind}."}
    names = {
        name: {"type": "string", "description": about(["List"], name)}
        for name in ("apiVersion", "kind")
    }
    about_page = {"description": about(["List"], "metadata")}
    return {
        "description": f"{kind}s: all of them, or one page.",
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
    """The extension that ties a schema or an operation to a kind."""
    return {"group": group, "version": version, "kind": kind}


def description(model: type[Model]) -> str:
    """What is said of a model, or else its docstring, as paragraphs in plain quotes."""
    if text := sayings().get(model.__name__):
        return text
    paragraphs = (inspect.getdoc(model) or "").split("\n\n")
    return "\n\n".join(" ".join(text.split()) for text in paragraphs).replace("``", '"')


def _field(model: type[Model], name: str, info: FieldInfo, dialect: Dialect) -> Schema:
    annotation = _annotation(info)
    found = _value(annotation, dialect)
    more: Schema = {}
    if text := about(_names(model), name) or _inner_description(annotation):
        more["description"] = text
    if found == _SCALARS[str] and name.endswith(_TIMES):
        more["format"] = "date-time"
    if info.default and isinstance(info.default, str):
        more["default"] = info.default
    merge = next((given for given in info.metadata if isinstance(given, Merge)), None)
    return dialect.beside(found, more | _extensions(merge, get_origin(annotation) is list))


def _names(model: type[Model]) -> list[str]:
    """The names under which a field may be described: the model's, and those it inherits from."""
    return [base.__name__ for base in model.__mro__]


def _annotation(info: FieldInfo) -> Any:
    """A field's type; of JSON that is kept as it came, the type that describes it."""
    model = outline(info)
    if model is None:
        return info.annotation
    return list[model] if get_origin(info.annotation) is list else model  # type: ignore[valid-type]


def _inner_description(annotation: Any) -> str:
    """What the model says that a field holds, if it holds one."""
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return description(annotation)
    found = (_inner_description(inner) for inner in get_args(annotation))
    return next((text for text in found if text), "")


def _value(annotation: Any, dialect: Dialect) -> Schema:
    """The schema of a type."""
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
    """``X | None`` is X; the only others are quantities, and numbers or names."""
    if len(members) == 1:
        return _value(members[0], dialect)
    return dialect.refer(_QUANTITY if float in members else _INT_OR_STRING)


def _extensions(merge: Merge | None, is_list: bool) -> Schema:
    """How a field merges, for strategic merge patches and for server-side apply."""
    merge = merge or Merge(merges=False)
    strategies = ["merge"] * merge.merges + ["retainKeys"] * merge.retain_keys
    found: Schema = {}
    if strategies:
        found["x-kubernetes-patch-strategy"] = ",".join(strategies)
    if merge.key:
        found["x-kubernetes-patch-merge-key"] = merge.key
    keys = list(merge.map_keys or filter(None, [merge.key]))
    if is_list and keys:
        found["x-kubernetes-list-map-keys"] = keys
    if is_list:
        found["x-kubernetes-list-type"] = "map" if keys else "set" if merge.merges else "atomic"
    return found
