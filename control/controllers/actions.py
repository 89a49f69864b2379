"""What a controller can decide to do. Values only; ``execute`` carries them out.

Actions are carried out in order; the first that fails ends the round, and the next round decides
anew from what is then known. Neighbouring Creates, and neighbouring Deletes, go out together.
"""

from dataclasses import dataclass
from typing import Any, Literal

from control.api.kinds import Kind
from control.api.meta import Object, OwnerReference


@dataclass(frozen=True, slots=True)
class Create:
    """Make an object. With a ``generateName`` the name is chosen once, so that asking again after
    an unknown outcome cannot make two. ``announce``: the owner that Events tell about it."""

    kind: Kind
    object: Object
    announce: Object | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Replace an object; refused if somebody wrote it since (its resourceVersion)."""

    kind: Kind
    object: Object


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    """Replace an object's status; refused if somebody wrote it since."""

    kind: Kind
    object: Object


@dataclass(frozen=True, slots=True)
class Patch:
    """Change parts of an object; refused if it is another by now (its uid)."""

    kind: Kind
    object: Object
    patch: dict[str, Any]
    type: Literal["merge", "strategic"] = "merge"
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete exactly this object (its uid)."""

    kind: Kind
    object: Object
    propagation: Literal["Background", "Foreground", "Orphan"] | None = None
    grace_period_seconds: int | None = None
    announce: Object | None = None


@dataclass(frozen=True, slots=True)
class Finalize:
    """Write a namespace's spec.finalizers, if the server finds no object of these kinds in it."""

    namespace: Object
    kinds: tuple[Kind, ...]


@dataclass(frozen=True, slots=True)
class Collect:
    """Do ``then`` to an object (a Patch, or delete it with that propagation), once the server has
    confirmed that these owners are absent: what we have not heard of may yet exist."""

    kind: Kind
    object: Object
    absent: tuple[tuple[Kind, str | None, OwnerReference], ...]
    then: Patch | Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Purge:
    """Delete every object of a kind in a namespace, including those that nobody watches."""

    kind: Kind
    namespace: str


@dataclass(frozen=True, slots=True)
class Report:
    """Write an Event about an object."""

    about: Object
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Again:
    """Look at this key again after some seconds, even if nothing happens."""

    after: float


Action = (
    Create | Update | UpdateStatus | Patch | Delete | Collect | Finalize | Purge | Report | Again
)
