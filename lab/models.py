"""The API's models that many parts of a lab use: built once, and shared with the forks.

pydantic builds a model at its first use (``defer_build``), which takes a processor 1 to 20 ms. In
each part of each node that would be half of its start.
"""

from control.api import kinds
from control.api.cluster import EventSource
from control.api.meta import Condition
from control.api.node import (
    ContainerImage,
    DaemonEndpoint,
    NodeAddress,
    NodeDaemonEndpoints,
    NodeStatus,
    NodeSystemInfo,
)

_PARTS = (  # of an Event and of a Node; these come first, because Node contains them
    EventSource,
    ContainerImage,
    NodeAddress,
    Condition,
    NodeSystemInfo,
    DaemonEndpoint,
    NodeDaemonEndpoints,
    NodeStatus,
)
_KINDS = (
    kinds.NODE,
    kinds.POD,
    kinds.SERVICE,
    kinds.ENDPOINT_SLICE,
    kinds.LEASE,
    kinds.STORAGE_CLASS,
)
SHARED = (*_PARTS, *(kind.model for kind in _KINDS))


def build() -> None:
    """Build the shared models, if they are not built yet."""
    for model in SHARED:
        model.model_rebuild()
