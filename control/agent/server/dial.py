"""Connecting to a port of a Pod, from inside its network namespace."""

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from control.linux import syscalls

_LOCALHOST = ((socket.AF_INET, "IPv4", "127.0.0.1"), (socket.AF_INET6, "IPv6", "::1"))

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class NotReached(Exception):
    """Nobody takes connections at that port of the Pod; the text says what was tried."""


async def dial(namespace: str, port: int) -> Connection:
    """Connect to localhost in a network namespace (empty: our own), as upstream does: IPv4 first.

    Raises NotReached.
    """
    tried = []
    for family, name, host in _LOCALHOST:
        try:
            return await _connect(namespace, family, (host, port))
        except OSError as err:
            tried.append(f"{name}: {os.strerror(err.errno).lower() if err.errno else err}")
    where = f" inside namespace {namespace}" if namespace else ""
    raise NotReached(f"failed to connect to localhost:{port}{where}: {', '.join(tried)}")


async def _connect(namespace: str, family: int, address: tuple[str, int]) -> Connection:
    made = _socket_in(namespace, family) if namespace else socket.socket(family)
    try:
        made.setblocking(False)
        await asyncio.get_running_loop().sock_connect(made, address)
        return await asyncio.open_connection(sock=made)
    except BaseException:
        made.close()
        raise


def _socket_in(namespace: str, family: int) -> socket.socket:
    """A socket stays in the namespace it was made in; only a thread enters it, and ends there."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_enter, namespace, family).result()


def _enter(namespace: str, family: int) -> socket.socket:
    descriptor = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        syscalls.setns(descriptor)
    finally:
        os.close(descriptor)
    return socket.socket(family)
