"""The desired state of a moment: an immutable mapping that knows what the last step changed."""

from collections.abc import Iterable, Iterator, Mapping

from proxy.desired.portals import Portal
from proxy.model.values import Key

Portals = tuple[Portal, ...]


class Desired(Mapping[Key, Portals]):
    """Each Service with its portals. Two are equal if they hold the same."""

    __slots__ = ("_changed", "_identity", "_parent", "_portals")

    def __init__(
        self,
        portals: Mapping[Key, Portals] | None = None,
        parent: "Desired | None" = None,
        changed: Iterable[Key] = (),
    ) -> None:
        """``changed`` are the keys that differ from ``parent``, if that is told."""
        self._portals = dict(portals or {})
        self._identity = object()
        self._parent = parent._identity if parent is not None else None
        self._changed = frozenset(changed)

    def __getitem__(self, key: Key) -> Portals:
        return self._portals[key]

    def portals_of(self, key: Key) -> Portals:
        """A Service's portals; none if it is not there. ``Mapping.get`` raises an error to know."""
        return self._portals.get(key, ())

    def __iter__(self) -> Iterator[Key]:
        return iter(self._portals)

    def __len__(self) -> int:
        return len(self._portals)

    def changed_since(self, before: "Desired") -> frozenset[Key]:
        """The Services that differ from ``before``, and those that are gone.

        Known at once for the state just before this one; else everything is compared, so that
        whoever missed a step ends where the others are.
        """
        if before._identity is self._identity:
            return frozenset()
        if before._identity is self._parent:
            return self._changed
        was, now = before._portals, self._portals
        return frozenset(
            (
                *(key for key, one in now.items() if was.get(key) is not one),
                *(was.keys() - now.keys()),
            )
        )
