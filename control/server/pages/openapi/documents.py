"""Build the OpenAPI documents: v3 for each group and version, v2 for all in one. Pure.

Source: https://kubernetes.io/docs/concepts/overview/kubernetes-api/#openapi-interface-definition
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from control.api.definitions.descriptions import TypeDescription, descriptions
from control.api.definitions.table import full_name
from control.api.kinds import SERVED, Kind
from control.server.pages.discovery import group_versions
from control.server.pages.openapi.custom import MARK, custom_list, schema_of_custom
from control.server.pages.openapi.operations import (
    Operation,
    PathOperation,
    operations,
    own_list,
    own_type,
)
from control.server.pages.openapi.parameters import Parameter, in_path
from control.server.pages.openapi.schema import (
    META,
    PATCH,
    V2,
    V3,
    Dialect,
    below,
    group_version_kind,
    list_schema,
    schema_of,
)
from control.server.wire.media import JSON
from control.version import KUBERNETES

Document = dict[str, Any]
_INFO = {"title": "Kubernetes", "version": f"v{KUBERNETES}"}
_CODES = {"post": {"200": "OK", "201": "Created"}, "put": {"200": "OK", "201": "Created"}}


Texts = Mapping[str, TypeDescription]


def v3_documents() -> Iterator[tuple[tuple[str, str], Document]]:
    """Make the v3 document of each group and version, one after the other."""
    said = descriptions()
    return ((found, _v3_document(*found, said)) for found in group_versions())


def v3_document(group: str, version: str, kinds: Sequence[Kind]) -> Document:
    """Make the v3 document of a group and version."""
    return _v3_document(group, version, descriptions(), kinds)


def _v3_document(group: str, version: str, said: Texts, every: Sequence[Kind] = SERVED) -> Document:
    places = list(operations(group, version, every))
    kinds = [kind for kind in every if (kind.group, kind.version) == (group, version)]
    return {
        "openapi": "3.0.0",
        "info": _INFO,
        "paths": _paths(places, _operation_v3, _parameter_v3),
        "components": {"schemas": _schemas(places, kinds, said, V3)},
    }


def v2_document(kinds: Sequence[Kind] = SERVED) -> Document:
    """Return the v2 document."""
    places = [place for found in group_versions(kinds) for place in operations(*found, kinds)]
    return {
        "swagger": "2.0",
        "info": _INFO,
        "paths": _paths(places, _operation_v2, _parameter_v2),
        "definitions": _schemas(places, kinds, descriptions(), V2),
    }


def _schemas(
    places: Iterable[PathOperation], kinds: Sequence[Kind], said: Texts, dialect: Dialect
) -> Document:
    """Return every schema that the operations refer to, directly or not, by name."""
    used = {name for _, operation in places for name in (operation.body, operation.answer)}
    lists = {own_list(kind): own_type(kind) for kind in kinds if not kind.custom}
    named = {name for name in used if name and name not in lists and name[0] != MARK}
    roots = named | {f"{META}.ListMeta", PATCH}
    custom = [kind for kind in kinds if kind.custom]
    roots |= {f"{META}.ObjectMeta"} if custom else set()
    found = {full_name(name): schema_of(name, said[name], dialect) for name in below(roots)}
    found |= {full_name(name): list_schema(item, dialect) for name, item in lists.items()}
    found |= {own_type(kind)[1:]: schema_of_custom(kind, dialect) for kind in custom}
    found |= {own_list(kind)[1:]: custom_list(kind, dialect) for kind in custom}
    found |= {full_name(letter): schema for letter, schema in dialect.scalars.items()}
    return dict(sorted(found.items()))


def _paths(
    places: Iterable[PathOperation],
    operation: Callable[[Operation], Document],
    parameter: Callable[[Parameter], Document],
) -> Document:
    found: Document = {}
    for path, described in places:
        item = found.setdefault(path, {})
        item[described.method] = operation(described)
        if given := [parameter(in_url) for in_url in in_path(path)]:
            item["parameters"] = given
    return found


def _common(operation: Operation) -> Document:
    return {
        "operationId": operation.id,
        "description": operation.description,
        "x-kubernetes-action": operation.action,
        "x-kubernetes-group-version-kind": group_version_kind(*operation.kind),
    }


def _codes(operation: Operation) -> dict[str, str]:
    return _CODES.get(operation.method, {"200": "OK"})


def _operation_v3(operation: Operation) -> Document:
    found = _common(operation)
    if operation.query:
        found["parameters"] = [_parameter_v3(parameter) for parameter in operation.query]
    if operation.body:
        content = _content(operation.consumes, operation.body)
        found["requestBody"] = {"content": content, "required": operation.method != "delete"}
    media = (JSON,) if operation.answer else ()
    found["responses"] = {
        code: {"description": text, "content": _content(media, operation.answer)}
        for code, text in _codes(operation).items()
    }
    return found


def _content(media: Iterable[str], schema: str) -> Document:
    return {media_type: {"schema": V3.refer(schema)} for media_type in media}


def _parameter_v3(parameter: Parameter) -> Document:
    found = {"name": parameter.name, "in": parameter.place, "description": parameter.description}
    required = {"required": True} if parameter.place == "path" else {}
    return found | required | {"schema": {"type": parameter.type}}


def _operation_v2(operation: Operation) -> Document:
    found = _common(operation)
    given = [_parameter_v2(parameter) for parameter in operation.query]
    if operation.body:
        body = {"name": "body", "in": "body", "schema": V2.refer(operation.body)}
        given.append(body | ({} if operation.method == "delete" else {"required": True}))
        found["consumes"] = list(operation.consumes)
    if operation.answer:
        found["produces"] = [JSON]
    if given:
        found["parameters"] = given
    schema = {"schema": V2.refer(operation.answer)} if operation.answer else {}
    found["responses"] = {
        code: {"description": text} | schema for code, text in _codes(operation).items()
    }
    return found


def _parameter_v2(parameter: Parameter) -> Document:
    found = {"name": parameter.name, "in": parameter.place, "description": parameter.description}
    required = {"required": True} if parameter.place == "path" else {}
    return found | required | {"type": parameter.type}
