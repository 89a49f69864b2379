"""The attachments' rules in the kernel: claim, release, collect.

Everything that reads and then writes does so under one lock, because neither nftables' nor
iptables' listings are part of their transactions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cni_plugin.firewall import nft
from cni_plugin.firewall.by_iptables import Iptables
from cni_plugin.firewall.by_nftables import Nftables
from cni_plugin.firewall.claims import Standing, past
from cni_plugin.linux.conntrack import forget_udp
from cni_plugin.linux.locks import held
from cni_plugin.plan.rules import BACKENDS, IPTABLES, NFTABLES, Backend, Wanted, udp_ports
from cni_plugin.spec import names
from cni_plugin.spec.errors import CniError

_KEY = ("nftables",)  # the lock's name: older versions knew this backend alone


class Doer(Protocol):
    """A backend at work, the lock held."""

    def claim(self, wanted: Wanted, standing: Callable[[str], Standing]) -> None:
        """Add rules; what the gone left in their place goes. Raises CniError."""

    def claims(self) -> dict[str, str]:
        """Who claims which port; nothing, and at once, when there are no rules."""

    def has(self, wanted: Wanted, standing: Callable[[str], Standing]) -> bool:
        """Whether all of the rules are there."""

    def remove(self, is_gone: Callable[[str], bool]) -> frozenset[str]:
        """Remove owners' rules; none is fine. Returns the claims that others have now."""


class Firewall:
    """The packet filter of one host, for the attachments of one container.

    ``container_of`` tells whose an owner is; nobody's, an empty text, when it is attached no more.
    """

    def __init__(self, lock: Path, container_id: str, container_of: Callable[[str], str]) -> None:
        self._lock = lock
        self._container_id = container_id
        self._container_of = container_of

    def claim(self, wanted: Wanted) -> None:
        """Add an attachment's rules; what a vanished one left in their place goes.

        A port that leads to the same container through another network stays as it is until that
        attachment goes: podman asks for a container's ports in each of its networks.
        Whatever fails, none of the rules remains.
        Raises InvalidConfigurationError when a port is another container's.
        """
        with self._doers() as doers:
            try:
                for backend, part in _parts(wanted):
                    self._claim(doers, backend, part)
            except CniError:
                for doer in doers.values():
                    doer.remove(wanted.owner.__eq__)
                raise

    def _claim(self, doers: dict[Backend, Doer], backend: Backend, part: Wanted) -> None:
        standing = self._standing(part.owner)
        for other, doer in doers.items():
            if other != backend and part.ports:
                _, gone = past(doer.claims(), part, standing)
                doer.remove(gone.__contains__)
        doers[backend].claim(part, standing)

    def has(self, wanted: Wanted) -> bool:
        """Whether all of an attachment's rules are there, be it for another of the container's."""
        standing = self._standing(wanted.owner)
        with self._doers() as doers:
            return all(doers[backend].has(part, standing) for backend, part in _parts(wanted))

    def release(self, owner: str) -> None:
        """Remove an owner's rules; none is fine."""
        attachment = names.attachment_of(owner)
        self._remove(lambda other: names.attachment_of(other) == attachment)

    def collect(self, spared: Callable[[str], bool]) -> None:
        """Remove the rules of all owners that are not spared."""
        self._remove(lambda owner: not spared(owner))

    def _remove(self, is_gone: Callable[[str], bool]) -> None:
        with self._doers() as doers:
            claims = frozenset().union(*(doer.remove(is_gone) for doer in doers.values()))
        if ports := udp_ports(claims):
            forget_udp(ports)

    def _standing(self, own: str) -> Callable[[str], Standing]:
        def standing(owner: str) -> Standing:
            if owner in {own, ""}:
                return Standing.GONE
            container = self._container_of(owner)
            if container == self._container_id:
                return Standing.KIN
            return Standing.STRANGER if container else Standing.GONE

        return standing

    @contextmanager
    def _doers(self) -> Iterator[dict[Backend, Doer]]:
        with held(self._lock, *_KEY) as lock:
            yield {NFTABLES: Nftables(), IPTABLES: Iptables(lock)}


def _parts(wanted: Wanted) -> Iterator[tuple[Backend, Wanted]]:
    """What each backend has to do: nftables, where there is it, what nothing is said of."""
    default = NFTABLES if nft.usable() else IPTABLES
    for backend in BACKENDS:
        part = wanted.part(backend, default)
        if part:
            yield backend, part
