"""The context that every Pod's worker gets: runtime, API, node, clock."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from control.agent.images.manager import ImageManager
from control.agent.pods.allocation import Allocations
from control.agent.pods.fields import Host
from control.agent.pods.objects import Objects
from control.agent.pods.probes import Prober
from control.agent.pods.resolver import ClusterDns
from control.agent.pods.volumes import Volumes
from control.agent.volumes.claims import Claims
from control.api.pod import Pod
from control.api.service import Service
from control.client import Client
from control.metrics import Histogram
from control.runtime.base import Container, Runtime, Sandbox


class Recorder(Protocol):
    """Records an Event about a Pod."""

    def __call__(
        self,
        pod: Pod,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        container: str = "",
    ) -> None:
        """``container``: the name of the container that the Event is about, if any."""


@dataclass(frozen=True, slots=True)
class WorkerContext:
    """The parts of one node that its Pods' workers use."""

    runtime: Runtime
    client: Client
    images: ImageManager
    objects: Objects
    volumes: Volumes
    claims: Claims
    prober: Prober
    host: Host
    dns: ClusterDns
    services: Callable[[], tuple[Service, ...]]
    no_network: Callable[[], Awaitable[str]]  # says why no Pod can be connected, "" if it can
    record: Recorder
    allocations: Allocations
    resize_times: Histogram
    runs: Callable[[float], None]  # takes the seconds until a new Pod runs
    clock: Callable[[], float]

    def of(self, uid: str) -> tuple[tuple[Sandbox, ...], tuple[Container, ...]]:
        """Return the sandboxes and containers of a Pod."""
        observed = self.runtime.observe()
        return (
            tuple(sandbox for sandbox in observed.sandboxes if sandbox.pod.uid == uid),
            tuple(container for container in observed.containers if container.pod.uid == uid),
        )
