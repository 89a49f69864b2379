"""The firewall rules of attachments, each part given to the backend that serves it.

Each operation reads before it writes, and neither nftables' nor iptables' listings are part of
their transactions. So a lock is held for the whole of each operation.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

from cni_plugin.firewall import libnftables
from cni_plugin.firewall.claims import OwnerRelation, resolve_ports
from cni_plugin.firewall.iptables_backend import IptablesBackend
from cni_plugin.firewall.nftables_backend import NftablesBackend
from cni_plugin.linux.conntrack import forget_udp
from cni_plugin.linux.locks import held
from cni_plugin.plan.rules import BACKENDS, IPTABLES, NFTABLES, BackendName, WantedRules, udp_ports
from cni_plugin.spec import names
from cni_plugin.spec.errors import CniError

_KEY = ("nftables",)  # the lock's name; older versions knew this backend only


class FirewallBackend(Protocol):
    """nftables or iptables. The caller holds the lock."""

    def add(self, wanted: WantedRules, relation: Callable[[str], OwnerRelation]) -> None:
        """Add rules, and remove rules of gone owners that are in their way. Raises CniError."""

    def claims(self) -> dict[str, str]:
        """The owner of each claim. Without rules it is empty, and costs no process."""

    def has(self, wanted: WantedRules, relation: Callable[[str], OwnerRelation]) -> bool:
        """Return true if all of the rules are there."""

    def remove(self, is_gone: Callable[[str], bool]) -> frozenset[str]:
        """Remove the rules of gone owners, if there are any.

        Returns the claims of the gone owners, whoever may have them now.
        """


class Firewall:
    """The packet filter of one host, for the attachments of one container.

    ``container_of`` returns the container ID of a rule's owner. It returns an empty string for an
    owner that is no longer attached.
    """

    def __init__(
        self, locks: Sequence[Path], container_id: str, container_of: Callable[[str], str]
    ) -> None:
        self._locks = locks
        self._container_id = container_id
        self._container_of = container_of

    def add(self, wanted: WantedRules) -> None:
        """Add an attachment's rules, and remove rules of gone owners that are in their way.

        podman asks for a container's ports in each of its networks. A port that another attachment
        of the same container has stays with that attachment until it is deleted.
        After an error none of the rules remains.
        Raises InvalidConfigurationError when another container has a port.
        """
        with self._backends() as backends:
            try:
                for name, part in _parts(wanted):
                    self._add_part(backends, name, part)
            except CniError:
                for backend in backends.values():
                    backend.remove(wanted.owner.__eq__)
                raise

    def _add_part(
        self, backends: dict[BackendName, FirewallBackend], name: BackendName, part: WantedRules
    ) -> None:
        relation = self._relation_to(part.owner)
        for other, backend in backends.items():
            if other != name and part.ports:
                _, gone = resolve_ports(backend.claims(), part, relation)
                backend.remove(gone.__contains__)
        backends[name].add(part, relation)

    def has(self, wanted: WantedRules) -> bool:
        """Return true if all of an attachment's rules are there.

        A port may be with another attachment of the container.
        """
        relation = self._relation_to(wanted.owner)
        with self._backends() as backends:
            return all(backends[name].has(part, relation) for name, part in _parts(wanted))

    def remove(self, owner: str) -> None:
        """Remove an owner's rules, if there are any."""
        attachment = names.attachment_of(owner)
        self._remove(lambda other: names.attachment_of(other) == attachment)

    def collect(self, is_spared: Callable[[str], bool]) -> None:
        """Remove the rules of all owners that are not spared."""
        self._remove(lambda owner: not is_spared(owner))

    def _remove(self, is_gone: Callable[[str], bool]) -> None:
        with self._backends() as backends:
            claims = frozenset().union(*(item.remove(is_gone) for item in backends.values()))
        if ports := udp_ports(claims):
            # their NAT outlives the rules as long as anybody's rules keep it in the kernel
            forget_udp(ports, mapped=True)

    def _relation_to(self, own: str) -> Callable[[str], OwnerRelation]:
        def relation(owner: str) -> OwnerRelation:
            if owner in {own, ""}:
                return OwnerRelation.GONE
            container_id = self._container_of(owner)
            if container_id == self._container_id:
                return OwnerRelation.SAME_CONTAINER
            return OwnerRelation.OTHER_CONTAINER if container_id else OwnerRelation.GONE

        return relation

    @contextmanager
    def _backends(self) -> Iterator[dict[BackendName, FirewallBackend]]:
        with held(self._locks, *_KEY) as lock:
            yield {NFTABLES: NftablesBackend(), IPTABLES: IptablesBackend(lock)}


def _parts(wanted: WantedRules) -> Iterator[tuple[BackendName, WantedRules]]:
    """The rules by backend. Where the configuration names none, nftables is preferred."""
    default = NFTABLES if libnftables.usable() else IPTABLES
    for name in BACKENDS:
        part = wanted.part(name, default)
        if part:
            yield name, part
