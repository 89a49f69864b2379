"""The desired state at one moment: an immutable mapping that knows its last changes."""

from collections.abc import Iterable, Iterator, Mapping

from proxy.desired.portals import Portal
from proxy.model.values import Key

Portals = tuple[Portal, ...]


class Desired(Mapping[Key, Portals]):
    """Maps each Service to its portals. Two states are equal if they have the same portals."""

    __slots__ = ("_changed", "_identity", "_parent", "_portals")

    def __init__(
        self,
        portals: Mapping[Key, Portals] | None = None,
        parent: "Desired | None" = None,
        changed: Iterable[Key] = (),
    ) -> None:
        """``changed`` are the keys that differ from ``parent``, if there is one."""
        self._portals = dict(portals or {})
        self._identity = object()
        self._parent = parent._identity if parent is not None else None
        self._changed = frozenset(changed)

    def __getitem__(self, key: Key) -> Portals:
        return self._portals[key]

    def portals_of(self, key: Key) -> Portals:
        """Return a Service's portals; none if there is no such Service.

        Faster than ``Mapping.get``, which raises an error inside for an absent key.
        """
        return self._portals.get(key, ())

    def __iter__(self) -> Iterator[Key]:
        return iter(self._portals)

    def __len__(self) -> int:
        return len(self._portals)

    def changed_since(self, before: "Desired") -> frozenset[Key]:
        """Return the Services that differ from ``before``, and those that are gone.

        This is known if ``before`` is this state's parent. Otherwise everything is compared, so a
        caller that missed a state ends in the same state as the others.
        """
        if before._identity is self._identity:
            return frozenset()
        if before._identity is self._parent:
            return self._changed
        was, now = before._portals, self._portals
        return frozenset(
            (
                *(key for key, portals in now.items() if was.get(key) is not portals),
                *(was.keys() - now.keys()),
            )
        )
