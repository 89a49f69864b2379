"""The attachments' rules in the kernel: claim, release, collect.

Everything that reads and then writes does so under one lock, because nftables' transactions are
atomic and its listings are not part of them.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from cni_plugin import nft
from cni_plugin.errors import InvalidConfiguration, KernelRefused
from cni_plugin.locks import held
from cni_plugin.rules import Element, Rules

_KEY = ("nftables",)


class Firewall:
    """The table of one host; ``alive`` tells whether an owner is still attached."""

    def __init__(self, lock: Path, alive: Callable[[str], bool]) -> None:
        self._lock = lock
        self._alive = alive

    def claim(self, rules: Rules) -> None:
        """Add an attachment's rules; what a vanished one left in their place goes.

        Raises InvalidConfiguration when a port is another's.
        """
        with held(self._lock, *_KEY):
            try:
                self._claim(rules)
            except nft.NftError as err:
                raise _refused("does not take the attachment's rules", err) from err

    def _claim(self, rules: Rules) -> None:
        try:
            nft.add(rules)
        except nft.NftError as err:
            if not err.taken:
                raise
            self._clear_way(rules)
            nft.add(rules)

    def _clear_way(self, rules: Rules) -> None:
        wanted = {Element(item.into, item.key) for item in rules.elements}
        there = nft.owned()
        for owner, elements in there.items():
            taken = wanted & nft.keys(elements)
            if taken and owner != rules.owner and self._alive(owner):
                key = min(item.key for item in taken)
                raise InvalidConfiguration(f"{key} is mapped already", f"by {owner}")
        _remove(there, lambda owner: bool(wanted & nft.keys(there[owner])))

    def has(self, rules: Rules) -> bool:
        """Whether all of an attachment's rules are there."""
        there = nft.keys(nft.owned().get(rules.owner, []))
        return {Element(item.into, item.key) for item in rules.elements} <= there

    def release(self, owner: str) -> None:
        """Remove an owner's rules; none is fine."""
        if owner in nft.owned():
            self.collect(lambda other: other != owner)

    def collect(self, spared: Callable[[str], bool]) -> None:
        """Remove the rules of all owners that are not spared."""
        with held(self._lock, *_KEY):
            _remove(nft.owned(), lambda owner: not spared(owner))


def _remove(there: dict[str, list[nft.Entry]], gone: Callable[[str], bool]) -> None:
    elements = [entry for owner, entries in there.items() if gone(owner) for entry in entries]
    if not elements:
        return
    try:
        nft.remove(elements, last=len(elements) == sum(map(len, there.values())))
    except nft.NftError as err:
        raise _refused("does not remove rules", err) from err


def _refused(what: str, err: nft.NftError) -> KernelRefused:
    return KernelRefused(f"nftables {what}", str(err))
