"""The rules of attachments in nftables: elements of one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cni_plugin.firewall import nft
from cni_plugin.firewall.claims import Standing, past
from cni_plugin.firewall.nft_rules import (
    TABLE,
    Element,
    Rules,
    claim_of,
    removal,
    rule_counts,
    rules_of,
    spare_of,
)
from cni_plugin.plan.rules import Wanted
from cni_plugin.spec.errors import InvalidConfigurationError, OperationRefusedError


class Nftables:
    """The table; whoever uses it holds the lock."""

    def claim(self, wanted: Wanted, standing: Callable[[str], Standing]) -> None:
        """Add an attachment's rules; what the gone left in their place goes."""
        try:
            self._claim(wanted, standing)
        except nft.NftError as err:
            raise _refused("does not take the attachment's rules", err) from err

    def _claim(self, wanted: Wanted, standing: Callable[[str], Standing]) -> None:
        try:
            nft.add(rules_of(wanted))
        except nft.NftError as err:
            if not err.taken:
                raise
            nft.add(self._clear_way(wanted, standing))

    def _clear_way(self, wanted: Wanted, standing: Callable[[str], Standing]) -> Rules:
        """Remove what the gone left; returns the rules that are then missing."""
        while True:
            there = nft.owned()
            left, gone = past(_claims(there), wanted, standing)
            rules = rules_of(left)
            kin, others = _standing_in_the_way(rules, there, standing)
            in_the_way = (gone | others) & there.keys()
            if not in_the_way:
                missing = (item for item in rules.elements if _key(item) not in kin)
                return replace(rules, elements=tuple(missing))
            _remove(there, in_the_way.__contains__)

    def claims(self) -> dict[str, str]:
        """Who claims which port."""
        return _claims(_owned())

    def has(self, wanted: Wanted, standing: Callable[[str], Standing]) -> bool:
        """Whether all of an attachment's rules are there, be it for another of the container's."""
        there: set[Element] = set()
        for owner, elements in nft.owned().items():
            if owner == wanted.owner or standing(owner) is Standing.KIN:
                there |= elements
        rules = rules_of(wanted)
        return _keys(rules) <= there and rule_counts(rules) <= nft.rule_counts()

    def remove(self, is_gone: Callable[[str], bool]) -> frozenset[str]:
        """Remove owners' rules; the table goes with the last. Returns the claims of new holders."""
        return _remove(_owned(), is_gone)


def _standing_in_the_way(
    rules: Rules, there: dict[str, set[Element]], standing: Callable[[str], Standing]
) -> tuple[set[Element], set[str]]:
    """The elements that the container has already, and the owners of those that nobody needs."""
    wanted, kin, gone = _keys(rules), set[Element](), set[str]()
    for owner, elements in there.items():
        if taken := wanted & elements:
            how = standing(owner)
            if how is Standing.STRANGER:
                key = min(item.key for item in taken)
                raise InvalidConfigurationError(f"{key} has firewall rules already", f"by {owner}")
            if how is Standing.KIN:
                kin |= taken
            else:
                gone.add(owner)
    return kin, gone


def _owned() -> dict[str, set[Element]]:
    """What there is; nothing where there can be nothing."""
    return nft.owned() if nft.usable() else {}


def _claims(there: dict[str, set[Element]]) -> dict[str, str]:
    return {
        claim: owner
        for owner, elements in there.items()
        for element in elements
        if (claim := claim_of(element))
    }


def _keys(rules: Rules) -> set[Element]:
    return set(map(_key, rules.elements))


def _key(item: Element) -> Element:
    return Element(item.into, item.key)


def _remove(there: dict[str, set[Element]], is_gone: Callable[[str], bool]) -> frozenset[str]:
    gone = {item for owner, items in there.items() if is_gone(owner) for item in items}
    if not gone:
        return frozenset()
    left = {owner: items for owner, items in there.items() if not is_gone(owner)}
    heirs = _heirs(left, {claim for item in gone if (claim := claim_of(item))})
    promoted = {spare: owner for spare, owner in heirs.values()}
    try:
        nft.run(removal(gone, promoted) if left else f"delete table {TABLE}")
    except nft.NftError as err:
        raise _refused("does not remove rules", err) from err
    return frozenset(heirs)


def _heirs(left: dict[str, set[Element]], lost: set[str]) -> dict[str, tuple[Element, str]]:
    """For each claim that becomes free, a spare of one who waits for it, and who that is."""
    return {
        claim: (item, owner)
        for owner, items in sorted(left.items())
        for item in items
        if (claim := spare_of(item)) in lost
    }


def _refused(what: str, err: nft.NftError) -> OperationRefusedError:
    return OperationRefusedError(f"nftables {what}", str(err))
