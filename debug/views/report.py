"""The joined view of all nodes, as JSON has it and as tables are made of."""

from msgspec import Struct


class EndpointView(Struct, frozen=True, omit_defaults=True):
    """An endpoint with its part of the new connections, from 0 to 1."""

    address: str
    port: int
    share: float
    owner: str = ""  # "Pod default/web-1"
    node: str = ""  # where it runs


class NodeEntry(Struct, frozen=True, omit_defaults=True):
    """What one node has of a frontend. ``inside`` are the endpoints for its own Pods and processes,
    if those differ; ``wrong`` says what is not as the API's objects have it.
    """

    node: str
    by: str = ""  # the back end that serves it; "" if none does
    endpoints: tuple[EndpointView, ...] = ()
    inside: tuple[EndpointView, ...] | None = None
    refusal: str = ""  # reject or drop
    affinity: int = 0  # seconds
    masquerade: str = ""
    sources: tuple[str, ...] | None = None
    wrong: tuple[str, ...] = ()


class FrontendView(Struct, frozen=True, omit_defaults=True):
    """An address and port of a Service. ``address`` "" stands for the nodes' own addresses.

    ``differs`` is True if nodes differ that should be alike.
    """

    service: str  # namespace/name; "" of what belongs to none
    kind: str
    address: str
    port: int
    protocol: str
    name: str = ""  # of the Service's port
    local: bool = False  # the traffic policy for this address is Local
    differs: bool = False
    nodes: tuple[NodeEntry, ...] = ()

    @property
    def is_wrong(self) -> bool:
        """True if somebody should look."""
        return self.differs or any(one.wrong for one in self.nodes)


class NodeReport(Struct, frozen=True, omit_defaults=True):
    """A node: the mode that its proxy tells, the back ends that its kernel has something of."""

    node: str
    mode: str = ""  # "" if no proxy answers
    back_ends: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()  # what concerns all Services


class ServicesReport(Struct, frozen=True):
    """All nodes. ``unread`` says what could not be read, and why."""

    nodes: tuple[NodeReport, ...]
    frontends: tuple[FrontendView, ...]
    unread: tuple[str, ...] = ()
