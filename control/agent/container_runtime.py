"""The runtime that a node's settings ask for, with what the agent needs besides its protocol."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from control.agent.config import Config
from control.runtime.base import Runtime
from control.runtime.builtin.cgroups import Cgroups
from control.runtime.builtin.runtime import BuiltinRuntime
from control.runtime.cni.network import CniNetwork
from control.runtime.images.store import ImageStore

Collect = Callable[[Callable[[], frozenset[str]]], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class NodeRuntime:
    """A runtime and its surroundings.

    ``problem`` tells what keeps Pods from running or from a network, "" if nothing does;
    ``collect`` runs CNI GC for the sandboxes that are to stay, and raises PluginError; it is None
    if the runtime calls the plugins.
    ``on_health`` takes what to call when the runtime has begun or ceased to answer.
    """

    runtime: Runtime
    groups: Cgroups
    problem: Callable[[], Awaitable[str]]
    collect: Collect | None
    on_health: Callable[[Callable[[], None]], None]


def node_runtime(config: Config) -> NodeRuntime:
    """Return the runtime of a node; nothing is asked or opened yet."""
    groups = config.cgroups()
    if config.runtime_endpoint:
        return _remote(config, groups)
    store = ImageStore(*config.image_dirs)
    network = CniNetwork(config.cni_conf_dir, config.cni_bin_dirs, config.cni_cache_dir)
    runtime = BuiltinRuntime(config.root, store, network, groups, logs=config.logs)

    return NodeRuntime(runtime, groups, network.status, network.collect, lambda _: None)


def _remote(config: Config, groups: Cgroups) -> NodeRuntime:
    # Here, because gRPC takes 5 MB and 50 ms that a node without a CRI runtime does not need.
    from control.runtime.cri.runtime import CriRuntime

    runtime = CriRuntime(config.runtime_endpoint, config.root, groups)

    return NodeRuntime(runtime, groups, runtime.problem, None, runtime.on_health)
