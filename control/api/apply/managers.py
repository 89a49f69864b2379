"""Who manages which fields: metadata.managedFields as values.

An entry is identified by its manager, operation and subresource, an Update also by its apiVersion.
Source: k8s.io/apimachinery/pkg/util/managedfields/internal/managedfields.go.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

import orjson
from msgspec import Struct

from control.api.apply.fieldset import FieldSet, FieldSetError, read, union

APPLY, UPDATE = "Apply", "Update"
_MOST_UPDATES = 10
_OLD_UPDATES = "ancient-changes"
_LONGEST = 128


class Manager(NamedTuple):
    """Who made a change; ``version`` is empty for Apply."""

    name: str
    operation: str
    version: str = ""
    subresource: str = ""

    def __str__(self) -> str:
        """Return the manager as conflicts name it."""
        text = orjson.dumps(self.name).decode()
        if self.subresource:
            text += f' with subresource "{self.subresource}"'
        return f"{text} using {self.version}" if self.operation == UPDATE else text


class Managed(Struct, frozen=True):
    """The fields of one manager, the version that names them, and the time of the last change."""

    fields: FieldSet
    version: str
    time: str = ""


Managers = Mapping[Manager, Managed]


def manager(name: str, operation: str, version: str, subresource: str = "") -> Manager:
    """Return the identity of a writer; one without a name is called unknown."""
    kept = "" if operation == APPLY else version
    return Manager(name or "unknown", operation, kept, subresource)


def decode(entries: Any) -> dict[Manager, Managed]:
    """Read the entries that a client has sent; raises FieldSetError if one is malformed."""
    if not isinstance(entries, list):
        raise FieldSetError("managedFields must be a list")
    return dict(_entry(each, read(each.get("fieldsV1") or {})) for each in map(_checked, entries))


def decode_stored(raw: bytes) -> dict[Manager, Managed]:
    """Read entries that ``encode`` has written."""
    return of_stored(orjson.loads(raw)) if raw else {}


def of_stored(entries: list[Mapping[str, Any]]) -> dict[Manager, Managed]:
    """Read decoded entries that ``encode`` has written."""
    return dict(_entry(each, each["fieldsV1"]) for each in entries)


def _checked(entry: Any) -> Mapping[str, Any]:
    if not isinstance(entry, dict) or entry.get("operation") not in (APPLY, UPDATE):
        raise FieldSetError("operation must be `Apply` or `Update`")
    if not entry.get("apiVersion") or entry.get("fieldsType") != "FieldsV1":
        raise FieldSetError("an entry needs an apiVersion and the fieldsType FieldsV1")
    if len(entry.get("manager", "").encode()) > _LONGEST:
        raise FieldSetError(f"a manager may have {_LONGEST} bytes")
    return entry


def _entry(entry: Mapping[str, Any], fields: FieldSet) -> tuple[Manager, Managed]:
    version, operation = entry["apiVersion"], entry["operation"]
    name, subresource = entry.get("manager", ""), entry.get("subresource", "")
    kept = "" if operation == APPLY else version
    who = Manager(name, operation, kept, subresource)
    return who, Managed(fields, version, entry.get("time") or "")


def is_reset(entries: Any) -> bool:
    """Return True if a client asks that nobody manages anything: ``[]`` or ``[{}]``."""
    return entries in ([], [{}])


def encode(managers: Managers) -> bytes:
    """Return the entries as JSON, in upstream's order; empty for none."""
    if not managers:
        return b""
    entries = sorted(managers.items(), key=_order)
    return orjson.dumps([_wire(who, held) for who, held in entries])


def same(one: bytes, two: bytes) -> bool:
    """Return True if two lists of entries differ at most in their times."""
    if one == two:
        return True
    return bool(one and two) and _timeless(one) == _timeless(two)


def _timeless(raw: bytes) -> dict[Manager, tuple[FieldSet, str]]:
    return {who: (held.fields, held.version) for who, held in decode_stored(raw).items()}


def _order(entry: tuple[Manager, Managed]) -> tuple[str, ...]:
    who, held = entry
    return who.operation, held.time, who.name, held.version, who.subresource


def _wire(who: Manager, held: Managed) -> dict[str, Any]:
    fields = orjson.Fragment(orjson.dumps(held.fields, option=orjson.OPT_SORT_KEYS))
    made = {"manager": who.name, "operation": who.operation, "apiVersion": held.version}
    if held.time:
        made["time"] = held.time
    found: dict[str, Any] = made | {"fieldsType": "FieldsV1", "fieldsV1": fields}
    return found | {"subresource": who.subresource} if who.subresource else found


def capped(managers: dict[Manager, Managed]) -> dict[Manager, Managed]:
    """Join the oldest updates of a version if there are more than ten."""
    updates = [who for who in managers if who.operation == UPDATE]
    count = len(updates)
    if count <= _MOST_UPDATES:
        return managers
    firsts: dict[str, Manager] = {}
    for who in sorted(updates, key=lambda each: (managers[each].time, each)):
        if count <= _MOST_UPDATES:
            break
        held = managers[who]
        first = firsts.setdefault(held.version, who)
        if first is who:
            continue
        bucket = Manager(_OLD_UPDATES, UPDATE, held.version)
        if bucket not in managers:
            managers[bucket] = managers.pop(first)
        joined = union(held.fields, managers[bucket].fields)
        managers[bucket] = Managed(joined, held.version, held.time)
        del managers[who]
        count -= 1
    return managers
