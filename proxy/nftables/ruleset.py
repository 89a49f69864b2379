"""What the table should hold, kept up to date frontend by frontend, and the way there: pure."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from proxy.claims import Claim, Step
from proxy.desired import Frontend
from proxy.model import Family, NodeView
from proxy.nftables.fixed import fixed
from proxy.nftables.objects import Element, Identity, Object
from proxy.nftables.render import Renderer
from proxy.nftables.transaction import Transaction
from proxy.settings import Settings


@dataclass(slots=True)
class _Held:
    """An object, and how many frontends need it."""

    object: Object
    users: int


class Ruleset:
    """The table of one family."""

    def __init__(self, family: Family, settings: Settings) -> None:
        self.family = family
        self._renderer = Renderer(family, settings)
        self._held: dict[Identity, _Held] = {}

    def advance(self, steps: Iterable[Step], node: NodeView) -> Transaction:
        """Follow the claims; returns what has to change in a kernel that holds the state before."""
        before: dict[Identity, Object | None] = {}
        for step in steps:
            for one in self._objects(step.frontend, step.before, node):
                before.setdefault(one.identity, self._object(one.identity))
                self._release(one.identity)
            for one in self._objects(step.frontend, step.after, node):
                before.setdefault(one.identity, self._object(one.identity))
                self._acquire(one)
        return _difference((was, self._object(identity)) for identity, was in before.items())

    def restart(self, winners: Iterable[tuple[Frontend, Claim]], node: NodeView) -> Transaction:
        """Forget the state before; returns all that has to be in an empty table."""
        self._held.clear()
        self.advance((Step(frontend, None, claim) for frontend, claim in winners), node)
        return Transaction(put=(*fixed(self._renderer), *self._all()))

    def _all(self) -> Iterator[Object]:
        return (held.object for held in self._held.values())

    def _objects(self, frontend: Frontend, claim: Claim | None, node: NodeView) -> Iterator[Object]:
        return iter(()) if claim is None else self._renderer.objects(frontend, claim, node)

    def _object(self, identity: Identity) -> Object | None:
        held = self._held.get(identity)
        return held.object if held else None

    def _acquire(self, one: Object) -> None:
        held = self._held.get(one.identity)
        if held is None:
            self._held[one.identity] = _Held(one, 1)
            return
        held.object = one
        held.users += 1

    def _release(self, identity: Identity) -> None:
        held = self._held[identity]
        held.users -= 1
        if not held.users:
            del self._held[identity]


def _difference(pairs: Iterable[tuple[Object | None, Object | None]]) -> Transaction:
    """What leads from the first of each pair to the second.

    An element with another value is taken out and put in; a chain is rewritten where it is,
    because others may lead to it.
    """
    changed = [(was, now) for was, now in pairs if was != now]
    return Transaction(
        put=tuple(now for _, now in changed if now is not None),
        drop=tuple(
            was
            for was, now in changed
            if was is not None and (now is None or isinstance(was, Element))
        ),
    )
