"""The desired contents of the maps, kept up to date frontend by frontend: pure.

A pool is never changed. Other endpoints are another pool with a number of its own, and one write of
a frontend switches from the old pool to the new one. Frontends with the same endpoints share a
pool; so do those with the same source ranges.
"""

from collections.abc import Iterable
from typing import NamedTuple

from msgspec import Struct

from proxy.backends.ebpf.counters import number_of_portal
from proxy.backends.ebpf.layout import (
    LASTING,
    PRESENT,
    ROW,
    ForwardEntry,
    Pool,
    pack_admitted,
    pack_callers,
    pack_frontend,
    pack_members,
    pack_seats,
    pack_slot,
    pack_slots,
    pack_targets,
)
from proxy.backends.ebpf.maglev import seats, size_for
from proxy.backends.ebpf.options import DEFAULTS, EbpfOptions
from proxy.desired.claims import FrontendClaim, WinnerChange
from proxy.desired.portals import Frontend, FrontendKind, Masquerade, RefusalAction
from proxy.model.values import Balance, Network, Protocol, Target

_SERVED = (Protocol.TCP, Protocol.UDP)

Targets = tuple[Target, ...]


class SourceRanges(Struct, frozen=True):
    """The only sources that may reach a Service."""

    networks: tuple[Network, ...]


class Endpoints(NamedTuple):
    """The endpoints of a pool.

    New calls choose among ``targets``. ``lasting`` are others, which keep the UDP sockets that they
    have: they terminate but serve, or hints and policies choose others now. ``callers`` are those
    packed addresses of ``targets`` whose Pods may be on this node, where they may call themselves.
    """

    targets: Targets
    lasting: Targets = ()
    callers: tuple[bytes, ...] = ()


Part = Endpoints | SourceRanges  # frontends share these by number


class MapChanges(Struct, frozen=True):
    """Writes for each map, in the order of their use.

    First come the parts that frontends need, then frontends, then frontends to remove, then parts
    that no frontend needs any more.
    """

    endpoints: dict[bytes, bytes] = {}
    seats: dict[bytes, bytes] = {}
    members: dict[bytes, bytes] = {}
    ranges: dict[bytes, bytes] = {}
    frontends: dict[bytes, bytes] = {}
    gone_frontends: list[bytes] = []
    gone_endpoints: list[bytes] = []
    gone_seats: list[bytes] = []
    gone_members: list[bytes] = []
    gone_ranges: list[bytes] = []

    def add(self, number: int, part: Part) -> None:
        """Write a part under its number."""
        if isinstance(part, SourceRanges):
            self.ranges.update(
                (pack_admitted(number, network), PRESENT) for network in part.networks
            )
            return
        packed = pack_targets(part.targets)
        self.endpoints.update(zip(pack_slots(number, len(packed)), packed, strict=True))
        self.members.update(dict.fromkeys(pack_members(number, packed), PRESENT))
        if part.callers:
            self.members.update(dict.fromkeys(pack_callers(number, part.callers), PRESENT))
        if part.lasting:
            lasting = pack_members(number, pack_targets(part.lasting))
            self.members.update(dict.fromkeys(lasting, LASTING))

    def drop(self, number: int, part: Part) -> None:
        """Remove a part."""
        if isinstance(part, SourceRanges):
            self.gone_ranges.extend(
                pack_admitted(number, network) for network in set(part.networks)
            )
            return
        self.gone_endpoints.extend(pack_slots(number, len(part.targets)))
        members = pack_members(number, pack_targets({*part.targets, *part.lasting}))
        self.gone_members.extend((*members, *pack_callers(number, part.callers)))


class _SharedPart(Struct):
    """The number of a part, and how many frontends use it."""

    number: int
    users: int = 0


