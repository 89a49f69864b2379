"""One difference between what should be and what is."""

from enum import StrEnum

from msgspec import Struct

ROOM = "it takes room, and nothing else"  # what follows of something stale that nothing asks


class State(StrEnum):
    """The sort of a difference."""

    MISSING = "missing"  # it should be there
    FOREIGN = "foreign"  # nobody of podwire wants it
    STALE = "stale"  # it was wanted once, of what is gone
    UNKNOWN = "unknown"  # it could not be compared


class Drift(Struct, frozen=True, omit_defaults=True, order=True):
    """A difference on a node: ``what`` is the object in the words of the tool that shows it."""

    node: str
    state: State
    sort: str  # rule, chain, element, route, neighbor, forwarding, lease ...
    what: str
    owner: str = ""  # of what it is: "Service default/web", "Pods of node2"
    consequence: str = ""
