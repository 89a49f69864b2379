"""What the maps should hold, kept up to date frontend by frontend, and the way there: pure.

A pool is never changed: other endpoints are another pool, under a number of its own, and one write
of a frontend goes from the old one to the new. Frontends with the same endpoints share a pool.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import count

from proxy.claims import Claim, Step
from proxy.desired import Forward, Frontend, Masquerade, Refusal
from proxy.ebpf.layout import (
    PRESENT,
    Entry,
    Pool,
    pack_frontend,
    pack_member,
    pack_slot,
    pack_target,
)
from proxy.model import Protocol, Target

_HOOKED = (Protocol.TCP, Protocol.UDP)

Targets = tuple[Target, ...]


@dataclass(frozen=True, slots=True)
class Change:
    """Writes by map, in this order: new pools, frontends, frontends that go, pools that go."""

    endpoints: dict[bytes, bytes] = field(default_factory=dict)
    members: dict[bytes, bytes] = field(default_factory=dict)
    frontends: dict[bytes, bytes] = field(default_factory=dict)
    gone_frontends: list[bytes] = field(default_factory=list)
    gone_endpoints: list[bytes] = field(default_factory=list)
    gone_members: list[bytes] = field(default_factory=list)

    def add(self, pool: Pool, targets: Targets) -> None:
        """Write a pool."""
        for number, target in enumerate(targets):
            self.endpoints[pack_slot(pool.number, number)] = pack_target(target)
        self.members.update((key, PRESENT) for key in _members(pool, targets))

    def drop(self, pool: Pool, targets: Targets) -> None:
        """Remove a pool."""
        self.gone_endpoints.extend(pack_slot(pool.number, n) for n in range(pool.count))
        self.gone_members.extend(_members(pool, targets))


def _members(pool: Pool, targets: Targets) -> set[bytes]:
    exact = {pack_member(pool.number, target) for target in targets}
    return exact | {pack_member(pool.number, target._replace(port=0)) for target in targets}


@dataclass(slots=True)
class _Held:
    """A pool, and how many frontends use it."""

    pool: Pool
    users: int = 0


class Table:
    """The maps' contents, both families in one."""

    def __init__(self) -> None:
        self._pools: dict[Targets, _Held] = {}
        self._frontends: dict[Frontend, Entry] = {}
        self._numbers = count(1)

    def advance(self, steps: Iterable[Step]) -> Change:
        """Follow the claims; returns what has to change in maps that hold the state before."""
        change = Change()
        released: dict[Targets, None] = {}
        for frontend, before, after in steps:
            was = self._frontends.pop(frontend, None)
            now = self._enter(frontend, after, change) if after else None
            key = pack_frontend(frontend.family, frontend.address, frontend.port, frontend.protocol)
            if now is None:
                change.gone_frontends.extend([key] if was else [])
            elif now != was:
                change.frontends[key] = now.pack()
            released.update(dict.fromkeys(self._leave(before)))
        for targets in released:
            if not self._pools[targets].users:
                change.drop(self._pools.pop(targets).pool, targets)
        return change

    def _enter(self, frontend: Frontend, claim: Claim, change: Change) -> Entry:
        entry = self._frontends[frontend] = self._entry(claim, change)
        return entry

    def _entry(self, claim: Claim, change: Change) -> Entry:
        forward = claim.forward
        if not is_hooked(claim):
            return Entry(by_packets=True)
        by_origin = forward.masquerade is Masquerade.THIS_NODE
        return Entry(
            pool=self._acquire(forward.targets, change),
            inside=self._acquire(forward.inside or (), change) if by_origin else None,
            masquerade=forward.masquerade,
            rejects=forward.refusal is Refusal.REJECT,
        )

    def _acquire(self, targets: Targets, change: Change) -> Pool:
        held = self._pools.get(targets)
        if held is None:
            held = self._pools[targets] = _Held(Pool(next(self._numbers), len(targets)))
            change.add(held.pool, targets)
        held.users += 1
        return held.pool

    def _leave(self, claim: Claim | None) -> list[Targets]:
        """The pools that a claim used, which may be left to nobody now."""
        if claim is None or not is_hooked(claim):
            return []
        used = _pools(claim.forward)
        for targets in used:
            self._pools[targets].users -= 1
        return used


def is_hooked(claim: Claim) -> bool:
    """Whether a hook can do what the claim asks for. Source ranges need a packet's source, sticky
    clients the memory that nftables has, and SCTP has no hook.
    """
    forward = claim.forward
    plain = forward.sources is None and forward.affinity is None
    return plain and claim.portal.protocol in _HOOKED


def _pools(forward: Forward) -> list[Targets]:
    by_origin = forward.masquerade is Masquerade.THIS_NODE
    return [forward.targets, *([forward.inside or ()] if by_origin else [])]
