"""What an API server serves, by its aggregated discovery (KEP-3352)."""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import orjson

from control.api.kind import Kind
from control.client.errors import ClientError

if TYPE_CHECKING:
    from control.client.rest import Client

ACCEPT = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_PATHS = ("/api", "/apis")
# A resource, a group or a version becomes a part of a path; extension servers choose theirs.
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")


@dataclass(frozen=True, slots=True)
class ServedKind:
    """A kind, and what can be done with its objects."""

    kind: Kind
    verbs: frozenset[str]


@dataclass(slots=True)
class Discovery:
    """Every resource once, in the version that its group prefers.

    ``stale`` are the ``group/version`` of which the server does not know the resources now.
    """

    served: dict[tuple[str, str], ServedKind] = field(default_factory=dict)  # by group, resource
    stale: list[str] = field(default_factory=list)


async def discover(client: "Client") -> Discovery:
    """Ask what is served; raises ClientError."""
    found = Discovery()
    for path in _PATHS:
        read(await client.raw(path, accept=ACCEPT), found)
    return found


def read(body: bytes, into: Discovery) -> None:
    """Add what an APIGroupDiscoveryList says; raises ClientError for anything else. Pure."""
    try:
        wire = orjson.loads(body)
    except orjson.JSONDecodeError as err:
        raise ClientError(f"discovery: the answer is not JSON: {body[:80]!r}") from err
    if not isinstance(wire, dict) or wire.get("kind") != "APIGroupDiscoveryList":
        raise ClientError("discovery: the answer is no APIGroupDiscoveryList")
    try:
        _fill(into, wire.get("items") or ())
    except (AttributeError, KeyError, TypeError) as err:
        raise ClientError(f"discovery: an entry is not of its type: {err!r}") from err


def _fill(into: Discovery, groups: Iterable[Mapping[str, Any]]) -> None:
    for group in groups:
        name = group["metadata"].get("name") or ""
        for version in group.get("versions") or ():
            number = version["version"]
            if version.get("freshness") == "Stale":
                into.stale.append(f"{name}/{number}")
                continue
            for row in version.get("resources") or ():
                if _is_usable(name, number, row):
                    served = _served(name, number, row)
                    into.served.setdefault((name, row["resource"]), served)


def _is_usable(group: str, version: str, row: Mapping[str, Any]) -> bool:
    return all(map(_NAME.fullmatch, _parts(group, version, row)))


def _parts(group: str, version: str, row: Mapping[str, Any]) -> Iterator[str]:
    yield from (version, row["resource"])
    if group:
        yield group


def _served(group: str, version: str, row: Mapping[str, Any]) -> ServedKind:
    from control.api.meta import Object  # few clients ask

    name = (row.get("responseKind") or {}).get("kind") or ""
    namespaced = row.get("scope") == "Namespaced"
    kind: Kind = Kind(group, version, name, row["resource"], Object, namespaced)
    return ServedKind(kind, frozenset(row.get("verbs") or ()))
