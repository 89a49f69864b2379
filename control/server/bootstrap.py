"""Create the objects that every cluster has.

They are namespaces, the system's two priority classes, the default ServiceCIDR, the ``kubernetes``
Service, the APIServices of what this server serves, and who signs clients.

Source: k8s.io/kubernetes/pkg/controlplane (the ``kubernetes`` Service and its endpoints).
"""

import asyncio
import logging
from functools import partial
from ipaddress import ip_address
from typing import Any

from control.api import flows
from control.api.kinds import (
    CONFIG_MAP,
    ENDPOINT_SLICE,
    ENDPOINTS,
    NAMESPACE,
    PRIORITY_CLASS,
    SERVICE,
    SERVICE_RANGE,
    Kind,
)
from control.api.ranges import DEFAULT_RANGE, READY
from control.api.validation.cluster import SYSTEM_PRIORITIES
from control.server import trust
from control.server.aggregation.register import register
from control.server.fairness.dangling import tell_all
from control.server.fairness.kinds import FLOW_SCHEMA, PRIORITY_LEVEL
from control.server.state.server import ServerState
from control.server.verbs.create import make
from control.server.verbs.modify import Edited, modify
from control.server.verbs.prepare import same
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.item import Item, Wire
from control.server.wire.request import SELF, SERVER_AGENT, ApiRequest
from control.store.base import StoreError

logger = logging.getLogger(__name__)

INTERVAL = 10.0
_LEAVE_SECONDS = 2.0
_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_USED_FOR = {
    "system-cluster-critical": (
        "Used for system critical pods that must run in the cluster, but can be moved to another"
        " node if necessary."
    ),
    "system-node-critical": (
        "Used for system critical pods that must not be moved from their current node."
    ),
}
_RANGE_READY = {
    "type": READY,
    "status": "True",
    "reason": "",
    "message": "Kubernetes default Service CIDR is ready",
}
_NAME = "kubernetes"
_PORT = "https"


async def bootstrap(state: ServerState) -> None:
    """Create or correct the cluster's own objects; raises StatusError if the store fails."""
    await state.cache.fresh()
    await asyncio.gather(
        *(_ensure(state, NAMESPACE, "", name, {}) for name in _NAMESPACES),
        *(_make_priority(state, name) for name in SYSTEM_PRIORITIES),
        _make_flows(state),
        register(state),
        _make_range(state),
    )
    # In a namespace, and with an address of the range.
    await asyncio.gather(
        _publish_trusted(state), _ensure(state, SERVICE, "default", _NAME, _service(state))
    )
    if _is_reachable(state):
        alive = await state.presence.renew(state.store, state.config.advertise_address)
        await _publish(state, alive)


async def leave(state: ServerState) -> None:
    """Take this server out of the endpoints of ``kubernetes``, unless it is the last one.

    A failure costs only time: the others find out after 15 seconds.
    """
    if not _is_reachable(state):
        return
    try:
        async with asyncio.timeout(_LEAVE_SECONDS):
            rest = await state.presence.leave(state.store, state.config.advertise_address)
            if rest:
                await state.cache.fresh()
                await _publish(state, rest)
    except (StatusError, StoreError, TimeoutError) as err:
        logger.warning("leaving the endpoints of the Service kubernetes: %s", err)


async def _make_priority(state: ServerState, name: str) -> None:
    content = {"value": SYSTEM_PRIORITIES[name], "description": _USED_FOR[name]}
    await _ensure(state, PRIORITY_CLASS, "", name, content)


async def _publish_trusted(state: ServerState) -> None:
    if data := _trusted(state):
        await _ensure(state, CONFIG_MAP, trust.NAMESPACE, trust.NAME, {"data": data})


async def _make_flows(state: ServerState) -> None:
    """Create or correct flow schemas and priority levels; a suggested one may be its user's."""
    made: list[bool] = []
    for kind, specs in (
        (PRIORITY_LEVEL, flows.levels()),
        (FLOW_SCHEMA, flows.schemas()),
    ):
        made += await asyncio.gather(*(_make_flow(state, kind, *each) for each in specs.items()))
    if any(made):
        await state.cache.fresh()
    await tell_all(state)


async def _make_flow(state: ServerState, kind: Kind, name: str, spec: Wire) -> bool:
    """Create or correct one of these; return True if it was not as it should be."""
    item = state.cache.of(kind).get(storage_key(kind, "", name))
    notes = (item.wire["metadata"].get("annotations") or {}) if item else {}
    follows = notes.get(flows.AUTO_UPDATE, "true") == "true"
    if item and flows.is_as_fixed(name, item.wire.get("spec") or {}, spec):
        return False
    if is_ours := name in flows.MANDATORY or follows:
        annotations = {} if item else {flows.AUTO_UPDATE: "true"}
        content = {"metadata": {"annotations": annotations}} if annotations else {}
        await _ensure(state, kind, "", name, content | {"spec": spec})
    return is_ours


def _is_reachable(state: ServerState) -> bool:
    """True if others could reach the server at the address that it advertises."""
    return not ip_address(state.config.advertise_address).is_loopback


async def _publish(state: ServerState, addresses: list[str]) -> None:
    """Write the addresses of all servers into the endpoints of the Service ``kubernetes``."""
    await _ensure(state, ENDPOINTS, "default", _NAME, _endpoints(state, addresses))
    await _ensure(state, ENDPOINT_SLICE, "default", _NAME, _endpoint_slice(state, addresses))