class MapContents:
    """The contents of the maps, for both families."""

    def __init__(self, options: EbpfOptions = DEFAULTS) -> None:
        self._options = options
        self._parts: dict[Part, _SharedPart] = {}
        self._frontends: dict[Frontend, ForwardEntry] = {}
        self._next = 1  # the number of the next part

    def advance(self, steps: Iterable[WinnerChange]) -> MapChanges:
        """Follow the claims. Return the changes for maps that hold the state before.

        ``steps`` are the changed frontends.
        """
        change = MapChanges()
        released: dict[Part, None] = {}
        for frontend, before, after in steps:
            was = self._frontends.pop(frontend, None) if before else None
            now = self._enter(frontend, after, change) if after else None
            key = pack_frontend(frontend.family, frontend.address, frontend.port, frontend.protocol)
            if now is None:
                change.gone_frontends.extend([key] if was else [])
            elif now != was:
                change.frontends[key] = now.pack()
            if before:
                released.update(dict.fromkeys(self._leave(before)))
        for part in released:
            if not self._parts[part].users:
                self._drop(part, change)
        return change

    def _drop(self, part: Part, change: MapChanges) -> None:
        number = self._parts.pop(part).number
        change.drop(number, part)
        if self._options.by_hash and not isinstance(part, SourceRanges) and part.targets:
            rows = -(-size_for(len(part.targets)) // ROW)
            change.gone_seats.extend(pack_slot(number, row) for row in range(rows))

    def _enter(self, frontend: Frontend, claim: FrontendClaim, change: MapChanges) -> ForwardEntry:
        entry = self._frontends[frontend] = self._entry(claim, change)
        return entry

    def _entry(self, claim: FrontendClaim, change: MapChanges) -> ForwardEntry:
        if not is_served(claim):
            return ForwardEntry(by_nftables=True)
        forward, inside = claim.forward, self._inside(claim)
        sources = None if forward.sources is None else SourceRanges(forward.sources)
        return ForwardEntry(
            pool=self._pool(_endpoints(claim, forward.targets), change),
            inside=None if inside is None else self._pool(inside, change),
            portal=number_of_portal(claim.portal),
            affinity=forward.affinity or 0,
            ranges=0 if sources is None else self._acquire(sources, change),
            masquerade=forward.masquerade,
            rejects=forward.refusal is RefusalAction.REJECT,
            direct=self._is_direct(claim),
            least_connections=forward.balance is Balance.LEAST_CONNECTIONS,
        )

    def _inside(self, claim: FrontendClaim) -> Endpoints | None:
        """Return the second pool: for clients on this node, or with ``direct`` of endpoints on this
        node.
        """
        if claim.forward.masquerade is Masquerade.THIS_NODE:
            return _endpoints(claim, claim.forward.inside or ())
        return Endpoints(claim.portal.local) if self._is_direct(claim) else None

    def _is_direct(self, claim: FrontendClaim) -> bool:
        """Return True if the endpoint's node may answer by itself.

        All nodes must know the same endpoints, and the address must be one that nodes share.
        """
        shared = claim.kind in (FrontendKind.LOAD_BALANCER, FrontendKind.EXTERNAL_IP)
        everyone = not claim.portal.external_local and not claim.portal.is_narrowed
        plain = claim.forward.affinity is None
        return self._options.direct and shared and everyone and plain

    def _pool(self, part: Endpoints, change: MapChanges) -> Pool:
        count = len(part.targets)
        if count and self._options.by_hash:
            count = size_for(count)
        return Pool(self._acquire(part, change), count)

    def _acquire(self, part: Part, change: MapChanges) -> int:
        fresh = _SharedPart(self._next)
        shared = self._parts.setdefault(part, fresh)  # one look: it hashes every endpoint
        if shared is fresh:
            self._next += 1
            change.add(shared.number, part)
            if self._options.by_hash and not isinstance(part, SourceRanges):
                change.seats.update(pack_seats(shared.number, seats(part.targets)))
        shared.users += 1
        return shared.number

    def _leave(self, claim: FrontendClaim) -> list[Part]:
        """Release the parts that a claim used; return those parts, which may be unused now."""
        if not is_served(claim):
            return []
        used = self._uses(claim)
        for part in used:
            self._parts[part].users -= 1
        return used

    def _uses(self, claim: FrontendClaim) -> list[Part]:
        inside, sources = self._inside(claim), claim.forward.sources
        used: list[Part] = [_endpoints(claim, claim.forward.targets)]
        if inside is not None:
            used.append(inside)
        return used if sources is None else [*used, SourceRanges(sources)]


def _endpoints(claim: FrontendClaim, targets: Targets) -> Endpoints:
    lasting, near = claim.portal.lasting, claim.portal.neighbors
    if not lasting and not near:  # of most Services
        return Endpoints(targets)
    chosen, addresses = set(targets), {target.packed for target in targets}
    return Endpoints(
        targets,
        tuple([target for target in lasting if target not in chosen]),
        tuple([address for address in near if address in addresses]),
    )


def is_served(claim: FrontendClaim) -> bool:
    """Return True if the programs can serve the claim: they parse TCP and UDP."""
    return claim.portal.protocol in _SERVED
