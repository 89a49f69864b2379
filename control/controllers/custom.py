"""The custom kinds that are served now, by the definitions that an informer sees."""

from collections.abc import Callable

from control.api.cluster import CustomResourceDefinition
from control.api.kinds import KINDS, Kind
from control.api.meta import Object

_BUILT_IN = {(kind.group, kind.plural) for kind in KINDS}
Change = Callable[[Kind], None]


class CustomKinds:
    """Tells of each custom kind that comes, in its preferred version, and of each that goes.

    A kind whose definition changes goes and comes again.
    """

    def __init__(self, came: Change, went: Change) -> None:
        self._came, self._went = came, went
        self._kinds: dict[str, Kind] = {}  # by the name of the definition

    def places(self) -> set[tuple[str, str]]:
        """Return the group and resource of each kind that has come."""
        return {(kind.group, kind.plural) for kind in self._kinds.values()}

    def apply(self, old: Object | None, new: Object | None) -> None:
        """Take one change of a definition; this is an informer's callback."""
        known = next(each.metadata.name for each in (new, old) if each is not None)
        after = _kind(new) if isinstance(new, CustomResourceDefinition) else None
        before = self._kinds.pop(known, None)
        if after is not None:
            self._kinds[known] = after
        if _place(before) == _place(after):
            if before is not None:
                self._kinds[known] = before
            return
        if before is not None:
            self._went(before)
        if after is not None:
            self._came(after)


def _place(kind: Kind | None) -> tuple[str, bool] | None:
    return (kind.path(), kind.namespaced) if kind is not None else None


def _kind(definition: CustomResourceDefinition) -> Kind | None:
    """Return the kind of a definition in its preferred version; None if none is served."""
    from control.api.custom.kind import kinds_of  # nothing of it before there is a definition

    made = next(iter(kinds_of({"spec": definition.spec, "status": definition.status})), None)
    return made if made and (made.group, made.plural) not in _BUILT_IN else None
