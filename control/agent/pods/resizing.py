"""The steps of a resize of running containers, in an order that the kernel takes. Pure.

No container may have more than its Pod: a Pod grows before its containers, and shrinks after them.
Source: kubelet's computePodResizeAction and doPodResizeAction (pkg/kubelet/kuberuntime)
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from control.api import container as api
from control.runtime.base import Container, Resources
from control.runtime.used import MemoryUse

_RESTART = "RestartContainer"
_ENDLESS = 1 << 63


@dataclass(frozen=True, slots=True)
class ContainerChange:
    """A running container whose resources are not those allocated to it."""

    id: str
    name: str
    now: Resources
    wanted: Resources


@dataclass(frozen=True, slots=True)
class SetPod:
    """Change what the Pod's containers may use together."""

    resources: Resources


@dataclass(frozen=True, slots=True)
class SetContainer:
    """Change one container."""

    id: str
    resources: Resources


Step = SetPod | SetContainer


def change_of(running: Container, wanted: Resources | None) -> ContainerChange | None:
    """Return how a running container has to change; None if it has what it should have."""
    now = running.resources
    if now is None or wanted is None or not differs(now, wanted):
        return None
    return ContainerChange(running.id, running.name, now, wanted)


def differs(now: Resources, wanted: Resources) -> bool:
    """Return True if CPU or memory are not as wanted; a request that is not known is."""
    unknown = None in (now.memory_request, wanted.memory_request)
    pairs = zip(_amounts(now), _amounts(wanted), strict=True)
    return any(one != two for one, two in pairs) or (
        not unknown and now.memory_request != wanted.memory_request
    )


def _amounts(resources: Resources) -> tuple[int, int, int]:
    return resources.cpu_request, resources.cpu_limit, resources.memory_limit


def needs_restart(spec: api.Container, change: ContainerChange) -> bool:
    """Return True if a container's resizePolicy restarts it for this change."""
    names = {
        it.get("resourceName") for it in spec.resize_policy if it.get("restartPolicy") == _RESTART
    }
    now, wanted = change.now, change.wanted
    cpu = (now.cpu_request, now.cpu_limit) != (wanted.cpu_request, wanted.cpu_limit)
    limit = now.memory_limit != wanted.memory_limit
    memory = limit or now.memory_request not in (None, wanted.memory_request)
    return (cpu and "cpu" in names) or (memory and "memory" in names)


def grown(now: Resources, wanted: Resources) -> Resources:
    """Return what a Pod may use that grows, while a container still has more than it should."""
    return replace(
        now,
        cpu_request=max(now.cpu_request, wanted.cpu_request),
        cpu_limit=max(now.cpu_limit, wanted.cpu_limit, key=_limit),
        memory_limit=max(now.memory_limit, wanted.memory_limit, key=_limit),
    )


def _limit(amount: int) -> int:
    return amount or _ENDLESS


def kept(now: Resources, wanted: Resources) -> Resources:
    """Return what a Pod is to have: a limit that it has is not taken away, as upstream."""
    return replace(
        wanted,
        cpu_limit=wanted.cpu_limit or now.cpu_limit,
        memory_limit=wanted.memory_limit or now.memory_limit,
    )


def steps(
    now: Resources, wanted: Resources, changes: Sequence[ContainerChange]
) -> tuple[Step, ...]:
    """Return the steps from what a Pod and its containers have to what they should have."""
    wanted = kept(now, wanted)
    between = replace(now, memory_limit=wanted.memory_limit, memory_request=wanted.memory_request)
    memory = [replace(it, wanted=_with_memory(it.now, it.wanted)) for it in changes]
    cpu = [replace(it, now=_with_memory(it.now, it.wanted)) for it in changes]
    return (*_part(now, between, memory), *_part(between, wanted, cpu))


def _with_memory(now: Resources, wanted: Resources) -> Resources:
    return replace(now, memory_limit=wanted.memory_limit, memory_request=wanted.memory_request)


def _part(now: Resources, wanted: Resources, changes: Iterable[ContainerChange]) -> Iterator[Step]:
    """Yield the steps for one resource: limits grow before requests, and shrink after them."""
    held = now
    for name in ("cpu_limit", "memory_limit", "cpu_request"):
        if _size(wanted, name) > _size(held, name):
            held = replace(held, **{name: getattr(wanted, name)})
            yield SetPod(held)
    for change in sorted(changes, key=_increases):
        if differs(change.now, change.wanted):
            yield SetContainer(change.id, change.wanted)
    for name in ("cpu_request", "cpu_limit", "memory_limit"):
        if _size(wanted, name) < _size(held, name):
            held = replace(held, **{name: getattr(wanted, name)})
            yield SetPod(held)
    if held != wanted:
        yield SetPod(wanted)  # a request of memory, which only the checkpoint has


def _size(resources: Resources, name: str) -> int:
    amount: int = getattr(resources, name)
    return amount if name == "cpu_request" else _limit(amount)


def _increases(change: ContainerChange) -> bool:
    """Return True if a container gets more: others give up what they have before."""
    names = ("cpu_limit", "memory_limit", "cpu_request")
    return any(_size(change.wanted, it) > _size(change.now, it) for it in names)


def below_use(
    now: Resources, wanted: Resources, changes: Iterable[ContainerChange], use: MemoryUse
) -> str:
    """Return why limits of memory cannot shrink: more is in use. Empty if they can, or grow."""
    found = []
    limit = kept(now, wanted).memory_limit
    if limit and limit < _limit(now.memory_limit) and use.pod is not None and use.pod >= limit:
        found.append(
            f"attempting to set pod memory limit ({limit}) below current usage ({use.pod})"
        )
    for change in changes:
        limit, used = change.wanted.memory_limit, use.containers.get(change.id, 0)
        if limit and limit < _limit(change.now.memory_limit) and used >= limit:
            found.append(
                f'attempting to set container "{change.name}" memory limit ({limit}) below'
                f" current usage ({used})"
            )
    if not found:
        return ""
    text = found[0] if len(found) == 1 else f"[{', '.join(found)}]"
    return f"cannot decrease memory limits: {text}"