async def keep(state: ServerState, interval: float = INTERVAL) -> None:
    """Repeat ``bootstrap`` for ever: users may delete or change these objects."""
    while True:
        await asyncio.sleep(interval)
        try:
            await bootstrap(state)
        except (StatusError, StoreError, OSError) as err:
            logger.warning("keeping the cluster's own objects: %s", err)


def _trusted(state: ServerState) -> dict[str, str]:
    """Return who signs clients, and who signs servers that speak for users.

    Without one of these authorities its part is left out, as upstream.
    """
    item = state.cache.of(CONFIG_MAP).get(storage_key(CONFIG_MAP, trust.NAMESPACE, trust.NAME))
    before = item.wire.get("data", {}) if item else {}
    config, now = state.config, state.now()
    found: dict[str, str] = {}
    if config.client_ca is not None:
        found |= trust.published(trust.CLIENT, before, config.client_ca.read_bytes(), now)
    proxy = config.front_proxy
    if proxy.authority is not None:
        found |= trust.published(trust.PROXY, before, proxy.authority.read_bytes(), now)
        found |= trust.headers(before, proxy.allowed_names)
    return found


def _service(state: ServerState) -> Wire:
    first = state.config.service_cidrs[0]
    port = {"name": _PORT, "port": 443, "targetPort": state.config.port, "protocol": "TCP"}
    return {
        "metadata": {"labels": {"component": "apiserver", "provider": "kubernetes"}},
        "spec": {"clusterIP": str(first[1]), "ports": [port]},
    }


def _endpoints(state: ServerState, addresses: list[str]) -> Wire:
    port = {"name": _PORT, "port": state.config.port, "protocol": "TCP"}
    return {
        "metadata": {"labels": {"endpointslice.kubernetes.io/skip-mirror": "true"}},
        "subsets": [{"addresses": [{"ip": each} for each in addresses], "ports": [port]}],
    }


def _endpoint_slice(state: ServerState, addresses: list[str]) -> Wire:
    port = {"name": _PORT, "port": state.config.port, "protocol": "TCP"}
    return {
        "metadata": {"labels": {"kubernetes.io/service-name": _NAME}},
        "addressType": f"IPv{ip_address(state.config.advertise_address).version}",
        "endpoints": [{"addresses": [each], "conditions": {"ready": True}} for each in addresses],
        "ports": [port],
    }


async def _ensure(state: ServerState, kind: Kind, namespace: str, name: str, content: Wire) -> None:
    """Create an object, or update the one of an earlier start if it differs."""
    request = ApiRequest(RequestInfo("create", kind, namespace, name), SELF, agent=SERVER_AGENT)
    wanted = _complete(kind, name, content)
    key = storage_key(kind, namespace, name)
    item = state.cache.of(kind).get(key)
    if item is not None and same(item.wire, _merged(item, content)):
        return
    if item is None:
        try:
            await make(state, request, wanted)
            return
        except StatusError:
            # Another API server may have created it, or its Service with the same address.
            await state.cache.fresh()
            if state.cache.of(kind).get(key) is None:
                raise
    await modify(state, request, partial(_merge, content))


async def _make_range(state: ServerState) -> None:
    """Create the default ServiceCIDR; one that is there stays as it is, as upstream."""
    cidrs = [str(network) for network in state.config.service_cidrs]
    if state.cache.of(SERVICE_RANGE).get(storage_key(SERVICE_RANGE, "", DEFAULT_RANGE)) is None:
        await _ensure(state, SERVICE_RANGE, "", DEFAULT_RANGE, {"spec": {"cidrs": cidrs}})
    await _say(state, SERVICE_RANGE, DEFAULT_RANGE, _RANGE_READY)


async def _say(state: ServerState, kind: Kind, name: str, condition: Wire) -> None:
    """Set the condition of an object, if it has none yet."""
    item = state.cache.of(kind).get(storage_key(kind, "", name))
    if item is not None and (item.wire.get("status") or {}).get("conditions"):
        return
    info = RequestInfo("update", kind, "", name, "status")
    since = {"lastTransitionTime": state.timestamp()}

    def edit(_state: ServerState, _request: ApiRequest, item: Item) -> Edited:
        wire = item.fresh()
        wire["metadata"].pop("resourceVersion")
        if not (wire.get("status") or {}).get("conditions"):
            wire["status"] = {"conditions": [condition | since]}
        return Edited(wire)

    await modify(state, ApiRequest(info, SELF, agent=SERVER_AGENT), edit)


def _merge(content: Wire, _state: ServerState, _request: ApiRequest, item: Item) -> Edited:
    return Edited(_merged(item, content))


def _complete(kind: Kind, name: str, content: Wire) -> Wire:
    metadata = content.get("metadata", {}) | {"name": name}
    return {"kind": kind.name, "apiVersion": kind.api_version} | content | {"metadata": metadata}


def _merged(item: Item, content: Wire) -> Wire:
    """Return the object with this content; its other fields stay."""
    wire: dict[str, Any] = item.fresh()
    wire["metadata"].pop("resourceVersion")
    for key, value in content.items():
        wire[key] = wire.get(key, {}) | value if isinstance(value, dict) else value
    return wire
