"""Say whether the server of an APIService is there, and what it serves.

Source: controllers/status/remote and handler_discovery.go of k8s.io/kube-aggregator.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, NamedTuple

import aiohttp

from control.server.aggregation.client import fetch, identity, session_with
from control.server.aggregation.discovery import (
    ACCEPT,
    MOST_BYTES,
    DiscoveryError,
    aggregated,
    is_aggregated,
    listed,
    schema_hash,
)
from control.server.remote.client import Fetched
from control.server.remote.services import (
    RemoteError,
    Wire,
    port_name,
    service_of,
    slices_of,
    targets,
)
from control.server.state.extensions import Discovered, Extension
from control.server.state.server import ServerState
from control.server.wire.request import User

AGGREGATOR = User("system:kube-aggregator", ("system:masters",))
SECONDS = 5.0
_ATTEMPTS = 5  # endpoints that are asked at the same time


class Condition(NamedTuple):
    """The condition Available: True or False, its reason and message."""

    status: bool
    reason: str
    message: str


PASSED = Condition(True, "Passed", "all checks passed")
LOCAL = Condition(True, "Local", "Local APIServices are always available")


async def check(state: ServerState, extension: Extension) -> Condition:
    """Return what is true of an extension's server now."""
    service = service_of(state, extension)
    if found := _unmet(extension, service, slices_of(state, extension)):
        return found
    try:
        await _probe(state, extension)
    except RemoteError as err:
        return Condition(False, "FailedDiscoveryCheck", str(err))
    return PASSED


def _unmet(extension: Extension, service: Wire | None, slices: list[Wire]) -> Condition | None:
    """Return what is missing before a request can be made; None if nothing is. Pure."""
    where = f'service/{extension.service} in "{extension.namespace}"'
    if service is None:
        return Condition(False, "ServiceNotFound", f"{where} is not present")
    if (service["spec"].get("type") or "ClusterIP") != "ClusterIP":
        return None
    port = port_name(service, extension.port)
    if port is None:
        why = f"{where} is not listening on port {extension.port}"
        return Condition(False, "ServicePortError", why)
    if not slices:
        return Condition(False, "EndpointsNotFound", f"cannot find endpointslices for {where}")
    if not any(_is_ready(each, port) for each in slices):
        why = f'endpointslices for {where} have no addresses with port name "{port}"'
        return Condition(False, "MissingEndpoints", why)
    return None


def _is_ready(wire: Wire, port: str) -> bool:
    states = ((it.get("conditions") or {}).get("ready") for it in wire.get("endpoints") or ())
    ports = ((it.get("name") or "", it.get("port")) for it in wire.get("ports") or ())
    ready = any(state is not False for state in states)
    return ready and any(name == port and number is not None for name, number in ports)


async def _probe(state: ServerState, extension: Extension) -> None:
    """Ask up to five endpoints for the group; one answer is enough. Raises RemoteError."""
    found = targets(state, extension)[:_ATTEMPTS]
    async with session_with(state, extension) as session:
        await _first([_ask(session, extension, target) for target in found])


async def _first(works: list[Coroutine[Any, Any, None]]) -> None:
    """Return when the first work succeeds; raises the error of the last if none does."""
    tasks = [asyncio.create_task(work) for work in works]
    try:
        error: RemoteError | None = None
        for done in asyncio.as_completed(tasks):
            try:
                await done
            except RemoteError as err:
                error = err
            else:
                return
        raise error or RemoteError("no endpoint was asked")
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _ask(session: aiohttp.ClientSession, extension: Extension, target: str) -> None:
    url = f"https://{target}{extension.path}"
    try:
        async with asyncio.timeout(SECONDS):
            answer = await fetch(session, extension, url, identity(AGGREGATOR), MOST_BYTES)
    except (RemoteError, TimeoutError) as err:
        why = str(err) or f"no answer within {SECONDS:.0f} s"
        raise RemoteError(f"failing or missing response from {url}: {why}") from err
    if not 200 <= answer.code < 300:
        why = f"bad status from {url}: {answer.code}"
        raise RemoteError(f"failing or missing response from {url}: {why}")


async def discover(state: ServerState, extension: Extension) -> Discovered:
    """Ask an extension's server what it serves; raises RemoteError."""
    try:
        async with asyncio.timeout(SECONDS), session_with(state, extension) as session:
            base = f"https://{targets(state, extension)[0]}"
            resources = await _resources(session, extension, base)
            schema = await _schema(session, extension, base)
    except (DiscoveryError, TimeoutError) as err:
        why = str(err) or f"no answer within {SECONDS:.0f} s"
        raise RemoteError(f"discovery of {extension.name}: {why}") from err
    return Discovered(resources, True, schema)


async def _resources(
    session: aiohttp.ClientSession, extension: Extension, base: str
) -> tuple[dict[str, Any], ...]:
    """Return the resources by aggregated discovery, else by that of one group and version."""
    answer = await _get(session, extension, f"{base}/apis", ACCEPT)
    if answer.code == 200 and is_aggregated(answer.media):
        return aggregated(answer.body).get(extension.group_version, ())
    if answer.code == 503:
        raise RemoteError(f"discovery of {extension.name}: it answered 503")
    answer = await _get(session, extension, f"{base}{extension.path}", "application/json")
    if answer.code != 200:
        raise RemoteError(f"discovery of {extension.name}: it answered {answer.code}")
    return listed(answer.body, extension.group_version)


async def _schema(session: aiohttp.ClientSession, extension: Extension, base: str) -> str | None:
    answer = await _get(session, extension, f"{base}/openapi/v3", "application/json")
    if answer.code != 200:
        return None
    try:
        return schema_hash(answer.body, extension.group_version)
    except DiscoveryError:
        return None  # its resources are served all the same


async def _get(
    session: aiohttp.ClientSession, extension: Extension, url: str, accept: str
) -> Fetched:
    headers = [*identity(AGGREGATOR), ("Accept", accept)]
    return await fetch(session, extension, url, headers, MOST_BYTES)
