"""Sends probes, and listens until each has arrived and its answer is back."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, field

from debug.places import Place, entered
from debug.trace.packet import Packet, parse
from debug.trace.probe import Direction, Probe, Recognizer
from debug.trace.rules import table_name, tables
from debug.trace.send import Sender, answer, build
from debug.trace.sought import of_probe
from debug.trace.watch.nftrace import NftTrace
from debug.trace.watch.spaces import Seen, Watch, until
from debug.trace.watch.taps import Tapped

_QUIET = 0.05  # seconds without an event after which a packet is not on its way any more
_RUSH = 1.0  # seconds beyond the patience in which what waits is read
_BUSY = "what came last: events come faster here than they are read"


@dataclass(slots=True)
class Observed:
    """All that was seen of one probe."""

    probe: Probe
    source: Place
    started: int  # nanoseconds since 1970
    seen: list[Seen] = field(default_factory=list)
    links: dict[Place, dict[int, str]] = field(default_factory=dict)
    unseen: list[str] = field(default_factory=list)


def observe(
    probe: Probe, source: Place, places: Sequence[Place], patience: float, pid: int
) -> Observed:
    """Send a probe, and return what was seen; waits ``patience`` seconds for an answer.

    Raises OSError if this cannot be done in the source, PlaceError.
    """
    packet = build(probe)
    name = table_name(pid)
    with listening(probe, source, places, name) as watch:
        with entered(source):
            sender = Sender(probe)
        with closing(sender):
            found = Observed(probe, source, time.time_ns(), links=watch.links, unseen=watch.blind)
            try:
                sender.send(packet, probe.flow.destination)
            except OSError as err:
                found.unseen.append(f"{source.name}: the kernel refused to send: {err.strerror}")
            _Conversation(found, watch, sender, name).follow(patience)
        found.unseen += watch.lost()
    return found


@contextmanager
def listening(probe: Probe, source: Place, places: Sequence[Place], name: str) -> Iterator[Watch]:
    """Listen to a probe meanwhile, with tables of a name."""
    with closing(Watch(of_probe(probe))) as watch:
        for place in dict.fromkeys((source, *places)):
            quiet = probe.handshake and place == source
            watch.add(place, tables(probe, name, quiet=quiet), needed=quiet)
        watch.add_drops(probe.mark, probe.end, probe.flow.source_port or 0)
        watch.await_stamps()
        yield watch


@dataclass(slots=True)
class _Conversation:
    found: Observed
    watch: Watch
    sender: Sender
    table: str
    answered: bool = False
    _recognizer: Recognizer = field(init=False)

    def __post_init__(self) -> None:
        self._recognizer = Recognizer(self.found.probe)

    def follow(self, patience: float) -> None:
        """Listen until the answer came and nothing more comes, or the patience ends.

        Where others' connections never cease, it ends too: all of a place's events come.
        """
        deadline = time.monotonic() + patience
        while True:
            limit = until(deadline)
            events = self.watch.read(min(limit, _QUIET) if self.answered else limit)
            self.found.seen += (one for one in events if not self._is_ours(one))
            if not events and (self.answered or not limit):
                return
            if time.monotonic() > deadline + _RUSH:
                self.found.unseen.append(_BUSY)
                return
            for one in events:
                self._hear(one)

    def _is_ours(self, one: Seen) -> bool:
        return isinstance(one.event, NftTrace) and one.event.table == self.table

    def _hear(self, one: Seen) -> None:
        if one.place != self.found.source or not isinstance(one.event, Tapped):
            return
        packet = parse(one.event.data)
        identity = packet and self._recognizer.identify(packet)
        if not packet or not identity or one.event.out:
            return
        if identity.direction is Direction.REPLY:
            self.answered = True
            if self.found.probe.handshake and packet.flow.protocol == "tcp":
                self._reply(packet)

    def _reply(self, packet: Packet) -> None:
        """Go on with the handshake: acknowledge, then end the connection."""
        probe, flow = self.found.probe, self.found.probe.flow
        if packet.kind == "SYN-ACK":
            for flags in ("A", "FA"):
                self.sender.send(answer(probe, packet, flags), flow.destination)
        elif "FIN" in packet.kind:
            self.sender.send(answer(probe, packet, "A"), flow.destination)
