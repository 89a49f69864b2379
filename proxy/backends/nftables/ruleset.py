"""What the table should hold, kept up to date frontend by frontend, and the way there: pure."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from proxy.backends.nftables.fixed import fixed
from proxy.backends.nftables.objects import HAIRPIN, Chain, Element, ObjectIdentity, TableObject
from proxy.backends.nftables.render import NftablesRenderer
from proxy.backends.nftables.transaction import Transaction
from proxy.desired.claims import FrontendClaim, WinnerChange
from proxy.desired.portals import Frontend
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, NodeView


@dataclass(slots=True)
class _SharedObject:
    """An object that frontends share, and how many need it."""

    object: TableObject
    users: int


class NftablesRuleset:
    """The table of one family.

    Only what frontends share is remembered. What one frontend alone needs is rendered again from
    its claim when that claim goes.
    """

    def __init__(self, family: Family, settings: ProxySettings) -> None:
        self.family = family
        self._renderer = NftablesRenderer(family, settings)
        self._held: dict[ObjectIdentity, _SharedObject] = {}

    def advance(self, steps: Iterable[WinnerChange], node: NodeView) -> Transaction:
        """Follow the claims; returns what has to change in a kernel that holds the state before."""
        before: dict[ObjectIdentity, TableObject | None] = {}
        after: dict[ObjectIdentity, TableObject] = {}
        for step in steps:
            for one in self._objects(step.frontend, step.before, node):
                before.setdefault(one.identity, self._object(one) or one)
                if _is_shared(one):
                    self._release(one)
            for one in self._objects(step.frontend, step.after, node):
                before.setdefault(one.identity, self._object(one))
                if _is_shared(one):
                    self._acquire(one)
                else:
                    after[one.identity] = one
        self._keep_turns(before)
        held = {
            identity: self._held[identity].object for identity in before if identity in self._held
        }
        return _difference(before, {**after, **held})

    def restart(
        self, winners: Iterable[tuple[Frontend, FrontendClaim]], node: NodeView
    ) -> Transaction:
        """Forget the state before; returns all that has to be in an empty table."""
        before = {identity: held.object for identity, held in self._held.items()}
        self._held.clear()
        own = []
        for frontend, claim in winners:
            for one in self._objects(frontend, claim, node):
                if _is_shared(one):
                    self._acquire(one)
                else:
                    own.append(one)
        self._keep_turns(before)
        shared = (held.object for held in self._held.values())
        return Transaction(put=(*fixed(self._renderer), *shared, *own))

    def _keep_turns(self, before: Mapping[ObjectIdentity, TableObject | None]) -> None:
        """In chains that look for the endpoint that a client had, who was there before goes first.

        A client may be remembered at several: it was sent away from an endpoint that went, and that
        came back. The one that it has now has been there for longer than all of those.
        """
        for identity, was in before.items():
            held = self._held.get(identity)
            if held and isinstance(was, Chain) and isinstance(held.object, Chain) and was.had:
                turns = {rule: turn for turn, rule in enumerate(was.had)}
                had = sorted(held.object.had, key=lambda rule: turns.get(rule, len(turns)))
                held.object = replace(held.object, had=tuple(had))

    def _objects(
        self, frontend: Frontend, claim: FrontendClaim | None, node: NodeView
    ) -> Iterator[TableObject]:
        return iter(()) if claim is None else self._renderer.objects(frontend, claim, node)

    def _object(self, one: TableObject) -> TableObject | None:
        held = self._held.get(one.identity)
        return held.object if held else None

    def _acquire(self, one: TableObject) -> None:
        held = self._held.get(one.identity)
        if held is None:
            self._held[one.identity] = _SharedObject(one, 1)
        else:
            held.object = one
            held.users += 1

    def _release(self, one: TableObject) -> None:
        held = self._held[one.identity]
        held.users -= 1
        if not held.users:
            del self._held[one.identity]


def _is_shared(one: TableObject) -> bool:
    """Whether more than one frontend may need it: chains, stores, and endpoints' own addresses."""
    return not isinstance(one, Element) or one.store == HAIRPIN


def _difference(
    before: dict[ObjectIdentity, TableObject | None], after: dict[ObjectIdentity, TableObject]
) -> Transaction:
    """What leads from one to the other.

    An element with another value is taken out and put in; a chain is rewritten where it is,
    because others may lead to it.
    """
    changed = [(was, after.get(identity)) for identity, was in before.items()]
    changed = [(was, now) for was, now in changed if was != now]
    return Transaction(
        put=tuple(now for _, now in changed if now is not None),
        drop=tuple(
            was
            for was, now in changed
            if was is not None and (now is None or isinstance(was, Element))
        ),
    )
