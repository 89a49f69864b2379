"""The attachments' rules in the kernel: claim, release, collect.

Everything that reads and then writes does so under one lock, because nftables' transactions are
atomic and its listings are not part of them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from cni_plugin import nft
from cni_plugin.errors import InvalidConfiguration, KernelRefused
from cni_plugin.locks import held
from cni_plugin.rules import Element, Rules

_KEY = ("nftables",)


class Firewall:
    """The table of one host, for the attachments of one container.

    ``container_of`` tells whose an owner is; nobody's, an empty text, when it is attached no more.
    """

    def __init__(self, lock: Path, container_id: str, container_of: Callable[[str], str]) -> None:
        self._lock = lock
        self._container_id = container_id
        self._container_of = container_of

    def claim(self, rules: Rules) -> None:
        """Add an attachment's rules; what a vanished one left in their place goes.

        A port that leads to the same container through another network stays as it is: podman
        asks for a container's ports in each of its networks. Raises InvalidConfiguration when a
        port is another container's.
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
            if missing := self._clear_way(rules):
                nft.add(missing)

    def _clear_way(self, rules: Rules) -> Rules:
        """Remove what the vanished left; returns the rules that are then missing."""
        wanted = _keys(rules)
        there = nft.owned()
        kept: set[Element] = set()
        in_the_way = set()
        for owner, elements in there.items():
            taken = wanted & nft.keys(elements)
            container = "" if owner == rules.owner else self._container_of(owner)
            if taken and container not in {"", self._container_id}:
                key = min(item.key for item in taken)
                raise InvalidConfiguration(f"{key} is mapped already", f"by {owner}")
            if taken and container:
                kept |= taken
            elif taken:
                in_the_way.add(owner)
        _remove(there, in_the_way.__contains__)
        missing = (item for item in rules.elements if Element(item.into, item.key) not in kept)
        return replace(rules, elements=tuple(missing))

    def has(self, rules: Rules) -> bool:
        """Whether all of an attachment's rules are there, be it for another of the container's."""
        there: set[Element] = set()
        for owner, elements in nft.owned().items():
            if owner == rules.owner or self._container_of(owner) == self._container_id:
                there |= nft.keys(elements)
        return _keys(rules) <= there

    def release(self, owner: str) -> None:
        """Remove an owner's rules; none is fine."""
        if owner in nft.owned():
            self.collect(lambda other: other != owner)

    def collect(self, spared: Callable[[str], bool]) -> None:
        """Remove the rules of all owners that are not spared."""
        with held(self._lock, *_KEY):
            _remove(nft.owned(), lambda owner: not spared(owner))


def _keys(rules: Rules) -> set[Element]:
    return {Element(item.into, item.key) for item in rules.elements}


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
