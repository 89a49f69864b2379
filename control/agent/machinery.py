"""What an agent has of its machine: a real one, or one that is only said to be there."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

import aiohttp

from control.agent.config import Config
from control.agent.container_runtime import Collect, node_runtime
from control.agent.node import describe
from control.agent.node.describe import HostFacts
from control.agent.pods.probes import Prober
from control.agent.pods.volumes import Volumes
from control.runtime.base import Runtime


@dataclass(frozen=True, slots=True)
class Machinery:
    """A machine, as an agent uses it.

    ``problem``, ``collect`` and ``on_health`` are those of NodeRuntime. Without ``has_network`` the
    agent makes no routes and no CNI configuration.
    """

    runtime: Runtime
    problem: Callable[[], Awaitable[str]]
    collect: Collect | None
    on_health: Callable[[Callable[[], None]], None]
    look: Callable[[], HostFacts]
    volumes: Volumes
    prober: Callable[[Runtime, aiohttp.ClientSession], Prober] = Prober
    has_network: bool = True


def real(config: Config) -> Machinery:
    """Return this machine; nothing is asked or opened yet."""
    node = node_runtime(config)
    return Machinery(
        node.runtime,
        node.problem,
        node.collect,
        node.on_health,
        look=partial(describe.look, config.root),
        volumes=Volumes(config.root / "pods"),
    )
