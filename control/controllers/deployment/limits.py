"""The limits of a rollout above and below the wanted number of replicas. Pure."""

import math
from dataclasses import dataclass

from control.api.workload import Deployment, RollingUpdate

_DEFAULT = "25%"


@dataclass(frozen=True, slots=True)
class Limits:
    """Numbers of Pods: wanted ``replicas``, and ``surge`` more or ``unavailable`` fewer allowed."""

    replicas: int
    surge: int
    unavailable: int


def limits(deployment: Deployment) -> Limits:
    """Return the limits of a Deployment.

    Percentages are rounded up for the surge, and down for unavailable Pods. If both are zero, one
    Pod may be unavailable, or no step would be possible (upstream's ResolveFenceposts).
    """
    spec = deployment.spec
    replicas = 1 if spec.replicas is None else spec.replicas
    if spec.strategy.type == "Recreate":
        return Limits(replicas, 0, 0)
    rolling = spec.strategy.rolling_update or RollingUpdate()
    surge = scaled(_or_default(rolling.max_surge), replicas, up=True)
    unavailable = scaled(_or_default(rolling.max_unavailable), replicas, up=False)
    if surge == 0 and unavailable == 0:
        unavailable = 1
    return Limits(replicas, surge, min(unavailable, replicas))


def _or_default(value: int | str | None) -> int | str:
    return _DEFAULT if value is None else value


def scaled(value: int | str, total: int, *, up: bool) -> int:
    """Return a number, or a percentage (``25%``) of a total; the server has validated it."""
    if isinstance(value, int):
        return value
    amount = int(value.removesuffix("%")) * total / 100
    return math.ceil(amount) if up else math.floor(amount)
