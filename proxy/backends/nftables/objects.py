"""What a table consists of, as values; each knows its own name, and how to be written.

The text is nft's own language; ``T`` stands for the table.
"""

from dataclasses import dataclass
from typing import NamedTuple

TABLE = "podwire-proxy"
HAIRPIN = "hairpin"  # the set of (endpoint, same endpoint): who is sent to itself
CLIENTS = "sticky-clients"  # the set of (endpoint's number, client): who sticks to an endpoint

ObjectIdentity = tuple[
    str, str
]  # what makes an object the same as another: its sort, or store, and name


@dataclass(frozen=True, slots=True)
class SetOrMap:
    """A map or a set: ``spec`` says of what."""

    sort: str  # "map" or "set"
    name: str
    spec: str

    @property
    def identity(self) -> ObjectIdentity:
        """What makes it the same object as another."""
        return "store", self.name


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain; ``hook`` is empty unless the kernel itself calls it.

    ``had`` are rules before the others: each sends those clients on that one endpoint had.
    """

    name: str
    rules: tuple[str, ...]
    hook: str = ""
    had: tuple[str, ...] = ()

    @property
    def identity(self) -> ObjectIdentity:
        """What makes it the same object as another."""
        return "chain", self.name


class Element(NamedTuple):
    """A member of a store; ``value`` is empty in a set. A comment does not tell elements apart."""

    store: str
    key: str
    value: str = ""
    comment: str = ""

    @property
    def identity(self) -> ObjectIdentity:
        """What makes it the same object as another."""
        return self.store, self.key

    @property
    def text(self) -> str:
        """``key comment "…" : value``."""
        comment = f' comment "{self.comment}"' if self.comment else ""
        return f"{self.key}{comment} : {self.value}" if self.value else f"{self.key}{comment}"

    @property
    def bare(self) -> str:
        """The same without its comment, as deleting wants it."""
        return f"{self.key} : {self.value}" if self.value else self.key


TableObject = SetOrMap | Chain | Element
