"""The rules of attachments in nftables: elements of one table."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from cni_plugin.errors import InvalidConfiguration, KernelRefused
from cni_plugin.firewall import nft
from cni_plugin.firewall.claims import Standing
from cni_plugin.firewall.nft_rules import Element, Rules, claim_of, rule_counts, rules_of
from cni_plugin.firewall.wanted import Wanted


class Nftables:
    """The table; whoever uses it holds the lock."""

    def claim(self, wanted: Wanted, standing: Callable[[str], Standing]) -> None:
        """Add an attachment's rules; what the gone left in their place goes."""
        rules = rules_of(wanted)
        try:
            self._claim(rules, standing)
        except nft.NftError as err:
            raise _refused("does not take the attachment's rules", err) from err

    def _claim(self, rules: Rules, standing: Callable[[str], Standing]) -> None:
        try:
            nft.add(rules)
        except nft.NftError as err:
            if not err.taken:
                raise
            nft.add(self._clear_way(rules, standing))

    def _clear_way(self, rules: Rules, standing: Callable[[str], Standing]) -> Rules:
        """Remove what the gone left; returns the rules that are then missing."""
        wanted = _keys(rules)
        there = nft.owned()
        kept: set[Element] = set()
        in_the_way = set()
        for owner, elements in there.items():
            taken = wanted & nft.keys(elements)
            how = standing(owner) if taken else Standing.GONE
            if how is Standing.STRANGER:
                key = min(item.key for item in taken)
                raise InvalidConfiguration(f"{key} is mapped already", f"by {owner}")
            if how is Standing.KIN:
                kept |= taken
            elif taken:
                in_the_way.add(owner)
        _remove(there, in_the_way.__contains__)
        missing = (item for item in rules.elements if Element(item.into, item.key) not in kept)
        return replace(rules, elements=tuple(missing))

    def claims(self) -> dict[str, str]:
        """Who claims which port."""
        return {
            claim: owner
            for owner, elements in _owned().items()
            for element in nft.keys(elements)
            if (claim := claim_of(element))
        }

    def has(self, wanted: Wanted, standing: Callable[[str], Standing]) -> bool:
        """Whether all of an attachment's rules are there, be it for another of the container's."""
        there: set[Element] = set()
        for owner, elements in nft.owned().items():
            if owner == wanted.owner or standing(owner) is Standing.KIN:
                there |= nft.keys(elements)
        rules = rules_of(wanted)
        return _keys(rules) <= there and rule_counts(rules) <= nft.rule_counts()

    def remove(self, is_gone: Callable[[str], bool]) -> None:
        """Remove owners' rules; the table goes with the last."""
        _remove(_owned(), is_gone)


def _owned() -> dict[str, list[nft.Entry]]:
    """What there is; nothing where there can be nothing."""
    return nft.owned() if nft.usable() else {}


def _keys(rules: Rules) -> set[Element]:
    return {Element(item.into, item.key) for item in rules.elements}


def _remove(there: dict[str, list[nft.Entry]], is_gone: Callable[[str], bool]) -> None:
    elements = [entry for owner, entries in there.items() if is_gone(owner) for entry in entries]
    if not elements:
        return
    try:
        nft.remove(elements, last=len(elements) == sum(map(len, there.values())))
    except nft.NftError as err:
        raise _refused("does not remove rules", err) from err


def _refused(what: str, err: nft.NftError) -> KernelRefused:
    return KernelRefused(f"nftables {what}", str(err))
