"""Addresses that new containers have got, before the API says whose they are.

podwire-cni puts each into a set of the table (``cni_plugin/linux/tenancy.py``) where the rules look
first: it is closed. Here it is taken from the Pods that had it, and leaves the set once its Pod is
known.
"""

from collections.abc import Iterable
from contextlib import suppress
from ipaddress import ip_address

from proxy.backends.nftables.objects import Element
from proxy.backends.nftables.transaction import Transaction
from proxy.linux.nft_counters import keys
from proxy.model.values import Address, Family, text_of
from proxy.policy.index import PolicyIndex
from proxy.policy.render import TABLE, TAKEN


class TakenAddresses:
    """The addresses in the set, as they were seen last."""

    def __init__(self, index: PolicyIndex) -> None:
        self._index = index
        self._taken: set[Address] = set()
        self._opening: set[Address] = set()  # those that the present transaction opens
        self._inherited: set[Address] = set()  # those whose flows another Pod had

    def look(self, families: Iterable[Family]) -> None:
        """Read the sets; release what is new from the Pods that had it. Call it before a Pod of the
        node is taken: it may be the one that has the address now.
        """
        for one in _read(families) - self._taken - self._opening:
            self._index.release(one)
            self._taken.add(one)
            self._inherited.add(one)

    def inherited(self) -> set[Address]:
        """Return the addresses that were seen since the last call."""
        found, self._inherited = self._inherited, set()
        return found

    def opening(self, families: Iterable[Family]) -> str:
        """Return the transaction that opens those whose Pods are known by now."""
        self._opening = {one for one in self._taken if one in self._index.posts}
        self._taken -= self._opening
        text = ""
        for family in families:
            mine = [one for one in self._opening if one.version == family]
            part = Transaction(drop=tuple(Element(TAKEN, text_of(one)) for one in mine))
            text += part.text(family, TABLE) if mine else ""
        return text

    def opened(self) -> None:
        """Note that the transaction was made."""
        self._opening = set()

    def begin_anew(self, families: Iterable[Family]) -> None:
        """Expect an empty set: the table is written anew.

        What is in an earlier process' set is judged as the API says, which may know all of it.
        """
        self._taken, self._opening = set(), set()
        self._inherited |= _read(families)


def _read(families: Iterable[Family]) -> set[Address]:
    """Return what is in the sets: nothing where another program deleted the table."""
    with suppress(OSError):
        return {ip_address(key) for one in families for key in keys(one, TABLE, TAKEN)}
    return set()
