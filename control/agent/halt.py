"""``podwire agent --stop-containers``: ends what runs on this node before the machine goes down.

Without it a first process that takes no notice of SIGTERM keeps systemd waiting, 90 s by default:
containers are in no unit of their own. Nothing is removed: the agent of the next boot finds the
Pods, and begins their containers again. Source: systemd.special(7), shutdown.target
"""

import asyncio
import logging

from control.agent.config import Config
from control.agent.container_runtime import node_runtime
from control.runtime.base import ContainerRuntimeError, Phase, Runtime

logger = logging.getLogger(__name__)


async def stop_containers(config: Config, grace: float) -> None:
    """Stop all containers and then sandboxes; ``grace`` seconds after SIGTERM comes SIGKILL.

    Call it while no agent runs, which would begin them again. Raises ContainerRuntimeError.
    """
    runtime = node_runtime(config).runtime
    await runtime.open()
    try:
        found = runtime.observe()
        running = [it.id for it in found.containers if it.phase is Phase.RUNNING]
        await asyncio.gather(*(_stopped(runtime, each, grace) for each in running))
        await asyncio.gather(*(_sandbox_stopped(runtime, box.id) for box in found.sandboxes))
    finally:
        runtime.close()


async def _stopped(runtime: Runtime, container_id: str, grace: float) -> None:
    try:
        await runtime.stop_container(container_id, grace)
    except ContainerRuntimeError as err:
        logger.error("%s", err)  # the others are stopped all the same


async def _sandbox_stopped(runtime: Runtime, sandbox_id: str) -> None:
    try:
        await runtime.stop_sandbox(sandbox_id)
    except ContainerRuntimeError as err:
        logger.error("%s", err)
