"""The firewall rules of attachments in nftables: elements of one table."""

from collections.abc import Callable
from dataclasses import replace

from cni_plugin.firewall import libnftables
from cni_plugin.firewall.claims import OwnerRelation, resolve_ports
from cni_plugin.firewall.libnftables import NftablesError
from cni_plugin.firewall.nftables_rules import (
    TABLE,
    Element,
    TableAdditions,
    additions_of,
    claim_of,
    removal_transaction,
    rule_counts,
    spare_of,
)
from cni_plugin.plan.rules import WantedRules
from cni_plugin.spec.errors import InvalidConfigurationError, OperationRefusedError


class NftablesBackend:
    """The table. The caller holds the lock."""

    def add(self, wanted: WantedRules, relation: Callable[[str], OwnerRelation]) -> None:
        """Add an attachment's rules, and remove rules of gone owners that are in their way."""
        try:
            self._add(wanted, relation)
        except NftablesError as err:
            raise _refused("does not take the attachment's rules", err) from err

    def _add(self, wanted: WantedRules, relation: Callable[[str], OwnerRelation]) -> None:
        try:
            libnftables.add(additions_of(wanted))
        except NftablesError as err:
            if not err.exists:
                raise
            libnftables.add(self._clear_way(wanted, relation))

    def _clear_way(
        self, wanted: WantedRules, relation: Callable[[str], OwnerRelation]
    ) -> TableAdditions:
        """Remove the rules of gone owners. Returns the additions that are then missing."""
        while True:
            owned = libnftables.owned_elements()
            left, gone = resolve_ports(_claims(owned), wanted, relation)
            additions = additions_of(left)
            shared, others = _conflicts(additions, owned, relation)
            in_the_way = (gone | others) & owned.keys()
            if not in_the_way:
                missing = (item for item in additions.elements if _key(item) not in shared)
                return replace(additions, elements=tuple(missing))
            _remove(owned, in_the_way.__contains__)

    def claims(self) -> dict[str, str]:
        """The owner of each claim."""
        return _claims(_owned())

    def has(self, wanted: WantedRules, relation: Callable[[str], OwnerRelation]) -> bool:
        """Return true if all of an attachment's rules are there.

        An element may be of another attachment of the container.
        """
        there: set[Element] = set()
        for owner, elements in libnftables.owned_elements().items():
            if owner == wanted.owner or relation(owner) is OwnerRelation.SAME_CONTAINER:
                there |= elements
        additions = additions_of(wanted)
        return (
            _keys(additions) <= there and rule_counts(additions) <= libnftables.table_rule_counts()
        )

    def remove(self, is_gone: Callable[[str], bool]) -> frozenset[str]:
        """Remove the rules of gone owners; with the last rule the table.

        Returns the claims of the gone owners.
        """
        return _remove(_owned(), is_gone)


def _conflicts(
    additions: TableAdditions,
    owned: dict[str, set[Element]],
    relation: Callable[[str], OwnerRelation],
) -> tuple[set[Element], set[str]]:
    """Return the elements that the container has already, and the gone owners of others.

    Raises InvalidConfigurationError when another container has one.
    """
    wanted, shared, gone = _keys(additions), set[Element](), set[str]()
    for owner, elements in owned.items():
        if taken := wanted & elements:
            found = relation(owner)
            if found is OwnerRelation.OTHER_CONTAINER:
                key = min(item.key for item in taken)
                raise InvalidConfigurationError(f"{key} has firewall rules already", f"by {owner}")
            if found is OwnerRelation.SAME_CONTAINER:
                shared |= taken
            else:
                gone.add(owner)
    return shared, gone


def _owned() -> dict[str, set[Element]]:
    """The elements by owner; empty on a host without nftables."""
    return libnftables.owned_elements() if libnftables.usable() else {}


def _claims(owned: dict[str, set[Element]]) -> dict[str, str]:
    return {
        claim: owner
        for owner, elements in owned.items()
        for element in elements
        if (claim := claim_of(element))
    }


def _keys(additions: TableAdditions) -> set[Element]:
    return set(map(_key, additions.elements))


def _key(item: Element) -> Element:
    return Element(item.into, item.key)


def _remove(owned: dict[str, set[Element]], is_gone: Callable[[str], bool]) -> frozenset[str]:
    gone = {item for owner, items in owned.items() if is_gone(owner) for item in items}
    if not gone:
        return frozenset()
    left = {owner: items for owner, items in owned.items() if not is_gone(owner)}
    lost = frozenset(claim for item in gone if (claim := claim_of(item)))
    heirs = _heirs(left, lost)
    promoted = {spare: owner for spare, owner in heirs.values()}
    try:
        libnftables.run(removal_transaction(gone, promoted) if left else f"delete table {TABLE}")
    except NftablesError as err:
        raise _refused("does not remove rules", err) from err
    return lost


def _heirs(left: dict[str, set[Element]], lost: frozenset[str]) -> dict[str, tuple[Element, str]]:
    """For each claim that becomes free: the spare element that takes it, and its owner."""
    return {
        claim: (item, owner)
        for owner, items in sorted(left.items())
        for item in items
        if (claim := spare_of(item)) in lost
    }


def _refused(problem: str, err: NftablesError) -> OperationRefusedError:
    return OperationRefusedError(f"nftables {problem}", str(err))
