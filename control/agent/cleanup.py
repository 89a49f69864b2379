"""``podwire agent --cleanup``: removes everything that agents made on this node."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from control.agent.config import Config
from control.agent.container_runtime import node_runtime
from control.agent.pods import render
from control.agent.pods.volumes import Volumes
from control.linux import files
from control.node_network.kernel import NodeNetworkKernel, remove_link
from control.node_network.render import BRIDGE
from control.runtime.base import ContainerRuntimeError
from control.runtime.cni.plugin import PluginError

logger = logging.getLogger(__name__)


async def remove_all(config: Config) -> None:
    """Remove Pods, their networks and volumes, the node network and the CNI configuration.

    It may be called again: what is absent is removed.
    """
    node = node_runtime(config)
    runtime = node.runtime
    await runtime.open()
    found = runtime.observe()
    pods = {box.pod for box in found.sandboxes} | {it.pod for it in found.containers}
    for sandbox in found.sandboxes:
        try:
            await runtime.remove_sandbox(sandbox.id)
        except ContainerRuntimeError as err:
            logger.error("%s", err)
    runtime.close()
    if node.collect is not None:
        with suppress(PluginError):
            await node.collect(frozenset)
    for pod in pods:
        files.remove_tree(Path(render.log_directory(pod)))
    volumes = Volumes(config.root / "pods")
    for uid in volumes.uids():
        volumes.remove(uid)
    await node.groups.remove_all()
    await asyncio.to_thread(_disconnect)
    config.conflist.unlink(missing_ok=True)
    files.remove_tree(config.root)


def _disconnect() -> None:
    """Remove the node network; in a thread, because netlink sockets bring their own event loop."""
    NodeNetworkKernel().remove()
    remove_link(BRIDGE)
