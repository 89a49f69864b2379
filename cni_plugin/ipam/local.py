"""IPAM in this process, with host-local's configuration and reservations.

Source: host-local's documentation and source (containernetworking/plugins, plugins/ipam).
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from ipaddress import ip_interface
from pathlib import Path
from typing import NamedTuple

from cni_plugin.ipam.resolv import read_resolv_conf
from cni_plugin.ipam.store import (
    DEFAULT_DATA_DIR,
    Owner,
    ReservationStore,
    holds_any,
    index_of,
)
from cni_plugin.linux.host import below
from cni_plugin.spec.config import CACHED_CONFS, NetConf
from cni_plugin.spec.errors import (
    AddressesExhaustedError,
    CheckFailedError,
    InvalidConfigurationError,
    NotAvailableError,
)
from cni_plugin.spec.ranges import (
    Range,
    RangeSet,
    assign,
    candidates,
    check_sets,
    describe,
    range_of,
)
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Address, Dns, IPConfig, Result

_SHOWN_HOLDERS = 8
_SPARE_LOCK = "/run/podwire/cni.lock"
GRACE = 60.0  # seconds in which an ADD makes its interface after its reservation


class ChosenAddress(NamedTuple):
    """An address to reserve, its range, and the index of its range set."""

    set_index: int
    address: Address
    range: Range


class LocalIpam:
    """Allocates addresses from files below ``root``, the runtime's root directory.

    ``is_attached`` returns true if an owner's interface exists. It is None if another plugin makes
    the interfaces.
    """

    def __init__(
        self, root: Path, boot_id: str, is_attached: Callable[[Owner], bool] | None
    ) -> None:
        self._root = root
        self._boot_id = boot_id
        self._is_attached = is_attached

    def add(self, request: Request) -> Result:
        """Reserve one address of each range set for the request's owner."""
        sets = range_sets(request)
        wanted = assign(requested(request), sets)
        owner = _owner(request)
        with self._store(request) as store:
            if held := store.held_by(owner):
                raise InvalidConfigurationError(
                    f"{_describe(owner)} already holds {_list(held)}"
                    f" in network {request.conf.name}",
                    "a second ADD needs a DEL before it",
                )
            chosen = [
                self._choose(store, ranges, index, wanted.get(index))
                for index, ranges in enumerate(sets)
            ]
            try:
                addresses = [(choice.set_index, choice.address) for choice in chosen]
                store.reserve(owner, addresses, wired=self._is_attached is not None)
            except OSError:
                store.release(owner)
                raise
        return self._result(request, chosen)

    def _choose(
        self, store: ReservationStore, ranges: RangeSet, index: int, wanted: Address | None
    ) -> ChosenAddress:
        try:
            return _choose(store, ranges, index, wanted)
        except AddressesExhaustedError:
            if not self._expire(store):
                raise
            return _choose(store, ranges, index, wanted)

    def _expire(self, store: ReservationStore) -> bool:
        """Release the addresses of wired owners without an interface. Return false if none was.

        Owners of the last minute are left out: their ADD may still run.
        """
        owners = {owner for _, owner in store.reservations()}
        gone = [
            owner
            for owner in owners
            if self._is_attached is not None
            and store.is_wired(owner)
            and store.age(owner) > GRACE
            and not self._is_attached(owner)
        ]
        for owner in gone:
            store.release(owner)
        return bool(gone)

    def delete(self, request: Request) -> None:
        """Release the owner's addresses, if there are any.

        Without any it succeeds also where nothing can be written. Raises OSError.
        """
        try:
            with self._store(request) as store:
                store.release(_owner(request))
        except OSError:
            if holds_any(data_dir(request, self._root) / request.conf.name, _owner(request)):
                raise

    def check(self, request: Request) -> None:
        """Raise CheckFailedError unless the owner holds the addresses of the previous result."""
        with self._store(request) as store:
            held = store.held_by(_owner(request))
        sets = range_sets(request)
        previous = [item.address.ip for item in request.previous.ips] if request.previous else []
        ours = [address for address in previous if any(range_of(address, item) for item in sets)]
        if missing := [address for address in ours if address not in held]:
            raise CheckFailedError(
                f"{_describe(_owner(request))} has no reservation of {_list(missing)}"
            )
        if not held:
            raise CheckFailedError(f"{_describe(_owner(request))} has no reservation")

    def status(self, request: Request) -> None:
        """Raise NotAvailableError if a range set has no free address.

        Raises OSError if no reservation can be written.
        """
        with self._store(request) as store:
            store.probe()
            for index, ranges in enumerate(range_sets(request)):
                if _next(store, ranges, index) is None:
                    raise NotAvailableError(
                        f"no free address in {describe(ranges)}", _holders(store)
                    )

    def collect(self, request: Request) -> None:
        """Release the addresses of owners that are not valid attachments of the request."""
        with self._store(request) as store:
            store.rebuild()
            owners = {owner for _, owner in store.reservations()}
            valid_ids = {container_id for container_id, _ in request.valid}
            for owner in owners:
                # files of an old host-local have no interface
                spared = owner in request.valid if owner.ifname else owner[0] in valid_ids
                if not spared:
                    store.release(owner)

    def _store(self, request: Request) -> ReservationStore:
        return ReservationStore(data_dir(request, self._root), request.conf.name, self._boot_id)

    def _result(self, request: Request, chosen: Sequence[ChosenAddress]) -> Result:
        ipam = request.conf.ipam
        dns = Dns()
        if ipam.resolv_conf:
            dns = read_resolv_conf(below(self._root, ipam.resolv_conf))
        return Result(
            ips=tuple(
                IPConfig(
                    ip_interface((choice.address.packed, choice.range.subnet.prefixlen)),
                    choice.range.gateway,
                )
                for choice in chosen
            ),
            routes=tuple(item.made() for item in ipam.routes),
            dns=dns,
        )


