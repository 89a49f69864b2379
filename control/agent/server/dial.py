"""Connects to a port of a Pod, from inside its network namespace."""

import asyncio
import os
import socket
from concurrent.futures import ThreadPoolExecutor

from control.linux import syscalls

_LOCALHOST = ((socket.AF_INET, "IPv4", "127.0.0.1"), (socket.AF_INET6, "IPv6", "::1"))

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class DialError(Exception):
    """The Pod accepts no connection on that port; the text lists the addresses tried."""


async def dial(namespace: str, port: int) -> Connection:
    """Connect to localhost in a network namespace, or in our own if it is empty.

    As upstream: IPv4 first. Raises DialError.
    """
    tried = []
    for family, name, host in _LOCALHOST:
        try:
            return await _connect(namespace, family, (host, port))
        except OSError as err:
            tried.append(f"{name}: {os.strerror(err.errno).lower() if err.errno else err}")
    where = f" inside namespace {namespace}" if namespace else ""
    raise DialError(f"failed to connect to localhost:{port}{where}: {', '.join(tried)}")


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
    """Make a socket in a namespace: it stays there, and only a short-lived thread enters."""
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(_enter, namespace, family).result()


def _enter(namespace: str, family: int) -> socket.socket:
    syscalls.enter(namespace)
    return socket.socket(family)
