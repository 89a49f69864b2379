"""Read the kinds that are measured: metrics.k8s.io (GET)."""

import math
from collections.abc import Mapping
from typing import Any

from control.api.base import encode
from control.api.kinds import NODE, POD
from control.api.measured import NODE_METRICS
from control.api.times import rfc3339
from control.server.state.measured import Use
from control.server.state.server import ServerState
from control.server.state.strides import strides
from control.server.verbs.read import ObjectListing
from control.server.verbs.select import selection
from control.server.wire import errors
from control.server.wire.errors import StatusError
from control.server.wire.info import storage_key, storage_prefix
from control.server.wire.item import Item
from control.server.wire.list_options import errors_in_list
from control.server.wire.request import ApiRequest

_NANO, _KI = 10**9, 1024


async def get(state: ServerState, request: ApiRequest) -> Item:
    """Return what one node or Pod uses; raises StatusError (404)."""
    await state.cache.fresh()
    info = request.info
    kind = NODE if info.kind is NODE_METRICS else POD
    item = state.cache.of(kind).get(storage_key(kind, info.namespace, info.name))
    found = None if item is None else _measured(state, request, item)
    if found is None:
        name = f"{info.namespace}/{info.name}" if info.namespace else info.name
        why = f'{info.kind.name.lower()}.{info.kind.group} "{name}" not found'
        raise StatusError(404, "NotFound", why)
    return found


async def list_objects(state: ServerState, request: ApiRequest) -> ObjectListing:
    """List what nodes or Pods use, as far as it is known; raises StatusError (400, 422)."""
    if found := errors_in_list(request.query):
        raise errors.invalid_list_options(found)
    wanted = selection(request)
    revision = await state.cache.fresh()
    kind = NODE if request.info.kind is NODE_METRICS else POD
    prefix = storage_prefix(kind, request.info.namespace)
    every: list[Item] = []
    async for group in strides(list(state.cache.of(kind).items(prefix))):
        every += filter(None, (_measured(state, request, item) for item in group))
    return ObjectListing(request.info.kind, await wanted.choose(every), revision)


def _measured(state: ServerState, request: ApiRequest, item: Item) -> Item | None:
    """Return the metrics of a node or of a Pod; None if they are not known."""
    wire = item.wire
    name, namespace = wire["metadata"]["name"], wire["metadata"].get("namespace", "")
    if request.info.kind is NODE_METRICS:
        used = state.measured.node(name)
        return None if used is None else _item(state, request, wire, used, {"usage": _usage(used)})
    node = wire["spec"].get("nodeName", "")
    parts = state.measured.pod(node, (namespace, name))
    if not parts:
        return None
    containers = [{"name": each, "usage": _usage(use)} for each, use in parts.items()]
    first = min(parts.values(), key=lambda use: use.at)
    return _item(state, request, wire, first, {"containers": containers})


def _usage(used: Use) -> dict[str, str]:
    cpu, memory = math.ceil(used.cores * _NANO), -(-used.memory // _KI)
    return {"cpu": f"{cpu}n" if cpu else "0", "memory": f"{memory}Ki" if memory else "0"}


def _item(
    state: ServerState,
    request: ApiRequest,
    of: Mapping[str, Any],
    used: Use,
    amounts: dict[str, Any],
) -> Item:
    kind, metadata = request.info.kind, of["metadata"]
    shown = {"name": metadata["name"], "creationTimestamp": state.timestamp()}
    kept = {key: metadata[key] for key in ("namespace", "labels") if key in metadata}
    wire = {
        "kind": kind.name,
        "apiVersion": kind.api_version,
        "metadata": shown | kept,
        "timestamp": rfc3339(used.at),
        "window": _duration(used.window),
    }
    return Item.of(f"/{metadata['name']}", 0, encode(wire | amounts))


def _duration(seconds: float) -> str:
    """Write seconds as Go writes a time.Duration of less than an hour, to milliseconds."""
    minutes, rest = divmod(round(seconds, 3), 60)
    text = f"{rest:.3f}".rstrip("0").rstrip(".") + "s"
    return f"{int(minutes)}m{text}" if minutes else text
