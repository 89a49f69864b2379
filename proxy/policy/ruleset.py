"""The desired table of one family, kept up to date, and the way there: pure."""

from collections.abc import Hashable, Iterable

from proxy.backends.nftables.objects import Element, ObjectIdentity, TableObject
from proxy.backends.nftables.transaction import Transaction, table_name
from proxy.model.values import Address, Family, Network
from proxy.policy.index import Changes, PolicyIndex
from proxy.policy.profile import Group, NamedDoor, Profile
from proxy.policy.render import TABLE, PolicyRenderer

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
        """Forget the state before; return the transaction that makes the whole table anew.

        A table that is there is replaced by it in one step. ``changes`` are everything.
        """
        self._held.clear()
        self._render = PolicyRenderer(self.family)
        fixed = self._advance({_FIXED: list(self._render.fixed())})
        rest = self.advance(changes, ranges, bridges)
        table = table_name(self.family, TABLE)
        clearing = f"add table {table}\ndelete table {table}\nadd table {table}\n"
        both = Transaction((*fixed.put, *rest.put))
        return clearing + both.text(self.family, TABLE)

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
                found = self._render.post(address, post.ingress, post.egress) if post else ()
                want[address] = list(found)
        shared: tuple[Profile | Group | NamedDoor, ...]
        shared = (*changes.profiles, *changes.groups, *changes.named)
        for one in shared:
            want[one] = list(self._objects(one)) if self._index.is_used(one) else []
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
        self, group: Group, addresses: Iterable[Address]
    ) -> tuple[list[TableObject], list[TableObject]]:
        """Look at some addresses of a group; return the elements to put, and to drop."""
        put: list[TableObject] = []
        drop: list[TableObject] = []
        held = self._held.get(group)
        if held is None:  # it went, or has not come
            return put, drop
        for address in addresses:
            if address.version == self.family:
                one = self._render.member(group, address)
                if not self._index.has(group, address):
                    if held.pop(one.identity, None) is not None:
                        drop.append(one)
                elif one.identity not in held:
                    held[one.identity] = one
                    put.append(one)
        return put, drop

    def _objects(self, one: Profile | Group | NamedDoor) -> Iterable[TableObject]:
        if isinstance(one, Profile):
            return self._render.profile(one)
        if isinstance(one, NamedDoor):
            return self._render.door(one, self._index.doors(one))
        return self._render.group(one, self._index.addresses(one))

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
