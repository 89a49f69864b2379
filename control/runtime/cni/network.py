"""The Pod network: libcni's AddNetworkList, DelNetworkList, CheckNetworkList, GC and STATUS."""

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from control.runtime.base import ContainerRuntimeError, SandboxConfig
from control.runtime.cni import conflist
from control.runtime.cni.cache import AttachmentCache, CachedAttachment
from control.runtime.cni.conflist import Network, plugin_config
from control.runtime.cni.lock import SharedLock
from control.runtime.cni.plugin import Attachment, PluginError, Plugins

logger = logging.getLogger(__name__)

_CHECK_SINCE, _GC_SINCE = (0, 4, 0), (1, 1, 0)


class CniNetwork:
    """Connects sandboxes by executing the plugins of one node's network."""

    def __init__(self, conf_dir: Path, bin_dirs: tuple[Path, ...], cache_dir: Path) -> None:
        self._conf_dir = conf_dir
        self._plugins = Plugins(bin_dirs)
        self._cache = AttachmentCache(cache_dir)
        self._lock = SharedLock()

    async def add(self, sandbox_id: str, config: SandboxConfig, netns: str) -> tuple[str, ...]:
        """Connect a sandbox, and return the Pod's addresses, the first of each family.

        A failed ADD is undone with DEL (SPEC section 2, "ADD"). Raises ContainerRuntimeError.
        """
        attachment = Attachment(sandbox_id, netns, args=_arguments(sandbox_id, config))
        try:
            network = conflist.load(self._conf_dir)
            async with self._lock.shared():
                result = await self._add(network, attachment, _capabilities(config))
        except (conflist.NetworkConfigError, PluginError, OSError) as err:
            raise ContainerRuntimeError(
                f"Failed to create pod sandbox: failed to setup network for sandbox "
                f'"{sandbox_id}": {err}',
                "FailedCreatePodSandBox",
            ) from err
        return addresses(result)

    async def remove(self, sandbox_id: str, config: SandboxConfig, netns: str) -> None:
        """Disconnect a sandbox, by the cached configurations or else by the present one.

        Raises ContainerRuntimeError.
        """
        attachment = Attachment(sandbox_id, netns, args=_arguments(sandbox_id, config))
        try:
            async with self._lock.shared():
                await self._remove(attachment, _capabilities(config))
        except (PluginError, OSError) as err:
            raise ContainerRuntimeError(
                f'failed to destroy network for sandbox "{sandbox_id}": {err}', "FailedKillPod"
            ) from err

    async def _remove(self, attachment: Attachment, capabilities: Mapping[str, Any]) -> None:
        known = self._cache.of(attachment.container_id)
        for entry in known:
            network = conflist.parse(entry.config, "cached configuration")
            current = Attachment(
                attachment.container_id,
                attachment.netns,
                entry.attachment.ifname,
                entry.attachment.args,
            )
            await self._delete(network, current, entry.capabilities, entry.result)
        if not known:
            # The sandbox was never connected, or the cache was lost: a DEL does no harm.
            with suppress(conflist.NetworkConfigError):
                network = conflist.load(self._conf_dir)
                await self._delete(network, attachment, capabilities, None)

    async def _add(
        self, network: Network, attachment: Attachment, capabilities: dict[str, Any]
    ) -> dict[str, Any]:
        result: dict[str, Any] | None = None
        try:
            for plugin in network.plugins:
                config = plugin_config(network, plugin, capabilities=capabilities, previous=result)
                result = await self._plugins.call("ADD", config, attachment)
            found = result or {}
            self._cache.save(
                CachedAttachment(network.name, attachment, network.raw, capabilities, found)
            )
        except BaseException:
            with suppress(PluginError):
                await self._delete(network, attachment, capabilities, None)
            raise
        return found

    async def _delete(
        self,
        network: Network,
        attachment: Attachment,
        capabilities: Mapping[str, Any],
        result: Mapping[str, Any] | None,
    ) -> None:
        """Call DEL in reverse order; it gets the result since 0.4.0 (SPEC section 3)."""
        previous = result if _number(network.version) >= _CHECK_SINCE else None
        for plugin in reversed(network.plugins):
            config = plugin_config(network, plugin, capabilities=capabilities, previous=previous)
            await self._plugins.call("DEL", config, attachment)
        self._cache.forget(network.name, attachment)

    async def check(self, sandbox_id: str) -> None:
        """Call CHECK for a sandbox's attachments; raises PluginError for the first that fails."""
        for entry in self._cache.of(sandbox_id):
            network = conflist.parse(entry.config, "cached configuration")
            if network.disable_check or _number(network.version) < _CHECK_SINCE:
                continue
            for plugin in network.plugins:
                config = plugin_config(
                    network, plugin, capabilities=entry.capabilities, previous=entry.result
                )
                await self._plugins.call("CHECK", config, entry.attachment)

    async def collect(self, valid: Callable[[], Iterable[str]]) -> None:
        """Remove all attachments but those of valid sandboxes: DEL for cached ones, then GC.

        No sandbox is connected meanwhile: one that is being made would look like garbage. ``valid``
        is called under the lock. The cache may hold other users' networks, such as podman's: only
        our own is touched. Raises PluginError with all failures, after everything was tried.
        """
        try:
            network = conflist.load(self._conf_dir)
        except conflist.NetworkConfigError:
            return
        async with self._lock.exclusive():
            kept = frozenset(valid())
            problems = []
            for entry in self._cache.all():
                if entry.network == network.name and entry.attachment.container_id not in kept:
                    problems += await self._try_delete(entry)
            problems += await self._collect(network, kept)
        if problems:
            raise PluginError("; ".join(problems))

    async def _try_delete(self, entry: CachedAttachment) -> list[str]:
        try:
            network = conflist.parse(entry.config, "cached configuration")
            gone = Attachment(
                entry.attachment.container_id, "", entry.attachment.ifname, entry.attachment.args
            )
            await self._delete(network, gone, entry.capabilities, entry.result)
        except (conflist.NetworkConfigError, PluginError) as err:
            return [str(err)]
        return []

    async def _collect(self, network: Network, kept: frozenset[str]) -> list[str]:
        if network.disable_gc or _number(network.version) < _GC_SINCE:
            return []
        attachments = (entry.attachment for entry in self._cache.all())
        valid = [
            {"containerID": attachment.container_id, "ifname": attachment.ifname}
            for attachment in attachments
            if attachment.container_id in kept
        ]
        problems = []
        for plugin in network.plugins:
            config = plugin_config(network, plugin, capabilities={})
            config |= {"cni.dev/valid-attachments": valid, "cni.dev/attachments": valid}
            try:
                await self._plugins.call("GC", config)
            except PluginError as err:
                problems.append(str(err))
        return problems

    async def status(self) -> str:
        """Return why Pods cannot be connected now; empty if they can (STATUS since 1.1.0)."""
        try:
            network = conflist.load(self._conf_dir)
            if _number(network.version) >= _GC_SINCE:
                calls = (
                    self._plugins.call("STATUS", plugin_config(network, plugin, capabilities={}))
                    for plugin in network.plugins
                )
                await asyncio.gather(*calls)
        except (conflist.NetworkConfigError, PluginError) as err:
            return str(err)
        return ""


