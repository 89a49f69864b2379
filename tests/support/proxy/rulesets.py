"""The backends' rules and maps, kept in fake kernels."""

import struct
from collections import Counter
from collections.abc import Sequence
from functools import partial
from ipaddress import ip_address

from proxy.backends.ebpf.contents import MapChanges
from proxy.backends.ebpf.layout import ROW
from proxy.backends.iptables.load import load
from proxy.backends.iptables.observe import parse
from proxy.backends.iptables.ruleset import IptablesRuleset
from proxy.backends.nftables.backend import NftablesFamily
from proxy.backends.nftables.objects import Draws, Element
from proxy.backends.nftables.observe import ObservedTable
from proxy.backends.nftables.transaction import Transaction
from proxy.desired.claims import ClaimResolver
from proxy.desired.tracker import Tracker
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Endpoint, Family, Port, Protocol, Service, Slice, Target
from tests.support.proxy.fake_iptables import FakeIptables
from tests.support.proxy.fake_nft import FakeNft
from tests.support.proxy.strategies import NODE, SETTINGS


def start_iptables(
    kernel: FakeIptables, family: Family, want, chunk=None, watch=lambda: None
) -> IptablesRuleset:
    """Do as the backend does when it starts."""
    ruleset = IptablesRuleset(family, SETTINGS)
    ruleset.update(want, NODE)
    for step in load(ruleset, parse(kernel.save()), chunk):
        kernel.restore(step.text())
        watch()
    return ruleset


def many_services(count: int) -> Tracker:
    """Return a tracker with ``count`` Services of four endpoints."""
    tracker = Tracker(NODE, (Family.V4,))
    for number in range(count):
        key = ("ns", f"svc-{number}")
        ports = (Port("http", Protocol.TCP, 80),)
        tracker.set_service(key, Service(key, ports, (ip_address("10.96.0.0") + number,)))
        tracker.set_slice(key, Slice(key, {("http", Protocol.TCP): four_endpoints(number)}))
    return tracker


def four_endpoints(number: int) -> tuple[Endpoint, ...]:
    first = ip_address("10.244.0.0") + 4 * number
    return tuple(Endpoint(Target.of(first + one, 8080)) for one in range(4))


class FakeNftNode:
    """A backend for one family, with a fake kernel."""

    def __init__(self, kernel: FakeNft, family: Family = Family.V4) -> None:
        self.kernel = kernel
        self.texts: list[str] = []
        self.broken = False
        self.ends_after: int | None = None  # commits, after which the next one fails
        self.hidden = False  # whether the kernel does not tell what it holds
        self._claims = ClaimResolver(SETTINGS)
        self._backend = NftablesFamily(
            self, self._observe, family, SETTINGS, self._claims, partial(partial, self._write)
        )
        self._family = family

    def commit(self, text: str) -> None:
        self.texts.append(text)
        if self.broken or len(self.texts) - 1 == self.ends_after:
            raise KernelRefusedError("broken")
        self.kernel.commit(text)

    def _write(self, family: Family, elements: Sequence[Element | Draws]) -> None:
        put = tuple(one for one in elements if isinstance(one, Element))
        draws = tuple(one for one in elements if isinstance(one, Draws))
        self.commit(Transaction(put, draws=draws).text(family))

    def _observe(self, _: Family) -> ObservedTable:
        if self.hidden:
            raise KernelRefusedError("hidden")
        sorts = {sort: [] for sort in ("map", "set")}
        for name, (sort, _spec) in self.kernel.specs.items():
            sorts[sort].append(name)
        return ObservedTable(tuple(self.kernel.chains), tuple(sorts["map"]), tuple(sorts["set"]))

    def forget(self) -> None:
        self._backend.forget()

    def apply(self, tracker: Tracker) -> None:
        steps = self._claims.update(tracker.desired())
        mine = [one for one in steps if one.frontend.family is self._family]
        self._backend.prepare(mine, NODE)()


class FakeMaps:
    """The kernel's maps. Removing an absent entry is an error."""

    def __init__(self) -> None:
        self.endpoints: dict[bytes, bytes] = {}
        self.members: dict[bytes, bytes] = {}
        self.seats: dict[bytes, bytes] = {}
        self.ranges: dict[bytes, bytes] = {}
        self.frontends: dict[bytes, bytes] = {}

    def write(self, change: MapChanges) -> None:
        self.endpoints |= change.endpoints
        self.members |= change.members
        self.seats |= change.seats
        self.ranges |= change.ranges
        self.frontends |= change.frontends
        for key in change.gone_frontends:
            del self.frontends[key]
        for key in change.gone_endpoints:
            del self.endpoints[key]
        for key in change.gone_members:
            del self.members[key]
        for key in change.gone_seats:
            del self.seats[key]
        for key in change.gone_ranges:
            del self.ranges[key]

    def meaning(self) -> dict[bytes, object]:
        """Return the meaning of each frontend, without the numbers of pools."""
        return {key: self._forward(value) for key, value in self.frontends.items()}

    def _forward(self, value: bytes) -> object:
        numbers = [int.from_bytes(value[at : at + 4], "little") for at in (0, 4, 8, 12)]
        pools = [self._pool(*numbers[:2]), self._pool(*numbers[2:])]
        ranges = int.from_bytes(value[28:32], "little")
        return pools, value[16:28], ranges and self._admitted(ranges), value[32:]

    def _dealt(self, head: bytes, count: int) -> list[int]:
        """Return the slot of every seat."""
        rows = (self.seats[head + row.to_bytes(4, "little")] for row in range(-(-count // ROW)))
        return [slot for row in rows for (slot,) in struct.iter_unpack("=H", row)][:count]

    def _admitted(self, number: int) -> set[bytes]:
        """Return source ranges, without the number of their set."""
        assert number
        return {key[:4] + key[8:] for key in self.ranges if key[4:8] == number.to_bytes(4, "big")}

    def _pool(self, number: int, count: int) -> tuple[Counter[bytes], set[bytes]]:
        """Return the endpoints, and the addresses that are members with any port."""
        head = number.to_bytes(4, "little")
        slots = self._dealt(head, count) if self.seats else range(count)
        found = [self.endpoints[head + slot.to_bytes(4, "little")] for slot in slots]
        assert all(head + one in self.members for one in found)
        return Counter(found), self.callers(head)

    def callers(self, head: bytes = b"") -> set[bytes]:
        """Return the addresses that are members with any port, of one pool or of all."""
        anywhere = [key for key in self.members if key.startswith(head) and key[20:22] == bytes(2)]
        return {key[4:20] for key in anywhere}
