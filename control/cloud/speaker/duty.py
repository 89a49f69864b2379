"""One node's part in announcing: frames and facts come in, frames go out. No sockets, no clock.

Each tick: who is silent is dead, and its addresses get other leaders; this node beats if it leads;
addresses that came, or that somebody else claims, are announced again.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv6Address

from control.cloud.speaker import frames
from control.cloud.speaker.choose import Candidates, leaders
from control.cloud.speaker.frames import MAC, Announced, Beat, Question
from control.cloud.speaker.members import Members
from control.cloud.speaker.views import Address

_REPEATS = 5  # announcements of an address that came, one a tick: frames may be lost


@dataclass(slots=True)
class Tally:
    """How often each address was asked for, answered, and announced unasked, by this node."""

    asked: Counter[Address] = field(default_factory=Counter)
    answered: Counter[Address] = field(default_factory=Counter)
    announced: Counter[Address] = field(default_factory=Counter)

    def keep(self, known: Mapping[Address, object]) -> None:
        """Forget all addresses but these."""
        for counts in (self.asked, self.answered, self.announced):
            for address in [each for each in counts if each not in known]:
                del counts[address]


class Duty:
    """What this node announces."""

    def __init__(self, node: str, mac: MAC) -> None:
        self._node, self._mac = node, mac
        self.tally = Tally()
        self._members = Members(node)
        self._may: Candidates = {}
        self._leaders: Mapping[Address, str] = {}
        self._mine: frozenset[Address] = frozenset()
        self._left: dict[Address, int] = {}  # announcements that an address still needs

    @property
    def addresses(self) -> frozenset[Address]:
        """The addresses that this node announces."""
        return self._mine

    @property
    def idle(self) -> bool:
        """True if no node announces anything: nobody beats, and no tick is needed."""
        return not self._leaders

    @property
    def dead(self) -> frozenset[str]:
        """The nodes that ought to announce, and are silent."""
        return self._members.dead

    def decide(self, may: Candidates) -> Iterator[bytes]:
        """Take new facts: which nodes may announce each address. Yield the frames to send."""
        self._may = may
        self.tally.keep(may)
        self._members.forget({name for names in may.values() for name in names})
        yield from self._elect()

    def take(self, frame: bytes) -> Iterator[bytes]:
        """Take a frame from the network; yield the frames to send."""
        heard = frames.parse(frame)
        if isinstance(heard, Question):
            if self._leads(heard.target):
                self.tally.asked[heard.target] += 1
                yield frames.answer(heard, self._mac)
                self.tally.answered[heard.target] += 1
        elif isinstance(heard, Announced):
            if heard.mac != self._mac and self._leads(heard.address):
                self._left.setdefault(heard.address, 1)
        elif isinstance(heard, Beat) and self._members.heard(heard.node):
            yield from self._elect()

    def tick(self) -> Iterator[bytes]:
        """Count one tick, after what had arrived was taken; yield the frames to send."""
        if self._members.tick():
            yield from self._elect()
        if self._mine:
            yield frames.beat(self._mac, self._node)
        for address, left in list(self._left.items()):
            yield from self._announce(address)
            if left > 1:
                self._left[address] = left - 1
            else:
                del self._left[address]

    def _leads(self, address: Address) -> bool:
        return self._leaders.get(address) == self._node

    def _elect(self) -> Iterator[bytes]:
        """Compute the leaders; announce at once what came to this node."""
        before = self._mine
        self._leaders = leaders(self._may, self._members.dead)
        self._members.expect(frozenset(self._leaders.values()))
        mine = frozenset(a for a, leader in self._leaders.items() if leader == self._node)
        self._mine = mine
        self._left = {a: left for a, left in self._left.items() if a in mine}
        if mine and not before:
            yield frames.beat(self._mac, self._node)
        for address in mine - before:
            self._left[address] = _REPEATS
            yield from self._announce(address)

    def _announce(self, address: Address) -> Iterator[bytes]:
        for frame in frames.gratuitous(address, self._mac):
            yield frame
            self.tally.announced[address] += 1


def listens(addresses: frozenset[Address]) -> frozenset[IPv6Address]:
    """Return the addresses whose questions come as multicast."""
    return frozenset(address for address in addresses if isinstance(address, IPv6Address))
