"""Addresses that new containers have got, before the API says whose they are.

podwire-cni puts each into a set of the table (``cni_plugin/linux/tenancy.py``) where the rules look
first: it is closed. The element's comment is the UID of the container's Pod. Here the address is
taken from all other Pods, and leaves the set once the API says that its Pod has it.
"""

import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import ip_address

from proxy.backends.nftables.objects import Element
from proxy.backends.nftables.transaction import Transaction
from proxy.linux.netlink import NETFILTER, Netlink
from proxy.linux.nft_counters import keys
from proxy.model.values import Address, Family, text_of
from proxy.policy.index import PolicyIndex
from proxy.policy.render import TABLE, TAKEN

_UID = re.compile(r"[0-9A-Za-z-]{1,64}")


class TakenAddresses:
    """The addresses in the set, as they were seen last, with the UIDs of their Pods.

    A UID is empty where the runtime tells the plugin none.
    """

    def __init__(self, index: PolicyIndex) -> None:
        self._index = index
        self._taken: dict[Address, str] = {}
        self._opening: dict[Address, str] = {}  # those that the present transaction opens
        self._found: dict[Address, str] = {}  # those in the tables that are written anew
        self._inherited: set[Address] = set()  # those whose flows another Pod had
        self._netlink: Netlink | None = None  # kept: closing one may take as long as all the rest

    def close(self) -> None:
        """Close what another look opens again."""
        if self._netlink is not None:
            self._netlink.close()
            self._netlink = None

    def look(self, families: Iterable[Family]) -> None:
        """Read the sets; release what is new from the Pods that had it. Call it before a Pod of the
        node is taken: it may be the one that has the address now.
        """
        known = self._taken | self._opening
        for one, uid in self._read(families).items():
            if known.get(one) != uid:
                self._release(one, uid)

    def _release(self, address: Address, uid: str) -> None:
        self._index.release(address, uid)
        self._taken[address] = uid
        self._inherited.add(address)

    def inherited(self) -> set[Address]:
        """Return the addresses that were seen since the last call."""
        found, self._inherited = self._inherited, set()
        return found

    def opening(self, families: Iterable[Family]) -> list[tuple[Family, Transaction]]:
        """Return the transaction that opens those whose Pods are known by now, or have ended."""
        self._opening = {one: uid for one, uid in self._taken.items() if self._may_open(one, uid)}
        self._taken = {one: uid for one, uid in self._taken.items() if one not in self._opening}
        return [
            (family, Transaction(drop=tuple(mine)))
            for family, mine in _elements(families, self._opening)
        ]

    def _may_open(self, address: Address, uid: str) -> bool:
        """Return True also for the address of a Pod that has ended: it is nobody's, so closed."""
        ended = bool(uid) and not self._index.is_owned(address)
        return address in self._index.posts or ended

    def opened(self) -> None:
        """Note that the transaction was made."""
        self._opening = {}

    def begin_anew(self, families: Iterable[Family]) -> None:
        """Read the sets of a table that is to be written anew, which an earlier process may have
        made. An address without a UID is judged as the API says, which may know all of it.
        """
        found = self._found = self._read(families)
        self._taken = {one: uid for one, uid in (self._taken | self._opening).items() if uid}
        self._opening = {}
        self._inherited.update(found)
        for one, uid in found.items():
            if uid and self._taken.get(one) != uid:
                self._release(one, uid)

    def closing(self, families: Collection[Family], *, kept: bool) -> str:
        """Return what a new table has to have: those whose Pods are not known yet.

        ``kept``: it has the set that it had, also with what came since it was read. The next look
        sees that.
        """
        self._taken = {one: uid for one, uid in self._taken.items() if not self._may_open(one, uid)}
        gone = {one: uid for one, uid in self._found.items() if kept and one not in self._taken}
        parts = (
            *(
                (family, Transaction(drop=tuple(mine)))
                for family, mine in _elements(families, gone)
            ),
            *(
                (family, Transaction(tuple(mine)))
                for family, mine in _elements(families, self._taken)
            ),
        )
        return "".join(part.text(family, TABLE) for family, part in parts)

    def _read(self, families: Iterable[Family]) -> dict[Address, str]:
        """Return what is in the sets: nothing where another program deleted the table."""
        netlink = self._netlink = self._netlink or Netlink(NETFILTER)
        found: dict[Address, str] = {}
        for one in families:
            with suppress(OSError):
                found |= {
                    ip_address(key): uid if _UID.fullmatch(uid) else ""
                    for key, uid in keys(netlink, one, TABLE, TAKEN)
                }
        return found


def _elements(
    families: Iterable[Family], taken: Mapping[Address, str]
) -> Iterator[tuple[Family, list[Element]]]:
    """Yield each family that has some, with its elements."""
    for family in families:
        mine = [
            Element(TAKEN, text_of(one), comment=uid)
            for one, uid in taken.items()
            if one.version == family
        ]
        if mine:
            yield family, mine
