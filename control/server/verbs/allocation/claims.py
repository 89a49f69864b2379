"""Claims: one key in the store for each address and port that a Service holds. Pure.

A claim is created and removed in the same transaction as its Service. So two API servers cannot
allocate the same address, and no claim leaks when a server dies.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Any

from control.api.kinds import SERVICE, Kind
from control.server.state.watch_cache import CLAIMS
from control.store.base import Create, Delete, Write


def ip_claim(ip: str) -> str:
    """Return the key that claims an address."""
    return f"{CLAIMS}ip/{ip}"


def port_claim(port: int) -> str:
    """Return the key that claims a port on every node."""
    return f"{CLAIMS}port/{port}"


@dataclass(frozen=True, slots=True)
class Claims:
    """The keys that one object claims."""

    keys: frozenset[str] = frozenset()
    holder: str = ""  # the object's UID


def claims_of(kind: Kind, wire: Mapping[str, Any] | None) -> Claims:
    """Return the claims of an object; empty for None."""
    if kind is not SERVICE or wire is None:
        return Claims()
    spec = wire.get("spec", {})
    ips = {ip_claim(ip) for ip in spec.get("clusterIPs", ()) if ip and ip != "None"}
    ports = {port.get("nodePort", 0) for port in spec.get("ports", ())}
    ports.add(spec.get("healthCheckNodePort", 0))
    keys = frozenset(ips | {port_claim(port) for port in ports if port})
    return Claims(keys, wire.get("metadata", {}).get("uid", ""))


def claim_changes(old: Claims, new: Claims, held: Set[str]) -> tuple[Write, ...]:
    """Return the claims to create and delete with a write; ``held`` are all stored claims."""
    holder = new.holder.encode()
    created = [Create(key, holder) for key in sorted(new.keys - old.keys)]
    removed = [Delete(key) for key in sorted((old.keys - new.keys) & held)]
    return (*created, *removed)
