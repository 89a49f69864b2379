"""How fast an autoscaler may change a number of Pods: stabilization, policies, limits. Pure.

Source: k8s.io/kubernetes/pkg/controller/podautoscaler/horizontal.go
(normalizeDesiredReplicas, normalizeDesiredReplicasWithBehaviors)
"""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from control.api.autoscaling import ScalingBehavior, ScalingRules
from control.controllers.autoscaler.settings import DEFAULT

_LEAST, _FACTOR = 4, 2.0
_WITHIN = "DesiredWithinRange", "the desired count is within the acceptable range"
_TOO_MANY = "TooManyReplicas", "the desired replica count is more than the maximum replica count"
_TOO_FEW = "TooFewReplicas", "the desired replica count is less than the minimum replica count"
_UP = "ScaleUpLimit", "the desired replica count is increasing faster than the maximum scale rate"
_DOWN = (
    "ScaleDownLimit",
    "the desired replica count is decreasing faster than the maximum scale rate",
)
_READY = "ReadyForNewScale", "recommended size matches current size"
_HIGHER = (
    "ScaleDownStabilized",
    "recent recommendations were higher than current one, applying the highest recent"
    " recommendation",
)
_LOWER = (
    "ScaleUpStabilized",
    "recent recommendations were lower than current one, applying the lowest recent recommendation",
)
Words = tuple[str, str]  # the reason and message of a condition
Dated = list[tuple[int, float]]  # numbers, and the seconds since the epoch when they were


@dataclass(slots=True)
class Memory:
    """What an autoscaler asked for and did, as far as it matters; lost when its process ends.

    ``selector`` is that of its target's Pods at the last look.
    """

    asked: Dated = field(default_factory=list)
    added: Dated = field(default_factory=list)
    removed: Dated = field(default_factory=list)
    selector: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """The present number of Pods, and the least and most."""

    current: int
    least: int
    most: int


@dataclass(frozen=True, slots=True)
class Paced:
    """The number that may be now, why it is stabilized, and why it is limited."""

    replicas: int
    stable: Words
    limited: bool
    limit: Words


def paced(
    memory: Memory,
    behavior: ScalingBehavior | None,
    limits: Limits,
    wanted: int,
    now: float,
    window: float = DEFAULT.window,
) -> Paced:
    """Return what may be of a wanted number now, and remember that it was wanted."""
    if behavior is None or behavior.scale_up is None or behavior.scale_down is None:
        steady = max([wanted, *(count for count, at in memory.asked if at >= now - window)])
        stable, keep = _HIGHER, window
        count, limit = _plain(limits, steady)
    else:
        up, down = behavior.scale_up, behavior.scale_down
        below = _window(down, window)
        steady, stable = _stable(memory, _window(up, 0.0), below, limits.current, wanted, now)
        keep = max(_window(up, 0.0), below)
        count, limit = _limited(memory, up, down, limits, steady, now)
    memory.asked = [(it, at) for it, at in memory.asked if at >= now - keep] + [(wanted, now)]
    return Paced(count, stable if steady != wanted else _READY, count != steady, limit)


def _window(rules: ScalingRules, default: float) -> float:
    window = rules.stabilization_window_seconds
    return default if window is None else float(window)


def _stable(
    memory: Memory, up: float, down: float, current: int, wanted: int, now: float
) -> tuple[int, Words]:
    """Return the lowest number of the window when more is wanted, the highest when less."""
    rising = wanted >= current
    window = up if rising else down
    recent = [count for count, at in memory.asked if at > now - window]
    return (min if rising else max)([wanted, *recent]), _LOWER if rising else _HIGHER


def _plain(limits: Limits, wanted: int) -> tuple[int, Words]:
    fastest = int(max(_FACTOR * limits.current, _LEAST))
    most, why = (fastest, _UP) if limits.most > fastest else (limits.most, _TOO_MANY)
    if wanted < limits.least:
        return limits.least, _TOO_FEW
    return (most, why) if wanted > most else (wanted, _WITHIN)


def _limited(
    memory: Memory, up: ScalingRules, down: ScalingRules, limits: Limits, wanted: int, now: float
) -> tuple[int, Words]:
    current = limits.current
    if wanted > current:
        fastest = max(_most(memory, up, current, now), current)
        most, why = (fastest, _UP) if limits.most > fastest else (limits.most, _TOO_MANY)
        return (most, why) if wanted > most else (wanted, _WITHIN)
    if wanted < current:
        slowest = min(_least(memory, down, current, now), current)
        least, why = (slowest, _DOWN) if limits.least < slowest else (limits.least, _TOO_FEW)
        return (least, why) if wanted < least else (wanted, _WITHIN)
    return wanted, _WITHIN


def _most(memory: Memory, rules: ScalingRules, current: int, now: float) -> int:
    """Return the most Pods that the policies allow; of several, the most that one allows."""
    if rules.select_policy == "Disabled":
        return current
    proposed = []
    for policy in rules.policies:
        start = current - _changed(memory.added, policy.period_seconds, now)
        start += _changed(memory.removed, policy.period_seconds, now)
        if policy.type == "Pods":
            proposed.append(start + policy.value)
        else:
            proposed.append(math.ceil(start * (1 + policy.value / 100)))
    return _chosen(rules, proposed, largest=max, smallest=min, default=0)


def _least(memory: Memory, rules: ScalingRules, current: int, now: float) -> int:
    """Return the least Pods that the policies allow; of several, the least that one allows."""
    if rules.select_policy == "Disabled":
        return current
    proposed = []
    for policy in rules.policies:
        start = current + _changed(memory.removed, policy.period_seconds, now)
        start -= _changed(memory.added, policy.period_seconds, now)
        if policy.type == "Pods":
            proposed.append(start - policy.value)
        else:
            proposed.append(int(start * (1 - policy.value / 100)))
    return _chosen(rules, proposed, largest=min, smallest=max, default=2**31 - 1)


def _chosen(
    rules: ScalingRules,
    proposed: list[int],
    *,
    largest: Callable[[Iterable[int]], int],
    smallest: Callable[[Iterable[int]], int],
    default: int,
) -> int:
    """Return the number of the largest change, or of the smallest if the rules choose Min."""
    if not proposed:
        return default
    return (smallest if rules.select_policy == "Min" else largest)(proposed)


def _changed(events: Dated, period: int, now: float) -> int:
    return sum(count for count, at in events if at > now - period)


def remember(
    memory: Memory, behavior: ScalingBehavior | None, before: int, after: int, now: float
) -> None:
    """Note a change that was made, for the periods of the policies."""
    if behavior is None:
        return
    rules = [it for it in (behavior.scale_up, behavior.scale_down) if it is not None]
    longest = max((p.period_seconds for it in rules for p in it.policies), default=0)
    for events in (memory.added, memory.removed):
        events[:] = [(count, at) for count, at in events if at >= now - longest]
    if after > before:
        memory.added.append((after - before, now))
    else:
        memory.removed.append((before - after, now))
