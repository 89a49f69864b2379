"""The machine of a hollow node: nothing but what it says of itself."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from control.agent.machinery import Machinery
from control.agent.node.describe import HostFacts
from control.agent.pods.payload import Payload
from control.agent.pods.probes import ProbeAnswer, Prober, ProbeResult, ProbeTarget
from control.agent.pods.volumes import NO_CLAIMS, Volumes
from control.agent.volumes.claims import Claimed
from control.api.container import Container, Handler
from control.api.pod import Pod
from control.runtime.base import Mount
from control.runtime.hollow import HollowRuntime
from control.runtime.images.names import normalize

_GI = 1 << 30
FACTS = HostFacts(
    cpus=32,
    memory=256 * _GI,
    memory_available=256 * _GI,
    disk=100 * _GI,
    disk_available=100 * _GI,
    kernel="hollow",
    os_image="hollow",
)


class HollowVolumes(Volumes):
    """Volumes that no container sees: what the API fills is read, and kept nowhere."""

    def uids(self) -> frozenset[str]:
        """Return nothing: nothing is kept."""
        return frozenset()

    def prepare(
        self,
        pod: Pod,
        payloads: Mapping[str, Payload],
        claimed: Mapping[str, Claimed] = NO_CLAIMS,
    ) -> None:
        """Do nothing."""

    def mounts(
        self,
        pod: Pod,  # noqa: ARG002
        spec: Container,  # noqa: ARG002
        attempt: int,  # noqa: ARG002
        values: Mapping[str, str],  # noqa: ARG002
        claimed: Mapping[str, Claimed] = NO_CLAIMS,  # noqa: ARG002
    ) -> tuple[Mount, ...]:
        """Return nothing: nobody looks."""
        return ()

    def remove(self, uid: str) -> None:
        """Do nothing."""


class HollowProber(Prober):
    """Finds everything well: nobody listens who could be asked."""

    async def run(
        self,
        target: ProbeTarget,  # noqa: ARG002
        handler: Handler,  # noqa: ARG002
        seconds: float,  # noqa: ARG002
    ) -> ProbeAnswer:
        """Return a success."""
        return ProbeResult.SUCCESS, ""


def hollow(root: Path, ranges: Callable[[], Sequence[str]]) -> Machinery:
    """Return a machine without anything; ``ranges`` returns its node's Pod CIDRs."""
    runtime = HollowRuntime(ranges, normalize)
    return Machinery(
        runtime,
        runtime.problem,
        None,
        lambda _: None,
        look=lambda: FACTS,
        volumes=HollowVolumes(root / "pods"),
        prober=HollowProber,
        has_network=False,
    )
