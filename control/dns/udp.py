"""Serves UDP in a blocking loop, a thread a socket: four times as fast as asyncio's datagrams.

A response is kept under its query's bytes, so that the same question costs one look into a
dictionary. The zone's change drops them all by putting another dictionary in place; a thread that
still computes a response adds it to the old one, where nobody finds it.
"""

import logging
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import cycle
from time import perf_counter
from typing import Any

from control.dns.answer import Answer, Answerer, Pending
from control.dns.metrics import QUICK, Cell, Cells
from control.dns.upstream.forwarder import Forwarder
from control.dns.upstream.reply import Reply

logger = logging.getLogger(__name__)

MOST_QUERY = 4096  # bytes; what is longer is cut, and then malformed
MOST_KEPT = 20_000  # responses; each has at most 1232 bytes, and as many variants as addresses
Kept = dict[bytes, tuple[Callable[[], bytes], Cell]]
Address = Any  # a peer, as the socket gives it
Log = Callable[[Address, bytes, bytes], None]


@dataclass(slots=True)
class Shared:
    """What the threads and the event loop share; a change replaces ``generation``."""

    generation: object = field(default_factory=object)

    def changed(self) -> None:
        """Drop every response that is kept."""
        self.generation = object()


class _Stopped(Exception):  # noqa: N818  # not an error: the end of the loop
    """The thread is to end."""


class UdpServer:
    """Answers on one socket."""

    def __init__(
        self,
        sock: socket.socket,
        answerer: Answerer,
        shared: Shared,
        log: Log | None = None,
        forwarder: Forwarder | None = None,
    ) -> None:
        self._socket, self._answerer, self._shared = sock, answerer, shared
        self._log, self._forwarder = log, forwarder
        self._stopping = False
        self._address = sock.getsockname()
        family = 1 if sock.family == socket.AF_INET else 2
        self.cells = Cells("udp", family)
        self.later_cells = Cells("udp", family)  # of the event loop: a cell has one thread

    def start(self) -> threading.Thread:
        """Serve in a thread, which ends with the process, or after ``stop``."""
        thread = threading.Thread(target=self._until_stopped, name="udp", daemon=True)
        thread.start()
        return thread

    def _until_stopped(self) -> None:
        with suppress(_Stopped), self._socket:
            self.serve()

    def stop(self) -> None:
        """Have the thread close the socket and end; an empty packet wakes it up.

        Any other packet does, too: then the socket may be closed before that one is sent.
        """
        self._stopping = True
        with socket.socket(self._socket.family, socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", self._address)

    def serve(self) -> None:
        """Answer for ever. This is the hot loop: local names, and no call for what is kept."""
        receive, send, shared = self._socket.recvfrom, self._socket.sendto, self._shared
        kept: Kept = {}
        generation = shared.generation
        while True:
            try:
                packet, peer = receive(MOST_QUERY)
                began = perf_counter()
                if generation is not shared.generation:
                    generation = shared.generation
                    kept = {}
                entry = kept.get(packet[2:])
                if entry is None:
                    self._answer(packet, peer, kept, began)
                    continue
                turn, cell = entry
                send(packet[:2] + turn(), peer)
                seconds = perf_counter() - began
                if seconds > QUICK:
                    cell.add(seconds)
                else:
                    cell.count += 1
                    cell.seconds += seconds
            except OSError as err:  # of one peer: it is unreachable, say
                logger.debug("udp: %s", err)

    def _answer(self, packet: bytes, peer: Address, kept: Kept, began: float) -> None:
        if self._stopping:
            raise _Stopped
        found = self._answerer.answer(packet, tcp=False)
        if isinstance(found, Pending):
            found = self._hand_over(found, packet, peer, began)
        if found is None:
            return
        cell = self._send(found, packet, peer, began, self.cells)
        if found.stable and self._log is None:
            self._keep(packet, found, cell, kept)

    def _send(
        self, found: Answer, packet: bytes, peer: Address, began: float, cells: Cells
    ) -> Cell:
        response = packet[:2] + found.variants[0]
        cell = cells.of(packet, found.zone, found.rcode, len(response), found.plugin)
        self._socket.sendto(response, peer)
        cell.add(perf_counter() - began)
        if self._log is not None:
            self._log(peer, packet, response)
        return cell

    def _hand_over(
        self, pending: Pending, packet: bytes, peer: Address, began: float
    ) -> Answer | None:
        """Have a resolver asked; its reply is sent by the event loop. Returns a refusal at once."""

        def deliver(reply: Reply) -> None:
            found = self._answerer.finish(pending, reply)
            try:
                self._send(found, packet, peer, began, self.later_cells)
            except OSError as err:
                logger.debug("udp: %s", err)

        assert self._forwarder is not None  # noqa: S101  # it gives the routes
        refusal = self._forwarder.later(pending.route, pending.question, deliver)
        return None if refusal is None else self._answerer.finish(pending, refusal)

    def _keep(self, packet: bytes, found: Answer, cell: Cell, kept: Kept) -> None:
        if len(kept) >= MOST_KEPT:
            kept.clear()
        turns = [*found.variants[1:], found.variants[0]]
        kept[packet[2:]] = cycle(turns).__next__, cell
