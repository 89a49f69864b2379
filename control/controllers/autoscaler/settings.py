"""The settings of autoscalers: kube-controller-manager's --horizontal-pod-autoscaler-* flags."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class AutoscalerSettings:
    """Seconds, and the tolerance of a ratio of use to its target.

    ``window`` is the time for which a higher number than now holds; ``cpu_starts`` that in which a
    new Pod's CPU may not count, ``first_ready`` that in which it may become ready the first time.
    """

    period: float = 15.0
    window: float = 300.0
    tolerance: float = 0.1
    cpu_starts: float = 300.0
    first_ready: float = 30.0


DEFAULT = AutoscalerSettings()
