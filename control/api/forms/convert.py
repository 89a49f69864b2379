"""Convert an object between a form and the kind that is stored, with the zeros of each."""

from collections.abc import Mapping
from typing import Any

from control.api.kind import Kind
from control.api.types.conform import conform
from control.api.types.scalars import WrongTypeError

Wire = dict[str, Any]


def shown(kind: Kind, wire: Mapping[str, Any]) -> Wire:
    """Return a stored object as a kind shows it."""
    return dict(wire) if kind.form is None else _typed(kind, kind.form.show(wire))


def kept(kind: Kind, wire: Mapping[str, Any]) -> Wire:
    """Return an object of a kind as it is stored; what is in that form already stays so."""
    if kind.form is None or wire.get("apiVersion") != kind.api_version:
        return dict(wire)
    return _typed(kind.stored, kind.form.keep(wire))


def _typed(kind: Kind, wire: Wire) -> Wire:
    """Return an object with the zeros that its kind shows.

    What has a wrong type, which an older server took, stays as it is.
    """
    try:
        return conform(kind, wire)[0]
    except WrongTypeError:
        return wire