def addresses(result: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the first address of each family in a result of any version, in its order."""
    texts = [str(item.get("address", "")) for item in result.get("ips") or ()]
    old = (result.get("ip4") or {}, result.get("ip6") or {})  # 0.1.0 and 0.2.0
    texts += [str(item["ip"]) for item in old if "ip" in item]
    found: dict[bool, str] = {}
    for text in texts:
        address = text.partition("/")[0]
        if address:
            found.setdefault(":" in address, address)
    return tuple(found.values())


def _arguments(sandbox_id: str, config: SandboxConfig) -> tuple[tuple[str, str], ...]:
    return (
        ("IgnoreUnknown", "1"),
        ("K8S_POD_NAMESPACE", config.pod.namespace),
        ("K8S_POD_NAME", config.pod.name),
        ("K8S_POD_INFRA_CONTAINER_ID", sandbox_id),
        ("K8S_POD_UID", config.pod.uid),
    )


def _capabilities(config: SandboxConfig) -> dict[str, Any]:
    """Return the well-known capabilities (CONVENTIONS.md) that a Pod asks for."""
    values: dict[str, Any] = {}
    if config.ports:
        values["portMappings"] = [
            {
                "hostPort": port.host_port,
                "containerPort": port.container_port,
                "protocol": port.protocol.lower(),
                "hostIP": port.host_ip,
            }
            for port in config.ports
        ]
    if config.addresses:
        values["ips"] = list(config.addresses)
    if config.ingress_rate or config.egress_rate:
        burst = 2**31 - 1  # as containerd and kubelet: practically unlimited
        bandwidth = {"ingressRate": config.ingress_rate, "egressRate": config.egress_rate}
        values["bandwidth"] = {**bandwidth, "ingressBurst": burst, "egressBurst": burst}
    return values


def _number(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))
