"""The kinds that are answered and never stored: clients can get and list them, and no more."""

from control.api.component import COMPONENT_STATUS
from control.api.kind import Kind
from control.api.measured import MEASURED

UNSTORED: tuple[Kind, ...] = (*MEASURED, COMPONENT_STATUS)