def data_dir(request: Request, root: Path) -> Path:
    """The folder of all networks' reservations, below the runtime's root directory.

    Raises InvalidConfigurationError.
    """
    configured = request.conf.ipam.data_dir or DEFAULT_DATA_DIR
    if not configured.startswith("/"):
        raise InvalidConfigurationError(f"ipam.dataDir {configured!r} is no absolute path")
    return below(root, configured)


def lock_files(request: Request, root: Path) -> tuple[Path, ...]:
    """The files for the attachments' locks: the second one where the first cannot be written."""
    return index_of(data_dir(request, root)) / ".lock", below(root, _SPARE_LOCK)


def range_sets(request: Request) -> tuple[RangeSet, ...]:
    """The range sets of a request: the runtime's, then the configured ones."""
    return _sets_of(request.conf)


@lru_cache(CACHED_CONFS)
def _sets_of(conf: NetConf) -> tuple[RangeSet, ...]:
    sets = (*conf.runtime_config.sets(), *conf.ipam.sets())
    check_sets(sets)
    return sets


def requested(request: Request) -> list[Address]:
    """The addresses that CNI_ARGS, ``args.cni`` and the runtime request."""
    conf = request.conf
    addresses = (*request.args.ips, *conf.args.cni.ips, *conf.runtime_config.ips)
    return [item.ip for item in addresses]


def _choose(
    store: ReservationStore, ranges: RangeSet, index: int, wanted: Address | None
) -> ChosenAddress:
    if wanted is None:
        choice = _next(store, ranges, index)
        if choice is None:
            raise AddressesExhaustedError(f"no free address in {describe(ranges)}", _holders(store))
        return choice
    within = range_of(wanted, ranges)
    if within is None or not store.is_free(wanted):
        holder = next((owner for taken, owner in store.reservations() if taken == wanted), None)
        raise InvalidConfigurationError(
            f"requested address {wanted} is not available",
            f"held by {_describe(holder)}" if holder else "",
        )
    return ChosenAddress(index, wanted, within)


def _next(store: ReservationStore, ranges: RangeSet, index: int) -> ChosenAddress | None:
    address = store.first_free(candidates(ranges, store.last(index)))
    within = None if address is None else range_of(address, ranges)
    return None if address is None or within is None else ChosenAddress(index, address, within)


def _holders(store: ReservationStore) -> str:
    """The holders of the addresses, for the error of an exhausted range."""
    held = [
        f"{address} {_describe(owner)}"
        for address, owner in sorted(
            store.reservations(), key=lambda item: (item[0].version, int(item[0]))
        )
    ]
    more = f" and {len(held) - _SHOWN_HOLDERS} more" if len(held) > _SHOWN_HOLDERS else ""
    return "held: " + "; ".join(held[:_SHOWN_HOLDERS]) + more


def _owner(request: Request) -> Owner:
    return Owner(request.container_id, request.ifname)


def _describe(owner: Owner) -> str:
    return f"container {owner.container_id} interface {owner.ifname or '?'}"


def _list(addresses: Sequence[Address]) -> str:
    return ", ".join(map(str, addresses))
