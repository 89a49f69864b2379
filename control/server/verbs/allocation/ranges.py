"""The ranges of which addresses of Services are taken: all ready ServiceCIDRs. Pure."""

from collections.abc import Iterator, Mapping
from functools import lru_cache
from ipaddress import ip_network
from typing import Any

from control.api.kinds import SERVICE_RANGE
from control.api.ranges import DEFAULT_RANGE, READY
from control.server.state.server import Network, ServerState
from control.server.wire.info import storage_prefix


def ranges_of(state: ServerState) -> tuple[Network, ...]:
    """Return the ranges in the order of their use: the default ones, then by name.

    While there is no default ServiceCIDR yet, its ranges are those of the configuration.
    """
    items = state.cache.of(SERVICE_RANGE).items(storage_prefix(SERVICE_RANGE))
    found = {item.wire["metadata"]["name"]: item.wire for item in items}
    default = found.pop(DEFAULT_RANGE, None)
    first = state.config.service_cidrs if default is None else tuple(_networks(default))
    return (*first, *(network for name in sorted(found) for network in _networks(found[name])))


def _networks(wire: Mapping[str, Any]) -> Iterator[Network]:
    """Yield the ranges of a ServiceCIDR that addresses are taken of now.

    One without a condition counts as ready, as upstream: nobody may be there to say so.
    """
    conditions = (wire.get("status") or {}).get("conditions") or ()
    states = {each["type"]: each["status"] for each in conditions}
    if not wire["metadata"].get("deletionTimestamp") and states.get(READY, "True") == "True":
        yield from map(_network, wire["spec"].get("cidrs") or ())


@lru_cache(maxsize=64)
def _network(cidr: str) -> Network:
    return ip_network(cidr)
