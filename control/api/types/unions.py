"""The messages that JSON writes as one of their fields: parts of a JSON schema.

Source: marshal.go of k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

SCHEMA = "apiextensions.JSONSchemaProps"


class Union(NamedTuple):
    """What JSON may have in place of a schema."""

    field: str  # of the message in protobuf
    form: type | None  # of the JSON value
    item: str = ""  # the type of a list's items
    wrong: str = ""  # the error for any other value; empty if Go takes it as nothing


UNIONS: Mapping[str, Union] = {
    f"{SCHEMA}OrBool": Union("allows", bool, wrong="boolean or JSON schema expected"),
    f"{SCHEMA}OrArray": Union("jSONSchemas", list, SCHEMA),
    f"{SCHEMA}OrStringArray": Union("property", list, "s"),
}


def json_form(message: str, wire: Mapping[str, Any]) -> Any:
    """Return the JSON of a decoded protobuf message of one of these types."""
    known = UNIONS[message]
    if "schema" in wire:
        return wire["schema"]
    return wire.get(known.field, False if known.form is bool else [])
