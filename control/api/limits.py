"""core/v1 LimitRange: the least and the most that Pods and claims of a namespace may ask for."""

from pydantic import Field

from control.api.base import Model
from control.api.meta import Object

CONTAINER, POD, CLAIM = "Container", "Pod", "PersistentVolumeClaim"
Amounts = dict[str, str | int | float]


class LimitRangeItem(Model):
    """The limits of one type of things, by resource."""

    type: str = ""
    max: Amounts = {}
    min: Amounts = {}
    default: Amounts = {}
    default_request: Amounts = {}
    max_limit_request_ratio: Amounts = {}


class LimitRangeSpec(Model):
    """The limits, one for each type."""

    limits: list[LimitRangeItem] = []


class LimitRange(Object):
    """core/v1 LimitRange."""

    spec: LimitRangeSpec = Field(default_factory=LimitRangeSpec)
