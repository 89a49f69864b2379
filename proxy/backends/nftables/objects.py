"""The objects of a table as values. Each knows its own identity and its text in nft's language."""

from msgspec import Struct

from proxy.model.values import Frozen, Target

TABLE = "podwire-proxy"
HAIRPIN = "hairpin"  # the set of (endpoint, same endpoint): Pods that call themselves
CLUSTER_IPS = "cluster-ips"  # the set of ClusterIPs, whose other ports are refused
CLIENTS = "sticky-clients"  # the set of (endpoint's number, client) for session affinity

ObjectIdentity = tuple[
    str, str
]  # what makes an object the same as another: its sort, or store, and name


class SetOrMap(Struct, frozen=True):
    """A named set or map. ``spec`` is its type and flags."""

    kind: str  # "map" or "set"
    name: str
    spec: str

    @property
    def identity(self) -> ObjectIdentity:
        """Two values with the same identity are the same object."""
        return "store", self.name


class Chain(Struct, frozen=True):
    """A chain. ``hook`` is empty unless the kernel itself calls it.

    ``had`` are the first rules: each sends on the clients that had one endpoint.
    """

    name: str
    rules: tuple[str, ...]
    hook: str = ""
    had: tuple[str, ...] = ()

    @property
    def identity(self) -> ObjectIdentity:
        """Two values with the same identity are the same object."""
        return "chain", self.name


class Element(Frozen, frozen=True):
    """A member of a set or map; ``value`` is empty in a set.

    The comment is not part of its identity.
    """

    store: str
    key: str
    value: str = ""
    comment: str = ""

    @property
    def identity(self) -> ObjectIdentity:
        """Two values with the same identity are the same object."""
        return self.store, self.key

    @property
    def text(self) -> str:
        """``key comment "…" : value``."""
        comment = f' comment "{self.comment}"' if self.comment else ""
        return f"{self.key}{comment} : {self.value}" if self.value else f"{self.key}{comment}"

    @property
    def bare(self) -> str:
        """The text without the comment, as a deletion needs it."""
        return f"{self.key} : {self.value}" if self.value else self.key


TableObject = SetOrMap | Chain | Element


class Draws(Frozen, frozen=True):
    """The elements of a pool that draws at random: ``key`` and a place lead to each target.

    It is one value for all of them: most of a new table's elements are such.
    """

    store: str
    key: str
    targets: tuple[Target, ...]

    @property
    def elements(self) -> list[Element]:
        """Each target's element."""
        return [
            Element(self.store, f"{self.key} . {place}", f"{target.host} . {target.port}")
            for place, target in enumerate(self.targets)
        ]
