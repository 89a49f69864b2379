"""``podwire agent --cleanup``: everything that agents made on this node is taken away."""

import asyncio
import logging
from contextlib import suppress
from pathlib import Path

from control.agent.builtin import files
from control.agent.builtin.runtime import BuiltinRuntime
from control.agent.cni.network import CniNetwork
from control.agent.cni.plugin import PluginError
from control.agent.config import Config
from control.agent.images.store import ImageStore
from control.agent.network.kernel import Kernel, remove_link
from control.agent.network.render import BRIDGE
from control.agent.pods.volumes import Volumes
from control.agent.runtime import RuntimeFailure

logger = logging.getLogger(__name__)


async def remove_all(config: Config) -> None:
    """Pods, their networks and volumes, the node network, the CNI configuration. Twice is fine."""
    network = CniNetwork(config.cni_conf_dir, config.cni_bin_dirs, config.cni_cache_dir)
    groups = config.cgroups()
    runtime = BuiltinRuntime(config.root, ImageStore(config.image_dir), network, groups)
    await runtime.open()
    logs = {Path(it.log_path).parents[1] for it in runtime.observe().containers}
    for sandbox in runtime.observe().sandboxes:
        try:
            await runtime.remove_sandbox(sandbox.id)
        except RuntimeFailure as err:
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
    """In a thread: netlink sockets bring an event loop of their own."""
    Kernel().remove()
    remove_link(BRIDGE)
