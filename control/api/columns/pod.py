"""The table columns of Pods; most of the module computes STATUS. Pure."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any

from control.api.columns.base import (
    AGE,
    NAME,
    NONE,
    Cell,
    Column,
    Columns,
    Wire,
    age_of,
    human,
    name_of,
    wide,
)
from control.api.times import parse_time

_COLUMNS = (
    NAME,
    Column("Ready", description="The number of ready containers."),
    Column("Status", description="The state of the containers in one word."),
    Column("Restarts", description="The number of restarts, and the time since the last one."),
    AGE,
    wide("IP"),
    wide("Node"),
    wide("Nominated Node"),
    wide("Readiness Gates"),
)


def _cells(pod: Wire, now: datetime) -> Sequence[Cell]:
    spec, status = pod.get("spec", {}), pod.get("status", {})
    ips = [ip["ip"] for ip in status.get("podIPs", []) if ip.get("ip")]
    ready, total = _ready(spec, status)
    return (
        name_of(pod),
        f"{ready}/{total}",
        status_word(pod),
        _restarts(spec, status, now),
        age_of(pod, now),
        (ips[0] if ips else status.get("podIP")) or NONE,
        spec.get("nodeName") or NONE,
        status.get("nominatedNodeName") or NONE,
        _gates(spec, status),
    )


COLUMNS = Columns(_COLUMNS, _cells)


def _sidecars(spec: Wire) -> set[str]:
    """Return the names of the init containers that keep running (KEP-753)."""
    return {
        container.get("name", "")
        for container in spec.get("initContainers", [])
        if container.get("restartPolicy") == "Always"
    }


def _ready(spec: Wire, status: Wire) -> tuple[int, int]:
    sidecars = _sidecars(spec)
    counted = [s for s in status.get("initContainerStatuses", []) if s.get("name") in sidecars]
    counted += status.get("containerStatuses", [])
    ready = sum(bool(item.get("ready")) and "running" in item.get("state", {}) for item in counted)
    return ready, len(spec.get("containers", [])) + len(sidecars)


def status_word(pod: Wire) -> str:
    """Return the STATUS cell, such as ``Init:0/1``, ``CrashLoopBackOff``, ``Terminating``."""
    status, metadata = pod.get("status", {}), pod["metadata"]
    word = status.get("reason") or status.get("phase") or "Unknown"
    gated = any(_is_gated(condition) for condition in status.get("conditions", []))
    word = "SchedulingGated" if gated else word
    word = _init_word(pod.get("spec", {}), status) or _containers_word(word, status)
    if "deletionTimestamp" not in metadata:
        return word
    if status.get("reason") == "NodeLost":
        return "Unknown"
    return word if status.get("phase") in ("Succeeded", "Failed") else "Terminating"


def _is_gated(condition: Wire) -> bool:
    return condition.get("type") == "PodScheduled" and condition.get("reason") == "SchedulingGated"


def _init_word(spec: Wire, status: Wire) -> str:
    """Return the status of a Pod that runs its init containers; empty after they have ended."""
    total = len(spec.get("initContainers", []))
    sidecars = _sidecars(spec)
    for at, item in enumerate(status.get("initContainerStatuses", [])):
        state = item.get("state", {})
        terminated, waiting = state.get("terminated"), state.get("waiting")
        if terminated is not None and terminated.get("exitCode", 0) == 0:
            continue
        if item.get("name") in sidecars and item.get("started"):
            continue
        if terminated is not None:
            return f"Init:{terminated.get('reason') or _exit(terminated)}"
        reason = (waiting or {}).get("reason", "")
        if reason and reason != "PodInitializing":
            return f"Init:{reason}"
        return f"Init:{at}/{total}"
    return ""


def _exit(terminated: Wire) -> str:
    """Return the signal or exit code of a container that ended without a reason."""
    signal = terminated.get("signal")
    return f"Signal:{signal}" if signal else f"ExitCode:{terminated.get('exitCode', 0)}"


def _containers_word(word: str, status: Wire) -> str:
    running = False
    for item in reversed(status.get("containerStatuses", [])):
        state = item.get("state", {})
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            word = waiting["reason"]
        elif terminated is not None:
            word = terminated.get("reason") or _exit(terminated)
        elif item.get("ready") and "running" in state:
            running = True
    if word == "Completed" and running:
        ready = any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in status.get("conditions", [])
        )
        return "Running" if ready else "NotReady"
    return str(word)


def _restarts(spec: Wire, status: Wire, now: datetime) -> str:
    initializing = bool(_init_word(spec, status))
    sidecars = _sidecars(spec)
    init = status.get("initContainerStatuses", [])
    counted = (
        init
        if initializing
        else [*status.get("containerStatuses", []), *(s for s in init if s.get("name") in sidecars)]
    )
    count = sum(item.get("restartCount", 0) for item in counted)
    ends = [end for item in counted for end in _ends(item)]
    if not count or not ends:
        return str(count)
    return f"{count} ({human((now - max(ends)).total_seconds())} ago)"


def _ends(item: dict[str, Any]) -> Iterator[datetime]:
    last = item.get("lastState", {}).get("terminated") or {}
    if moment := parse_time(last.get("finishedAt")):
        yield moment


def _gates(spec: Wire, status: Wire) -> str:
    gates = [gate.get("conditionType") for gate in spec.get("readinessGates", [])]
    if not gates:
        return NONE
    true = {c.get("type") for c in status.get("conditions", []) if c.get("status") == "True"}
    return f"{sum(gate in true for gate in gates)}/{len(gates)}"
