"""The schemas of custom resources: what their definitions say, and all objects' metadata. Pure.

Their type names begin with a mark here, as they are whole names and not in upstream's table. V2
knows less than a structural schema: it leaves out what it cannot say, as upstream's does.

Source: k8s.io/apiextensions-apiserver/pkg/controller/openapi (builder.go, v2/conversion.go).
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import Kind
from control.server.pages.openapi.schema import META, V2, Dialect, Schema, group_version_kind

MARK = "="
_TEXTS = {
    "apiVersion": "The version of this schema of the object.",
    "kind": "The kind of the object.",
    "metadata": "The name, labels, owners and times of the object.",
}
# What OpenAPI v2 has of a schema, besides its parts.
_PLAIN = ("description", "format", "required")


def custom_type(kind: Kind) -> str:
    """Return the marked name of a kind's type: ``=com.example.v1.CronTab``."""
    domain = ".".join(reversed(kind.group.split(".")))
    return f"{MARK}{domain}.{kind.version}.{kind.name}"


def schema_of_custom(kind: Kind, dialect: Dialect) -> Schema:
    """Return the schema of the objects of a custom kind."""
    given = kind.custom.schema if kind.custom else {}
    made = v2_schema(given) if dialect is V2 else dict(given)
    if dialect is V2 and "properties" not in made:
        made = {"type": "object"}  # kubectl would complain of every field that is not listed
    else:
        made["properties"] = dict(made.get("properties") or {}) | _head(dialect)
    gvk = group_version_kind(kind.group, kind.version, kind.name)
    return made | {"x-kubernetes-group-version-kind": [gvk]}


def _head(dialect: Dialect) -> dict[str, Schema]:
    names = ("apiVersion", "kind")
    text = {name: {"type": "string", "description": _TEXTS[name]} for name in names}
    told = {"description": _TEXTS["metadata"]}
    return text | {"metadata": dialect.beside(dialect.refer(f"{META}.ObjectMeta"), told)}


def v2_schema(schema: Mapping[str, Any]) -> Schema:
    """Return what OpenAPI v2 can say of a structural schema."""
    made = {name: schema[name] for name in _PLAIN if name in schema}
    made |= {name: value for name, value in schema.items() if name.startswith("x-")}
    if schema.get("nullable") or schema.get("x-kubernetes-int-or-string"):
        made.pop("format", None)
        return made  # v2 has neither, so it may say nothing of the type
    if schema.get("type"):
        made["type"] = schema["type"]
    if schema.get("x-kubernetes-preserve-unknown-fields"):
        made.pop("required", None)
        return made
    if properties := schema.get("properties"):
        made["properties"] = {name: v2_schema(each) for name, each in properties.items()}
    if isinstance(schema.get("items"), dict):
        made["items"] = v2_schema(schema["items"])
    if more := schema.get("additionalProperties"):
        made["additionalProperties"] = v2_schema(more) if isinstance(more, dict) else {}
    return made


def custom_list(kind: Kind, dialect: Dialect) -> Schema:
    """Return the schema of the lists of a custom kind."""
    items = {"type": "array", "items": dialect.refer(custom_type(kind))}
    gvk = group_version_kind(kind.group, kind.version, kind.list_name)
    listed = {"description": f"Each {kind.name}."} | items
    metadata = dialect.beside(
        dialect.refer(f"{META}.ListMeta"), {"description": "The version of the list."}
    )
    head = {name: each for name, each in _head(dialect).items() if name != "metadata"}
    return {
        "description": f"A list of {kind.name} objects: all of them, or one page.",
        "type": "object",
        "properties": head | {"items": listed, "metadata": metadata},
        "required": ["items"],
        "x-kubernetes-group-version-kind": [gvk],
    }
