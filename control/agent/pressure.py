"""A node that is short of memory or disk space: what is too little, and which Pod has to go. Pure.

Source: kubernetes.io, "Node-pressure Eviction", and kubelet's pkg/kubelet/eviction/helpers.go
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.agent.node.describe import HostFacts
from control.agent.pods.quality import pod_amount, quality
from control.agent.pods.static import StaticPod
from control.api.pod import Pod
from control.api.quantity import ZERO, Quantity, QuantityError, parse

DEFAULT = "memory.available<100Mi,nodefs.available<10%,nodefs.inodesFree<5%"
_NANO = 10**9
_CRITICAL = 2 * 10**9  # the priority of system-cluster-critical
# A signal, the node's condition, and the resource that eviction is to free.
_SIGNALS = {
    "memory.available": ("MemoryPressure", "memory"),
    "nodefs.available": ("DiskPressure", "ephemeral-storage"),
    "nodefs.inodesFree": ("DiskPressure", "inodes"),
}
_MEMORY_TAINT = "node.kubernetes.io/memory-pressure"


class ThresholdError(ValueError):
    """A text is no list of thresholds; the message says what is wrong with which."""


@dataclass(frozen=True, slots=True)
class Threshold:
    """The least amount of a signal, as a quantity or as a share of what the node has."""

    signal: str
    amount: Quantity | None = None
    share: float = 0.0

    @property
    def text(self) -> str:
        """The least amount as it was given."""
        return f"{self.share * 100:g}%" if self.amount is None else str(self.amount)

    @property
    def condition(self) -> str:
        """The node's condition while there is less."""
        return _SIGNALS[self.signal][0]

    @property
    def resource(self) -> str:
        """The resource of which there is too little."""
        return _SIGNALS[self.signal][1]

    def least(self, machine: HostFacts) -> Quantity:
        """The least amount on a machine."""
        if self.amount is not None:
            return self.amount
        return Quantity(int(_observed(self.signal, machine)[1] * self.share) * _NANO, "binary")


@dataclass(frozen=True, slots=True)
class PodUse:
    """A Pod with running containers, and how much each uses of the resource, in bytes."""

    pod: Pod
    containers: Mapping[str, int]
    more: int = 0  # of the Pod itself, such as its volumes

    @property
    def total(self) -> int:
        """What the Pod uses in all."""
        return sum(self.containers.values()) + self.more


def parse_thresholds(text: str) -> tuple[Threshold, ...]:
    """Parse ``memory.available<100Mi,nodefs.available<10%``; raises ThresholdError."""
    return tuple(_threshold(part.strip()) for part in text.split(",") if part.strip())


def _threshold(part: str) -> Threshold:
    signal, less, value = part.partition("<")
    if signal not in _SIGNALS or not less:
        raise ThresholdError(f"{part!r} is not SIGNAL<QUANTITY; SIGNAL is {', '.join(_SIGNALS)}")
    try:
        if value.endswith("%"):
            share = float(value.removesuffix("%")) / 100
            if not 0 <= share <= 1:
                raise ThresholdError(f"{part!r}: a share is from 0% to 100%")
            return Threshold(signal, share=share)
        return Threshold(signal, parse(value))
    except (QuantityError, ValueError) as err:
        raise ThresholdError(f"{part!r}: {err}") from err


def _observed(signal: str, machine: HostFacts) -> tuple[int, int]:
    """Return what is available, and what the machine has."""
    return {
        "memory.available": (machine.memory_available, machine.memory),
        "nodefs.available": (machine.disk_available, machine.disk),
        "nodefs.inodesFree": (machine.inodes_available, machine.inodes),
    }[signal]


def exceeded(thresholds: Iterable[Threshold], machine: HostFacts) -> tuple[Threshold, ...]:
    """Return the thresholds that are met; memory comes first, as with kubelet.

    What the kernel does not count, such as the inodes of some file systems, is never short.
    """
    met = [
        it
        for it in thresholds
        if _observed(it.signal, machine)[1]
        and _observed(it.signal, machine)[0] * _NANO < it.least(machine).nano
    ]
    return tuple(sorted(met, key=lambda it: it.resource != "memory"))


def reserved(thresholds: Iterable[Threshold], machine: HostFacts) -> dict[str, int]:
    """Return how many bytes of each resource no Pod can have: below these Pods are evicted.

    As kubelet's hardEvictionReservation.
    """
    return {it.resource: it.least(machine).value() for it in thresholds if it.resource != "inodes"}


def is_critical(pod: Pod) -> bool:
    """True for a Pod that is not evicted, and is admitted in any case."""
    return (pod.spec.priority or 0) >= _CRITICAL or isinstance(pod, StaticPod)


def refusal(pod: Pod, conditions: Iterable[str]) -> str:
    """Return kubelet's words if a node with these conditions takes no such Pod, else ""."""
    names = sorted(conditions)
    if not names or is_critical(pod):
        return ""
    if names == ["MemoryPressure"] and (quality(pod) != "BestEffort" or _tolerates(pod)):
        return ""
    return f"The node had condition: [{' '.join(names)}]. "


def _tolerates(pod: Pod) -> bool:
    return any(
        it.key in (None, "", _MEMORY_TAINT) and it.effect in (None, "", "NoSchedule")
        for it in pod.spec.tolerations
    )


def ranked(uses: Iterable[PodUse], resource: str) -> list[PodUse]:
    """Return the Pods in the order of their eviction.

    First those that use more than they request, then by priority, then by how much more it is.
    """

    def order(use: PodUse) -> tuple[bool, int, int]:
        over = use.total - _requested(use.pod, resource)
        return over <= 0, use.pod.spec.priority or 0, -over

    return sorted((use for use in uses if not is_critical(use.pod)), key=order)


def _requested(pod: Pod, resource: str) -> int:
    return (pod_amount(pod, "requests", resource) or ZERO).value()


def message(use: PodUse, threshold: Threshold, machine: HostFacts) -> str:
    """Return why a Pod is evicted, in kubelet's words."""
    available = Quantity(_observed(threshold.signal, machine)[0] * _NANO, "binary")
    text = (
        f"The node was low on resource: {threshold.resource}. "
        f"Threshold quantity: {threshold.least(machine)}, available: {available}. "
    )
    for spec in (*use.pod.spec.containers, *use.pod.spec.init_containers):
        asked = parse(spec.resources.requests.get(threshold.resource, 0))
        used = Quantity(use.containers.get(spec.name, 0) * _NANO, "binary")
        if used.nano > asked.nano:
            text += (
                f"Container {spec.name} was using {used}, request is {asked}, "
                f"has larger consumption of {threshold.resource}. "
            )
    return text
