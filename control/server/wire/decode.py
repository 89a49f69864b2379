"""Read JSON objects into the model of their kind, with upstream's error messages."""

from collections.abc import Mapping
from typing import Any, cast

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from control.api import field
from control.api.forms.convert import kept
from control.api.kinds import Kind
from control.api.meta import Object
from control.api.rules import rules_of
from control.api.types.conform import conform, conform_message
from control.api.types.scalars import WrongTypeError
from control.server.wire.errors import StatusError, bad_request, invalid
from control.server.wire.item import Wire
from control.server.wire.misfit import misfit


def check_type(kind: Kind, wire: Wire) -> Wire:
    """Return the object with its kind set; raises StatusError (400) if it names another."""
    version = wire.get("apiVersion") or kind.api_version
    name = wire.get("kind") or kind.name
    if (version, name) != (kind.api_version, kind.name):
        raise misfit(kind, version, name)
    return wire | {"apiVersion": version, "kind": name}


def read(kind: Kind, wire: Wire) -> tuple[Wire, list[str]]:
    """Read an object of a kind by upstream's types; return it with the names of unknown fields.

    Raises StatusError (400) for another kind and for a value of a wrong type.
    """
    wire = check_type(kind, wire)
    try:
        return conform(kind, wire)
    except WrongTypeError as err:
        raise _not_handled(kind, str(err)) from err


def stored(kind: Kind, wire: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a stored object in the form that new ones have, so that both can be compared.

    A custom object has that form already: see ``VersionView``. An object with a value of a wrong
    type, which an older server took, is returned as it is.
    """
    if kind.custom is not None:
        return wire
    try:
        return conform(kind, dict(wire))[0]
    except WrongTypeError:
        return wire


def as_stored(kind: Kind, wire: Mapping[str, Any]) -> Wire:
    """Return an object in the form in which it is stored, with the stored kind's defaults."""
    if kind.form is None:
        return cast(Wire, wire)
    return rules_of(kind.stored).default(kept(kind, wire))


def read_message(message: str, wire: Wire) -> Wire:
    """Read the body of a subresource or a review, such as ``core.Binding``, as ``read`` does."""
    name = message.partition(".")[2]
    if (given := wire.get("kind") or name) != name:
        named = f'{given} in version "{wire.get("apiVersion", "")}"'
        raise bad_request(f"{named} cannot be handled as a {name}: unknown conversion")
    try:
        return conform_message(message, wire)[0]
    except WrongTypeError as err:
        raise bad_request(f"{name} cannot be handled as a {name}: {err}") from err


def parse(kind: Kind, wire: Mapping[str, Any]) -> Object:
    """Read an object that ``read`` returned into its kind's model, one of a form as it is stored.

    Raises StatusError: 422 for a value that the model does not hold.
    """
    try:
        return kind.model.model_validate(wire)
    except ValidationError as err:
        found = [_field_error(error) for error in err.errors(include_url=False)]
        raise invalid(kind, wire["metadata"].get("name", ""), found) from err


def _not_handled(kind: Kind, why: str) -> StatusError:
    return bad_request(
        f'{kind.name} in version "{kind.version}" cannot be handled as a {kind.name}: {why}'
    )


def _field_error(error: ErrorDetails) -> field.FieldError:
    path = "".join(
        f"[{part}]" if isinstance(part, int) else f".{part}" for part in error["loc"]
    ).removeprefix(".")
    if error["type"] == "missing":
        return field.required(path)
    return field.invalid(path, error["input"], error["msg"])
