"""Read JSON objects into the model of their kind, with upstream's error messages."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from control.api import field
from control.api.kinds import Kind
from control.api.meta import Object
from control.server.wire.errors import StatusError, bad_request, invalid
from control.server.wire.item import Wire

# The parts that pydantic adds to a location: the member of a union, or a mark for a key.
_BRANCHES = ("int", "constrained-int", "str", "float", "[key]")
# Go's names of JSON values and of the types of fields, as its messages have them.
_GIVEN = {
    str: "string",
    bool: "bool",
    int: "number",
    float: "number",
    list: "array",
    dict: "object",
}
_WANTED = {
    "int": "int32",
    "string": "string",
    "bool": "bool",
    "float": "float64",
    "list": "slice",
    "dict": "map",
    "model": "struct",
    "less_than": "int32",
    "greater_than": "int32",
}


def check_type(kind: Kind, wire: Wire) -> Wire:
    """Return the object with its kind set; raises StatusError (400) if it names another."""
    version = wire.get("apiVersion") or kind.api_version
    name = wire.get("kind") or kind.name
    if version != kind.api_version:
        raise bad_request(
            f"the API version in the data ({version}) does not match the expected API version"
            f" ({kind.api_version})"
        )
    if name != kind.name:
        raise bad_request(
            f"the kind in the data ({name}) does not match the expected kind ({kind.name})"
        )
    if not isinstance(wire.get("metadata", {}), dict):
        raise _not_handled(kind, "json: cannot unmarshal metadata into Go struct field ObjectMeta")
    return wire | {"apiVersion": version, "kind": name, "metadata": wire.get("metadata", {})}


def parse(kind: Kind, wire: Mapping[str, Any]) -> Object:
    """Read an object into its kind's model.

    Raises StatusError: 400 for a wrong type, 422 for a missing field.
    """
    try:
        return kind.model.model_validate(wire)
    except ValidationError as err:
        raise _refusal(kind, wire, err.errors(include_url=False)) from err


def _refusal(kind: Kind, wire: Mapping[str, Any], found: list[ErrorDetails]) -> StatusError:
    wrong = [error for error in found if error["type"] != "missing"]
    if wrong:
        return _not_handled(kind, f"json: cannot unmarshal {_mismatch(kind, wrong[0])}")
    name = wire["metadata"].get("name", "")
    return invalid(kind, name, [field.required(_path(error["loc"])) for error in found])


def _not_handled(kind: Kind, why: str) -> StatusError:
    return bad_request(
        f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {why}'
    )


def _mismatch(kind: Kind, error: ErrorDetails) -> str:
    given = _GIVEN.get(type(error["input"]), "value")
    wanted = next((go for name, go in _WANTED.items() if error["type"].startswith(name)), "string")
    return f"{given} into Go struct field {kind.name}.{_path(error['loc'])} of type {wanted}"


def _path(loc: tuple[int | str, ...]) -> str:
    """Return pydantic's location as a path such as ``spec.ports[0].port``."""
    parts = loc[:-1] if loc[-1] in _BRANCHES and len(loc) > 1 else loc
    text = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in parts)
    return text.removeprefix(".")
