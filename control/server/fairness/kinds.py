"""The kinds whose objects say which flows there are, and how many seats these have."""

from control.api.flows import GROUP
from control.api.stored import STORED

FLOW_SCHEMA, PRIORITY_LEVEL = (
    next(kind for kind in STORED if (kind.group, kind.name) == (GROUP, name))
    for name in ("FlowSchema", "PriorityLevelConfiguration")
)
