"""The protocol of client and server on the unix socket.

The client sends one frame: ``PWC1``, the length of the CNI_* variables (NAME=VALUE, a NUL between
them) and of standard input (32 bits each, big-endian), then both. File descriptors come with its
first byte: the client's network namespace, its mount namespace, its root directory and, if
CNI_NETNS could be opened, the container's network namespace. So paths and process IDs may differ
between client and server.

When the server takes the work, it sends ``T`` and a document (its length first, 32 bits). The
client prints that document if the server dies. It is empty if the client may repeat the work.
After the work the server sends the exit code (8 bits), the length of standard output (32 bits),
and standard output. A server that closes without ``T`` has done nothing: the client does the work.
"""

import os
import socket
import struct
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

MAGIC = b"PWC1"
_HEADER = struct.Struct("!4sII")
_ANSWER = struct.Struct("!BI")
_LONGEST_ENVIRONMENT = 1 << 18
_LONGEST_STDIN = 1 << 23
_USUAL_LENGTH = 1 << 14  # most frames are shorter, and arrive with one recvmsg(2)
_DESCRIPTORS = 4


class InvalidFrameError(Exception):
    """The data is not a client's frame, or is too long."""


@dataclass(frozen=True, slots=True)
class ClientFrame:
    """A client's frame. Its descriptors are open during the block of ``received_frame``."""

    environment: Mapping[str, str]
    stdin: bytes
    own_netns: int
    mount_namespace: int
    root: int
    netns: int | None


@contextmanager
def received_frame(connection: socket.socket) -> Iterator[ClientFrame]:
    """Receive one frame. Raises InvalidFrameError, or OSError if the client is slow or gone."""
    begin, descriptors, _, _ = socket.recv_fds(
        connection, _USUAL_LENGTH, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
    )
    try:
        if len(descriptors) < _DESCRIPTORS - 1:
            raise InvalidFrameError(f"{len(descriptors)} descriptors")
        environment, stdin = _body(connection, begin)
        own, mounts, root, *netns = descriptors
        yield ClientFrame(environment, stdin, own, mounts, root, netns[0] if netns else None)
    finally:
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)


def _body(connection: socket.socket, begin: bytes) -> tuple[dict[str, str], bytes]:
    data = _receive_up_to(connection, begin, _HEADER.size)
    magic, environment_length, stdin_length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise InvalidFrameError(f"magic {magic!r}")
    if environment_length > _LONGEST_ENVIRONMENT or stdin_length > _LONGEST_STDIN:
        raise InvalidFrameError(f"{environment_length} + {stdin_length} bytes")
    middle = _HEADER.size + environment_length
    end = middle + stdin_length
    data = _receive_up_to(connection, data, end)
    return parse_environment(data[_HEADER.size : middle]), data[middle:end]


def parse_environment(raw: bytes) -> dict[str, str]:
    """Decode NUL-separated NAME=VALUE, as ``os.environ`` does."""
    pairs = (os.fsdecode(item).partition("=") for item in raw.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def _receive_up_to(connection: socket.socket, data: bytes, length: int) -> bytes:
    """Receive more data until it has a length. Returns all of it."""
    parts, missing = [data], length - len(data)
    while missing > 0:
        more = connection.recv(min(missing, 1 << 16))
        if not more:
            raise InvalidFrameError(f"{missing} of {length} bytes are missing")
        parts.append(more)
        missing -= len(more)
    return b"".join(parts)


def taken_message(fallback: bytes) -> bytes:
    """The message that the server takes the work; ``fallback`` is for the server's death."""
    return b"T" + struct.pack("!I", len(fallback)) + fallback


def answer_message(code: int, stdout: bytes) -> bytes:
    """The message with the plugin's answer."""
    return _ANSWER.pack(code, len(stdout)) + stdout
