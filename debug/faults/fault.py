"""A fault: what it does, how one sees it, and how one finds and heals it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from debug.faults.acts.base import Act
from debug.faults.scene import Scene


@dataclass(frozen=True, slots=True)
class Look:
    """A command with which one looks, and what it shows; {node} and the like are filled in."""

    command: str
    shows: str


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. It has ``plan``, or ``why_not``: why a lab of namespaces cannot have it."""

    name: str
    title: str
    does: str
    symptom: str
    cause: str
    heal: str  # how one heals it in a cluster that is not a lab
    sources: tuple[str, ...]  # threads, REPOSITORY#NUMBER, or addresses
    find: tuple[Look, ...] = ()
    plan: Callable[[Scene], Iterable[Act]] | None = None
    why_not: str = ""
    repaired: str = ""  # by whom, and within which time, if one lets them
    place: str = "node"  # node, pod, or api

    def wire(self) -> dict[str, Any]:
        """The fault as JSON has it."""
        return {
            "name": self.name,
            "title": self.title,
            "does": self.does,
            "symptom": self.symptom,
            "cause": self.cause,
            "find": [{"command": look.command, "shows": look.shows} for look in self.find],
            "heal": self.heal,
            "sources": [source_url(source) for source in self.sources],
            "place": self.place,
            "repaired": self.repaired,
            "possible": self.plan is not None,
            "whyNot": self.why_not,
        }


_OWNERS = {"k/k": "kubernetes/kubernetes"}


def source_url(source: str) -> str:
    """Return the address of a thread, of "k/k#76" for instance; another address stays as it is."""
    if "://" in source:
        return source
    repository, _, number = source.partition("#")
    return f"https://github.com/{_OWNERS.get(repository, repository)}/issues/{number}"
