"""What every Pod's worker is given: the runtime, the API, the node, the clock."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, Protocol

from control.agent.pods.fields import Host
from control.agent.pods.objects import Objects
from control.agent.pods.probes import Asker
from control.agent.pods.render import ClusterDns
from control.agent.pods.volumes import Volumes
from control.api.pod import Pod
from control.api.service import Service
from control.client import Client
from control.runtime.base import Container, Runtime, Sandbox


class Recorder(Protocol):
    """Reports an event about a Pod."""

    def __call__(
        self,
        pod: Pod,
        kind: Literal["Normal", "Warning"],
        reason: str,
        message: str,
        container: str = "",
    ) -> None:
        """``container``: the one it is about, if it is about one."""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """One node's parts, as its Pods' workers use them."""

    runtime: Runtime
    client: Client
    objects: Objects
    volumes: Volumes
    asker: Asker
    host: Host
    dns: ClusterDns
    services: Callable[[], tuple[Service, ...]]
    record: Recorder
    clock: Callable[[], float]

    def of(self, uid: str) -> tuple[tuple[Sandbox, ...], tuple[Container, ...]]:
        """What runs of a Pod."""
        observed = self.runtime.observe()
        return (
            tuple(it for it in observed.sandboxes if it.pod.uid == uid),
            tuple(it for it in observed.containers if it.pod.uid == uid),
        )
