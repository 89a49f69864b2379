"""The kinds that a server serves now: upstream's, and those of CustomResourceDefinitions.

The watch cache tells of each definition that comes, changes or goes, on every server of a store.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, TypeVar

import orjson

from control.api.kinds import SERVED, Kind
from control.api.unstored import UNSTORED

logger = logging.getLogger(__name__)

T = TypeVar("T")
Resource = tuple[str, str, str]  # group, version, plural


class KindTable:
    """Kinds by their resource."""

    def __init__(self, built_in: Iterable[Kind] = SERVED) -> None:
        self._built_in = tuple(built_in)
        self._taken = {(kind.group, kind.plural) for kind in (*self._built_in, *UNSTORED)}
        self._custom: dict[str, tuple[Kind, ...]] = {}  # by the definition's name
        self._sources: dict[str, bytes] = {}
        self.terminating: set[str] = set()  # names of definitions that are being deleted
        self.revisions: dict[str, int] = {}  # of the last change of a definition's kinds
        self.by_resource: dict[Resource, Kind] = {}
        self._derived: dict[str, Any] = {}
        self._fill()

    @property
    def all(self) -> Sequence[Kind]:
        """Every stored kind: upstream's, then custom ones in the order of their definitions."""
        return self._all

    @property
    def served(self) -> Sequence[Kind]:
        """Every kind, also those that are not stored."""
        return tuple(self.by_resource.values())

    @property
    def custom(self) -> Sequence[Kind]:
        """The custom kinds."""
        return tuple(kind for kind in self.by_resource.values() if kind.custom is not None)

    def put(self, definition: Mapping[str, Any], revision: int) -> bool:
        """Take a new version of a definition; return True if its kinds have changed."""
        name = definition["metadata"]["name"]
        (self.terminating.add if _is_ending(definition) else self.terminating.discard)(name)
        source = orjson.dumps(_content(definition))
        if self._sources.get(name) == source:
            return False
        from control.api.custom.kind import kinds_of  # nothing of it before there is a definition

        try:
            kinds = kinds_of(definition)
        except Exception:  # the watch cache must go on, whatever an older server has stored
            logger.exception("definition %s is malformed: its kinds are not served", name)
            kinds = ()
        had = bool(self._custom.get(name))
        self._sources[name], self.revisions[name] = source, revision
        self._custom[name] = tuple(k for k in kinds if (k.group, k.plural) not in self._taken)
        self._fill()
        return had or bool(kinds)

    def remove(self, name: str) -> None:
        """Forget a definition that is deleted."""
        self._custom.pop(name, None)
        self._sources.pop(name, None)
        self.revisions.pop(name, None)
        self.terminating.discard(name)
        self._fill()

    def clear(self) -> None:
        """Forget all definitions."""
        for name in tuple(self._custom):
            self.remove(name)

    def derived(self, name: str, make: Callable[[], T]) -> T:
        """Return what ``make`` makes of the kinds; it is kept until these change."""
        if name not in self._derived:
            self._derived[name] = make()
        found: T = self._derived[name]
        return found

    def is_built_in(self, group: str, plural: str) -> bool:
        """Return True for a resource of upstream's, which a definition cannot replace."""
        return (group, plural) in self._taken

    def is_ending(self, kind: Kind) -> bool:
        """Return True if the definition of a kind is being deleted."""
        return kind.custom is not None and kind.custom.definition in self.terminating

    def is_gone(self, kind: Kind) -> bool:
        """Return True if a kind is not served any more, or with another scope."""
        if kind.custom is None:
            return False
        now = self.by_resource.get((kind.group, kind.version, kind.plural))
        return now is None or now.namespaced != kind.namespaced

    def _fill(self) -> None:
        custom = [kind for name in sorted(self._custom) for kind in self._custom[name]]
        self._all: tuple[Kind, ...] = (*self._built_in, *custom)
        served = (*self._all, *UNSTORED)
        self.by_resource = {(kind.group, kind.version, kind.plural): kind for kind in served}
        self._derived.clear()


def _content(definition: Mapping[str, Any]) -> list[Any]:
    """Return what a definition's kinds depend on."""
    status = definition.get("status") or {}
    states = {each["type"]: each["status"] for each in status.get("conditions") or ()}
    established = states.get("Established")
    return [definition["spec"], status.get("acceptedNames"), established]


def _is_ending(definition: Mapping[str, Any]) -> bool:
    status = definition.get("status") or {}
    ending = {"type": "Terminating", "status": "True"}
    return any(ending.items() <= each.items() for each in status.get("conditions") or ())
