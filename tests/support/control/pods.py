"""Pods and containers for the tests of the agent's decisions."""

from typing import Any

from control.api.pod import Pod
from control.runtime.base import Container, Phase, PodRef, Sandbox

UID = "uid-1"
REF = PodRef("default", "web", UID)


def pod(
    *names: str,
    init: tuple[str, ...] = (),
    status: dict[str, Any] | None = None,
    meta: dict[str, Any] | None = None,
    container: dict[str, Any] | None = None,
    **spec: Any,
) -> Pod:
    """Return a Pod with these containers; a name with ``+`` is a sidecar."""

    def one(name: str) -> dict[str, Any]:
        stays = {"restartPolicy": "Always"} if name.endswith("+") else {}
        return {"name": name.rstrip("+"), "image": "podwire/tools", **stays, **(container or {})}

    return Pod.parse(
        {
            "metadata": {"name": "web", "namespace": "default", "uid": UID, **(meta or {})},
            "spec": {
                "containers": [one(name) for name in names or ("main",)],
                "initContainers": [one(name) for name in init],
                **spec,
            },
            "status": status or {},
        }
    )


def sandbox(number: int = 0, *, ready: bool = True, host_network: bool = False) -> Sandbox:
    return Sandbox(
        f"box{number}", REF, number, ready, 100.0 + number, ("10.244.0.5", "fd00::5"), host_network
    )


def container(
    name: str = "main",
    attempt: int = 0,
    *,
    code: int | None = None,
    phase: Phase = Phase.RUNNING,
    box: int = 0,
    finished: float = 1000.0,
) -> Container:
    """Return a container, ended if it has an exit code."""
    ended = code is not None
    return Container(
        id=f"{name}-{box}-{attempt}",
        sandbox_id=f"box{box}",
        pod=REF,
        name=name,
        attempt=attempt,
        phase=Phase.EXITED if ended else phase,
        image="podwire/tools",
        image_id="sha256:1",
        created=500.0 + attempt,
        started=501.0 + attempt,
        finished=finished if ended else 0,
        exit_code=code or 0,
        reason="" if not ended else "Completed" if code == 0 else "Error",
        spec_hash="",
    )
