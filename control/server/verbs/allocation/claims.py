"""Claims: one key in the store for each address and port that a Service holds. Pure.

A claim is created and removed in the same transaction as its Service. So two API servers cannot
allocate the same address, and no claim leaks when a server dies. The claim of an address is its
IPAddress, which clients see; one that somebody made by hand claims it as well.
"""

import uuid
from collections.abc import Mapping, Set
from ipaddress import ip_address
from typing import Any

from msgspec import Struct

from control.api.kinds import SERVICE, SERVICE_ADDRESS, Kind
from control.api.ranges import ALLOCATOR, FAMILY, MANAGED_BY
from control.server.state.watch_cache import ADDRESSES, CLAIMS
from control.server.wire.item import Wire, encode_object
from control.store.base import Create, Delete, Write


def ip_claim(ip: str) -> str:
    """Return the key that claims an address: that of its IPAddress."""
    return ADDRESSES + ip


def port_claim(port: int) -> str:
    """Return the key that claims a port on every node."""
    return f"{CLAIMS}port/{port}"


class Claims(Struct, frozen=True):
    """The keys that one Service claims."""

    keys: frozenset[str] = frozenset()
    holder: str = ""  # the Service's UID
    namespace: str = ""
    name: str = ""


def claims_of(kind: Kind, wire: Mapping[str, Any] | None) -> Claims:
    """Return the claims of an object; empty for None."""
    if kind is not SERVICE or wire is None:
        return Claims()
    spec, metadata = wire.get("spec", {}), wire.get("metadata", {})
    ips = {ip_claim(ip) for ip in spec.get("clusterIPs", ()) if ip and ip != "None"}
    ports = {port.get("nodePort", 0) for port in spec.get("ports", ())}
    ports.add(spec.get("healthCheckNodePort", 0))
    keys = frozenset(ips | {port_claim(port) for port in ports if port})
    place = metadata.get("namespace", ""), metadata.get("name", "")
    return Claims(keys, metadata.get("uid", ""), *place)


def claim_changes(old: Claims, new: Claims, held: Set[str], now: str) -> tuple[Write, ...]:
    """Return the claims to create and delete with a write; ``held`` are all stored claims."""
    created = [Create(key, claim(new, key, now)) for key in sorted(new.keys - old.keys)]
    removed = [Delete(key) for key in sorted((old.keys - new.keys) & held)]
    return (*created, *removed)


def claim(claims: Claims, key: str, now: str) -> bytes:
    """Return what is stored for a claim."""
    if not key.startswith(ADDRESSES):
        return claims.holder.encode()
    return encode_object(_address(claims, key.removeprefix(ADDRESSES), now))


def _address(claims: Claims, ip: str, now: str) -> Wire:
    kind, family = SERVICE_ADDRESS, f"IPv{ip_address(ip).version}"
    metadata = {
        "name": ip,
        "uid": str(uuid.uuid4()),
        "generation": 1,
        "creationTimestamp": now,
        "labels": {FAMILY: family, MANAGED_BY: ALLOCATOR},
    }
    parent = {"resource": SERVICE.plural, "namespace": claims.namespace, "name": claims.name}
    head = {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
    return head | {"spec": {"parentRef": parent}}
