"""What the containers of a Pod are checked against: its volumes, claims and settings. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass

from control.api.pod import PodSpec
from control.api.volume import Volume


@dataclass(frozen=True, slots=True)
class PodContext:
    """The parts of a Pod's spec that its containers refer to."""

    volumes: Mapping[str, Volume]
    claims: frozenset[str]  # the names of resource claims
    grace: int | None  # seconds between the request to stop and the end
    restart_policy: str
    host_users: bool  # no user namespace of its own


def context_of(spec: PodSpec) -> PodContext:
    """Return the context of a spec's containers."""
    return PodContext(
        {volume.name: volume for volume in spec.volumes},
        frozenset(name for claim in spec.resource_claims if (name := claim.get("name"))),
        spec.termination_grace_period_seconds,
        spec.restart_policy or "",
        spec.host_users is not False,
    )
