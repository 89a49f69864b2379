"""The desired table, kept up to date frontend by frontend, and the way there: pure."""

from collections.abc import Iterable, Iterator, Mapping

from msgspec import Struct
from msgspec.structs import replace

from proxy.backends.nftables.fixed import fixed
from proxy.backends.nftables.objects import (
    CLUSTER_IPS,
    HAIRPIN,
    Chain,
    Draws,
    Element,
    ObjectIdentity,
    TableObject,
)
from proxy.backends.nftables.render import NftablesRenderer
from proxy.backends.nftables.transaction import Transaction
from proxy.desired.claims import FrontendClaim, WinnerChange
from proxy.desired.portals import Frontend
from proxy.model.settings import ProxySettings
from proxy.model.values import Family, NodeView

_SHARED_STORES = (HAIRPIN, CLUSTER_IPS)


class _SharedObject(Struct):
    """An object that frontends share, and how many need it."""

    object: TableObject
    users: int


class NftablesRuleset:
    """The desired table of one family.

    Only shared objects are remembered. A frontend's own objects are rendered again from its claim
    when the claim goes.
    """

    def __init__(self, family: Family, settings: ProxySettings) -> None:
        self.family = family
        self._renderer = NftablesRenderer(family, settings)
        self._held: dict[ObjectIdentity, _SharedObject] = {}

    def advance(self, steps: Iterable[WinnerChange], node: NodeView) -> Transaction:
        """Follow the claims; return the changes for a kernel that holds the state before."""
        before: dict[ObjectIdentity, TableObject | None] = {}
        after: dict[ObjectIdentity, TableObject] = {}
        for step in steps:
            for item in self._objects(step.frontend, step.before, node):
                before.setdefault(item.identity, self._object(item) or item)
                if _is_shared(item):
                    self._release(item)
            for item in self._objects(step.frontend, step.after, node):
                before.setdefault(item.identity, self._object(item))
                if _is_shared(item):
                    self._acquire(item)
                else:
                    after[item.identity] = item
        self._keep_turns(before)
        held = {
            identity: self._held[identity].object for identity in before if identity in self._held
        }
        return _difference(before, {**after, **held})

    def restart(
        self, winners: Iterable[tuple[Frontend, FrontendClaim]], node: NodeView
    ) -> Transaction:
        """Forget the state before; return all objects of a new table."""
        before = {identity: held.object for identity, held in self._held.items()}
        self._held.clear()
        own: list[TableObject] = []
        draws: list[Draws] = []
        for frontend, claim in winners:
            for item in self._renderer.objects(frontend, claim, node):
                if isinstance(item, Draws):
                    draws.append(item)
                elif _is_shared(item):
                    self._acquire(item)
                else:
                    own.append(item)
        self._keep_turns(before)
        shared = (held.object for held in self._held.values())
        put = (*fixed(self._renderer, node), *shared, *own)
        return Transaction(put=put, draws=tuple(draws))

    def _keep_turns(self, before: Mapping[ObjectIdentity, TableObject | None]) -> None:
        """Keep the order of rules that look for a client's endpoint: older endpoints come first.

        A client may be remembered at several endpoints, because one went and came back. Its present
        endpoint has been there for longer than those.
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
        if claim is not None:
            for item in self._renderer.objects(frontend, claim, node):
                if isinstance(item, Draws):
                    yield from item.elements
                else:
                    yield item

    def _object(self, item: TableObject) -> TableObject | None:
        held = self._held.get(item.identity)
        return held.object if held else None

    def _acquire(self, item: TableObject) -> None:
        identity = item.identity
        held = self._held.get(identity)
        if held is None:
            self._held[identity] = _SharedObject(item, 1)
        else:
            held.object = item
            held.users += 1

    def _release(self, item: TableObject) -> None:
        held = self._held[item.identity]
        held.users -= 1
        if not held.users:
            del self._held[item.identity]


def _is_shared(item: TableObject) -> bool:
    """Return True if several frontends may need it: all but the elements of most stores."""
    return not isinstance(item, Element) or item.store in _SHARED_STORES


def _difference(
    before: dict[ObjectIdentity, TableObject | None], after: dict[ObjectIdentity, TableObject]
) -> Transaction:
    """Return the transaction from one state to the other.

    An element with another value is removed and added. A chain is rewritten in place, because other
    chains may jump to it.
    """
    changed = [(old, after.get(identity)) for identity, old in before.items()]
    changed = [(old, new) for old, new in changed if old != new]
    return Transaction(
        put=tuple(new for _, new in changed if new is not None),
        drop=tuple(
            old
            for old, new in changed
            if old is not None and (new is None or isinstance(old, Element))
        ),
    )
