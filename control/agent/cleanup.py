"""``podwire agent --cleanup``: removes everything that agents made on this node."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from control.agent.config import Config
from control.agent.pods.volumes import Volumes
from control.linux import files
from control.node_network.kernel import NodeNetworkKernel, remove_link
from control.node_network.render import BRIDGE
from control.runtime.base import ContainerRuntimeError
from control.runtime.builtin.runtime import BuiltinRuntime
from control.runtime.cni.network import CniNetwork
from control.runtime.cni.plugin import PluginError
from control.runtime.images.store import ImageStore

logger = logging.getLogger(__name__)


async def remove_all(config: Config) -> None:
    """Remove Pods, their networks and volumes, the node network and the CNI configuration.

    It may be called again: what is absent is removed.
    """
    network = CniNetwork(config.cni_conf_dir, config.cni_bin_dirs, config.cni_cache_dir)
    groups = config.cgroups()
    runtime = BuiltinRuntime(config.root, ImageStore(*config.image_dirs), network, groups)
    await runtime.open()
    logs = {Path(container.log_path).parents[1] for container in runtime.observe().containers}
    for sandbox in runtime.observe().sandboxes:
        try:
            await runtime.remove_sandbox(sandbox.id)
        except ContainerRuntimeError as err:
            logger.error("%s", err)
    runtime.close()
    with suppress(PluginError):
        await network.collect(frozenset)
    for folder in logs:
        files.remove_tree(folder)
    volumes = Volumes(config.root / "pods")
    for uid in volumes.uids():
        volumes.remove(uid)
    await groups.remove_all()
    await asyncio.to_thread(_disconnect)
    config.conflist.unlink(missing_ok=True)
    files.remove_tree(config.root)


def _disconnect() -> None:
    """Remove the node network; in a thread, because netlink sockets bring their own event loop."""
    NodeNetworkKernel().remove()
    remove_link(BRIDGE)
