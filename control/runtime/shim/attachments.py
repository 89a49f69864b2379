"""The clients that are attached to a container: each gets its later output, and may send input.

The shim listens on ``DIRECTORY/attach``. A message is a channel's number, then data; the channels
are those of Kubernetes' own protocol (docs/streams.md):

    from a client   0 input; empty announces later input            4 size: width, height
                    255 no more input
    to a client     3 attached: it gets all output from here on     1, 2 output, error

A slow client slows the container, as in containerd: no output is dropped or piles up.
"""

import os
import select
import socket
import struct
from collections import deque

from control.runtime.shim.stdio import Input

STDIN, STDOUT, STDERR, ATTACHED, RESIZE, CLOSE = 0, 1, 2, 3, 4, 255
MOST_BYTES = 128 * 1024  # of a message
SIZE = struct.Struct("HH")
_WAITING = 16


class Client:
    """One attached client."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.waiting: deque[bytes] = deque()
        self.feeds = False

    def events(self, may_feed: bool) -> int:
        """Return the events to poll for."""
        return (select.POLLIN if may_feed else 0) | (select.POLLOUT if self.waiting else 0)

    def flush(self) -> None:
        """Send as much as the client has room for; raises OSError if the client is gone."""
        try:
            while self.waiting:
                self.connection.send(self.waiting[0])
                self.waiting.popleft()
        except BlockingIOError:
            return


class Attachments:
    """All attached clients, and the socket on which new ones connect."""

    def __init__(self, poll: select.poll, door: socket.socket, source: Input) -> None:
        self._poll, self._door, self._input = poll, door, source
        self._clients: dict[int, Client] = {}
        self._watched = -1  # the container's input, while it has no room
        poll.register(door, select.POLLIN)

    @property
    def behind(self) -> bool:
        """True if a client has not been sent all output yet."""
        return any(client.waiting for client in self._clients.values())

    def send(self, channel: int, data: bytes) -> None:
        """Send output to every client."""
        for descriptor, client in list(self._clients.items()):
            client.waiting.append(bytes([channel]) + data)
            self._flush(descriptor, client)
        self._watch()

    def handle(self, descriptor: int, events: int) -> None:
        """Handle a ready descriptor; one that was closed meanwhile is ignored."""
        client = self._clients.get(descriptor)
        if descriptor == self._door.fileno():
            self._admit()
        elif descriptor == self._watched:
            self._input.flush()
        elif client and events & select.POLLOUT:
            self._flush(descriptor, client)
        elif client:
            self._receive(descriptor, client)
        self._watch()

    def _watch(self) -> None:
        """Read clients' input only while the container has taken the earlier input."""
        full = bool(self._input.pending)
        for descriptor, client in self._clients.items():
            self._poll.register(descriptor, client.events(may_feed=not full))
        if self._watched >= 0:
            self._poll.unregister(self._watched)
        self._watched = self._input.descriptor if full else -1
        if full:
            self._poll.register(self._watched, select.POLLOUT)

    def _admit(self) -> None:
        try:
            connection = self._door.accept()[0]
        except OSError:
            return  # the client is gone already
        connection.setblocking(False)
        client = self._clients[connection.fileno()] = Client(connection)
        self._poll.register(connection, select.POLLIN)
        client.waiting.append(bytes([ATTACHED]))
        self._flush(connection.fileno(), client)

    def _flush(self, descriptor: int, client: Client) -> None:
        try:
            client.flush()
        except OSError:
            self._drop(descriptor)

    def _receive(self, descriptor: int, client: Client) -> None:
        try:
            message = client.connection.recv(MOST_BYTES)
        except BlockingIOError:
            return None
        except OSError:
            message = b""
        if not message:
            return self._drop(descriptor)
        channel, data = message[0], message[1:]
        if channel == STDIN:
            client.feeds = True
            self._input.put(data)
        elif channel == RESIZE and len(data) == SIZE.size:
            self._input.resize(*SIZE.unpack(data))
        elif channel == CLOSE and self._input.ends:
            self._input.end()
        elif channel == CLOSE and self._input.takes:
            # As in containerd: ending input that does not end the container's is a detach.
            self._drop(descriptor)
        return None

    def _drop(self, descriptor: int) -> None:
        client = self._clients.pop(descriptor)
        self._poll.unregister(descriptor)
        client.connection.close()
        if client.feeds:
            self._input.end()


def open_door(directory: str) -> socket.socket:
    """Listen in a folder, through a descriptor of it: a socket's path has 107 bytes at most."""
    door = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    door.setblocking(False)
    folder = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        door.bind(f"/proc/self/fd/{folder}/attach")
    finally:
        os.close(folder)
    door.listen(_WAITING)
    return door
