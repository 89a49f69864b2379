"""What client and server say to each other over the unix socket.

The client sends one frame: ``PWC1``, the length of the CNI_* variables (NAME=VALUE, a NUL between
them) and of standard input (32 bits each, big-endian), then both. With its first byte come file
descriptors: the client's network namespace, its mount namespace, its root directory and, where
CNI_NETNS could be opened, the container's network namespace. So neither paths nor process
numbers have to mean the same to both.

The server answers ``T`` once it is sure that it will do the work, with a document (32-bit length
first) that the client prints should the server die; it is empty where doing it again is harmless.
Then come the exit code (8 bits), the length of stdout, and stdout. A server that closes
without ``T`` has done nothing and will do nothing: the client does the work itself.
"""

from __future__ import annotations

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
_USUAL_LENGTH = 1 << 14  # most requests come whole with one call
_DESCRIPTORS = 4


class InvalidFrameError(Exception):
    """What came is not a client's request, or is too long."""


@dataclass(frozen=True, slots=True)
class Call:
    """A request as it came; the descriptors are open for as long as ``received`` lasts."""

    environment: Mapping[str, str]
    stdin: bytes
    own_netns: int
    mount_namespace: int
    root: int
    netns: int | None


@contextmanager
def received(connection: socket.socket) -> Iterator[Call]:
    """Read one request; raises InvalidFrameError, and OSError when the client is slow or gone."""
    begin, descriptors, _, _ = socket.recv_fds(
        connection, _USUAL_LENGTH, _DESCRIPTORS, socket.MSG_CMSG_CLOEXEC
    )
    try:
        if len(descriptors) < _DESCRIPTORS - 1:
            raise InvalidFrameError(f"{len(descriptors)} descriptors")
        environment, stdin = _body(connection, begin)
        own, mounts, root, *netns = descriptors
        yield Call(environment, stdin, own, mounts, root, netns[0] if netns else None)
    finally:
        for descriptor in descriptors:
            with suppress(OSError):
                os.close(descriptor)


def _body(connection: socket.socket, begin: bytes) -> tuple[dict[str, str], bytes]:
    data = _extended(connection, begin, _HEADER.size)
    magic, environment_length, stdin_length = _HEADER.unpack_from(data)
    if magic != MAGIC:
        raise InvalidFrameError(f"magic {magic!r}")
    if environment_length > _LONGEST_ENVIRONMENT or stdin_length > _LONGEST_STDIN:
        raise InvalidFrameError(f"{environment_length} + {stdin_length} bytes")
    middle = _HEADER.size + environment_length
    end = middle + stdin_length
    data = _extended(connection, data, end)
    return parse_environment(data[_HEADER.size : middle]), data[middle:end]


def parse_environment(raw: bytes) -> dict[str, str]:
    """NUL-separated NAME=VALUE, decoded as ``os.environ`` decodes."""
    pairs = (os.fsdecode(item).partition("=") for item in raw.split(b"\0") if item)
    return {name: value for name, _, value in pairs}


def _extended(connection: socket.socket, data: bytes, length: int) -> bytes:
    """The data with as much more as makes it that long."""
    parts, missing = [data], length - len(data)
    while missing > 0:
        more = connection.recv(min(missing, 1 << 16))
        if not more:
            raise InvalidFrameError(f"{missing} of {length} bytes are missing")
        parts.append(more)
        missing -= len(more)
    return b"".join(parts)


def taken(last_will: bytes) -> bytes:
    """The word that the work will be done, and what to print should its doer die."""
    return b"T" + struct.pack("!I", len(last_will)) + last_will


def answered(code: int, stdout: bytes) -> bytes:
    """The answer."""
    return _ANSWER.pack(code, len(stdout)) + stdout
