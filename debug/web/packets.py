"""Packets that are there, for the page: those that came last, and a stream of them.

A thread hears them. It waits for nobody: what the page does not take in time is counted, and left
out. All that is kept is bounded.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncGenerator
from contextlib import suppress
from threading import Event, Lock

from msgspec import Struct
from msgspec.structs import replace

from control.reported import ReportedError
from debug.output import defect
from debug.trace.model import PacketTrace, Step
from debug.web.live import Listen

MOST_KEPT = 100  # packets that can be opened
_MOST_WAITING = 100  # packets, and as many notes
_MOST_PACKETS = 10_000  # of one stream, which then ends
_MOST_STEPS = 200  # of one packet
_LONGEST = 300  # letters of a text
_PAUSE = 0.25  # seconds for which packets are gathered
_OTHER = "another window listens now"
_ENOUGH = f"{_MOST_PACKETS} packets were shown: press Listen to go on"


class Line(Struct, frozen=True, omit_defaults=True):
    """A packet as one line of the page's list."""

    number: int  # by which it is opened
    name: str
    outcome: str
    where: str
    way: tuple[str, ...]  # the places that it passed
    why: str = ""
    time: float | None = None  # milliseconds since the listening began


class Batch(Struct, frozen=True, omit_defaults=True):
    """What the page is told at once. After ``end``, which says why, nothing comes."""

    packets: tuple[Line, ...] = ()
    notes: tuple[str, ...] = ()
    missed: int = 0  # packets that came faster than the page took them
    end: str = ""


class Inbox:
    """What the thread has heard and the page has not taken yet."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._packets: list[PacketTrace] = []
        self._notes: list[str] = []
        self._missed = 0

    def put(self, heard: PacketTrace | str) -> None:
        """Keep what was heard, or count it. It never waits."""
        with self._lock:
            if isinstance(heard, str):
                if len(self._notes) < _MOST_WAITING:
                    self._notes.append(heard[:_LONGEST])
            elif len(self._packets) < _MOST_WAITING:
                self._packets.append(_cut(heard))
            else:
                self._missed += 1

    def take(self) -> tuple[list[PacketTrace], list[str], int]:
        """Return all that is kept, and how many packets were not."""
        with self._lock:
            taken = self._packets, self._notes, self._missed
            self._packets, self._notes, self._missed = [], [], 0
        return taken


class Packets:
    """The packets of the one window that listens: the one that has asked last."""

    def __init__(self, listen: Listen | None) -> None:
        self._listen = listen
        self._kept: OrderedDict[int, PacketTrace] = OrderedDict()
        self._number = 0
        self._asked, self._why = 0, ""
        self._one_at_a_time = asyncio.Lock()
        self._stop = Event()

    def close(self, why: str = "podwire web ends") -> None:
        """End the listening, and say why."""
        self._asked += 1
        self._why = why
        self._stop.set()

    def packet(self, number: int) -> PacketTrace | None:
        """Return a packet that is still kept."""
        return self._kept.get(number)

    async def heard(self, text: str) -> AsyncGenerator[Batch, None]:
        """Yield what fits a filter as it comes, until after a batch with an end.

        Who asks while another one listens ends that one. Closing it ends the listening.
        """
        if self._listen is None:
            yield Batch(end="nothing can be heard here")
            return
        self.close(_OTHER)
        mine = self._asked
        async with self._one_at_a_time:
            if mine != self._asked:
                yield Batch(end=self._why)
                return
            self._stop, inbox = Event(), Inbox()
            hearing = asyncio.to_thread(self._listen, text, inbox.put, self._stop)
            thread = asyncio.create_task(hearing)
            try:
                async for batch in self._batches(inbox, thread):
                    yield batch
            finally:
                self._stop.set()
                with suppress(Exception):  # it was told
                    await asyncio.shield(thread)

    async def _batches(
        self, inbox: Inbox, thread: asyncio.Task[None]
    ) -> AsyncGenerator[Batch, None]:
        shown = 0
        while True:
            await asyncio.wait([thread], timeout=_PAUSE)
            done = thread.done()  # before what it has put is taken
            packets, notes, missed = inbox.take()
            shown += len(packets)
            end = _told(thread) or self._why if done else _ENOUGH if shown >= _MOST_PACKETS else ""
            if packets or notes or missed or end:
                yield Batch(tuple(self._keep(one) for one in packets), tuple(notes), missed, end)
            if end:
                return

    def _keep(self, packet: PacketTrace) -> Line:
        self._number += 1
        self._kept[self._number] = packet
        while len(self._kept) > MOST_KEPT:
            self._kept.popitem(last=False)
        return _line(self._number, packet)


def _told(thread: asyncio.Task[None]) -> str:
    """Return why a thread has failed; "" if it has not."""
    err = thread.exception()
    if err is None:
        return ""
    if isinstance(err, ReportedError | OSError):
        return str(err)
    return defect(err)


def _cut(packet: PacketTrace) -> PacketTrace:
    """Return a packet with at most ``_MOST_STEPS`` steps."""
    left, hops = _MOST_STEPS, []
    for hop in packet.hops:
        hops.append(replace(hop, steps=hop.steps[:left]))
        left -= len(hops[-1].steps)
        if not left:
            break
    return replace(packet, hops=tuple(hops))


def _line(number: int, packet: PacketTrace) -> Line:
    steps: list[Step] = [step for hop in packet.hops for step in hop.steps]
    return Line(
        number=number,
        name=packet.name[:_LONGEST],
        outcome=packet.outcome,
        where=packet.where,
        why=packet.why[:_LONGEST],
        way=tuple(hop.place for hop in packet.hops),
        time=next((step.time for step in steps if step.time is not None), None),
    )
