"""Tells the cluster DNS's EndpointSlices which control planes answer.

Nobody else would: the DNS servers are no Pods, whose readiness the endpoint controller knows.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from control.api import kinds
from control.balancer.relay import Relay
from control.client import ApiError, Client, ClientError
from lab.dns import NAMESPACE, slices_of
from lab.spec import LabSpec

_AGAIN = 1.0  # seconds
_EVERY = 30.0  # seconds: who has removed or changed a slice is corrected
logger = logging.getLogger(__name__)


async def follow(kubeconfig: Path, spec: LabSpec, relay: Relay) -> None:
    """Write for ever which control planes are ready."""
    async with Client.from_kubeconfig(kubeconfig) as client:
        while True:
            try:
                await _write(client, spec, {b.machine: b.is_ready for b in relay.backends})
            except (ClientError, OSError) as err:
                logger.warning("endpoints of the cluster DNS: %s", err)
                await asyncio.sleep(_AGAIN)
                continue
            try:
                async with asyncio.timeout(_EVERY):
                    await relay.changes()
            except TimeoutError:
                continue


async def _write(client: Client, spec: LabSpec, ready: Mapping[str, bool]) -> None:
    """Correct the readiness of endpoints; raises ClientError."""
    if not any(ready.values()):
        return  # nobody would take it
    for machine, name in slices_of(spec):
        try:
            found = await client.get(kinds.ENDPOINT_SLICE, NAMESPACE, name)
            if [e.conditions.ready for e in found.endpoints] == [ready[machine]]:
                continue
            addresses = list(found.endpoints[0].addresses)
            endpoint = {"addresses": addresses, "conditions": {"ready": ready[machine]}}
            await client.patch(kinds.ENDPOINT_SLICE, NAMESPACE, name, {"endpoints": [endpoint]})
        except ApiError as err:
            if not err.not_found:  # the lab is being made
                raise
