"""The desired table of one family, kept up to date, and the way there: pure."""

from collections.abc import Hashable, Iterable, Iterator

from proxy.backends.nftables.objects import Element, ObjectIdentity, TableObject
from proxy.backends.nftables.transaction import Transaction
from proxy.model.values import Address, Family, Network
from proxy.policy.index import PolicyIndex
from proxy.policy.posts import Changes
from proxy.policy.profile import Group
from proxy.policy.render import TABLE, PolicyRenderer
from proxy.policy.tiers.ranking import Ladder
from proxy.policy.values import Action

_PLACE, _FIXED = "place", "fixed"
_Objects = dict[ObjectIdentity, TableObject]


class PolicyRuleset:
    """What the kernel holds for one family, by what it is there for."""

    def __init__(self, family: Family, index: PolicyIndex) -> None:
        self.family = family
        self._index = index
        self._render = PolicyRenderer(family)
        self._held: dict[Hashable, _Objects] = {}

    def restart(self, changes: Changes, ranges: Iterable[Network], bridges: Iterable[str]) -> str:
        """Forget the state before; return what fills an empty table. ``changes`` are everything."""
        self._held.clear()
        self._render = PolicyRenderer(self.family)
        fixed = self._advance({_FIXED: list(self._render.fixed())})
        rest = self.advance(changes, ranges, bridges)
        return Transaction((*fixed.put, *rest.put)).text(self.family, TABLE)

    def advance(
        self, changes: Changes, ranges: Iterable[Network], bridges: Iterable[str]
    ) -> Transaction:
        """Follow the index; return the changes for a kernel that holds the state before."""
        want: dict[Hashable, list[TableObject]] = {
            _PLACE: list(self._render.place(ranges, bridges))
        }
        for address in changes.addresses:
            if address.version == self.family:
                post = self._index.posts.get(address)
                found = self._render.post(address, post) if post else ()
                want[address] = list(found)
        for one in changes.shared():
            objects = self._render.shared(one, self._index) if self._index.is_used(one) else ()
            want[one] = list(objects)
        made = self._advance(want)
        moved = [self._move(group, places) for group, places in changes.moved.items()]
        made = Transaction(
            (*made.put, *(one for put, _ in moved for one in put)),
            (*made.drop, *(one for _, drop in moved for one in drop)),
        )
        for owner, objects in want.items():
            if not objects:
                self._render.numbers.forget(owner)
        return made

    def _move(
        self, what: Group | Ladder, addresses: Iterable[Address]
    ) -> tuple[list[TableObject], list[TableObject]]:
        """Look at some addresses of a group or ladder; return the elements to put, and to drop."""
        put: list[TableObject] = []
        drop: list[TableObject] = []
        held = self._held.get(what)
        if held is None:  # it went, or has not come
            return put, drop
        for address in addresses:
            if address.version == self.family:
                one = self._element(what, address)
                for old in self._places(what, address):
                    if old != one and held.pop(old.identity, None) is not None:
                        drop.append(old)
                if one is not None and one.identity not in held:
                    held[one.identity] = one
                    put.append(one)
        return put, drop

    def _element(self, what: Group | Ladder, address: Address) -> Element | None:
        """Return the element that an address has to have now, None if it has none."""
        if isinstance(what, Ladder):
            action = self._index.rung(what, address)
            return self._render.rung(what, address, action) if action else None
        return self._render.member(what, address) if self._index.has(what, address) else None

    def _places(self, what: Group | Ladder, address: Address) -> Iterator[Element]:
        """Yield each element that an address may have had."""
        if isinstance(what, Ladder):
            yield from (self._render.rung(what, address, action) for action in Action)
        else:
            yield self._render.member(what, address)

    def _advance(self, want: dict[Hashable, list[TableObject]]) -> Transaction:
        put: list[TableObject] = []
        drop: list[TableObject] = []
        for owner, objects in want.items():
            before = self._held.get(owner, {})
            after = {one.identity: one for one in objects}
            for identity, one in after.items():
                old = before.get(identity)
                if old != one:
                    put.append(one)
                    if isinstance(old, Element):
                        drop.append(old)
            drop += (old for identity, old in before.items() if identity not in after)
            if after:
                self._held[owner] = after
            else:
                self._held.pop(owner, None)
        return Transaction(tuple(put), tuple(drop))
