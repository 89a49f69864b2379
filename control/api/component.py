"""ComponentStatus: whether the scheduler, the controllers and the store answer now.

Source: k8s.io/api/core/v1; deprecated since 1.19.
"""

from control.api.base import Model
from control.api.kind import Kind
from control.api.meta import Object


class ComponentCondition(Model):
    """What a component answered, or why it did not."""

    type: str = ""
    status: str = ""
    message: str = ""
    error: str = ""


class ComponentStatus(Object):
    """The health of one component, as of the request."""

    conditions: list[ComponentCondition] = []


COMPONENT_STATUS = Kind(
    "", "v1", "ComponentStatus", "componentstatuses", ComponentStatus, False, ("cs",)
)
