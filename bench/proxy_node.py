"""The parts of the proxy's benchmark that run in other network namespaces."""

import ctypes
import select
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address

from proxy.backends.ebpf.group import MAPS
from proxy.backends.ebpf.layout import pack_frontend
from proxy.backends.ebpf.libbpf import Library, pinned
from proxy.backends.iptables import legacy
from proxy.linux.nft_events import NftEvents
from proxy.model.values import Family, Protocol

_CHUNK = 1 << 18  # bytes in one write of a transfer
_POLL = 0.001

Place = tuple[str, int]


_waiting: list[Callable[[], float]] = []


def expect_change(backend: str, vip: str) -> None:
    """In the node: from now on, ``await_change`` will know of a change of the rules, or in mode
    ebpf of the hooks' entry for ``vip``.
    """
    if backend == "iptables-legacy":
        _waiting.append(_polled(lambda: legacy.size(Family.V4)))
    elif backend == "ebpf":
        _waiting.append(_polled(lambda: _entry(vip)))
    else:
        _waiting.append(_heard())


def await_change() -> float:
    """When what was expected came."""
    return _waiting.pop()()


def _heard() -> Callable[[], float]:
    events = NftEvents()
    events.listen()

    def wait() -> float:
        select.select([events], [], [])
        changed = time.monotonic()
        events.close()  # waits for the kernel's readers: milliseconds that nobody else does
        return changed

    return wait


def _polled(look: Callable[[], object]) -> Callable[[], float]:
    before = look()

    def wait() -> float:
        while look() == before:
            time.sleep(_POLL)
        return time.monotonic()

    return wait


_library: list[Library] = []
_maps: dict[str, int] = {}


def _entry(vip: str) -> bytes:
    """What the hooks know of a ClusterIP."""
    if not _maps:
        _library[:] = [Library()]
        found = pinned(_library[0], MAPS / "frontends")
        assert found is not None, "mode ebpf has pinned no map"
        _maps["frontends"] = found
    key = pack_frontend(Family.V4, ip_address(vip), 80, Protocol.TCP)
    value = ctypes.create_string_buffer(256)
    _library[0].bpf.bpf_map_lookup_elem(_maps["frontends"], key, value)
    return value.raw


def forget() -> None:
    """The proxy that was measured is gone, and its maps with it."""
    _maps.clear()


def answer(port: int) -> None:
    """In the background, send a byte to each who connects, and close."""
    listener = socket.create_server(("", port), backlog=500)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            connection.send(b"!")
            connection.close()

    threading.Thread(target=accept, daemon=True).start()


def swallow(port: int) -> None:
    """In the background, take all that is sent; a byte in return says that it has come."""
    listener = socket.create_server(("", port))
    buffer = bytearray(_CHUNK)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            while connection.recv_into(buffer):
                pass
            connection.send(b"!")
            connection.close()

    threading.Thread(target=accept, daemon=True).start()


def connect_pairs(places: tuple[Place, Place], count: int) -> tuple[list[float], list[float]]:
    """How long new connections to two places take, in turns: connect, one byte, close."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(count):
        for which in (0, 1) if number % 2 else (1, 0):
            client = socket.socket()
            began = time.perf_counter()
            client.connect(places[which])
            client.recv(1)
            client.close()
            times[which].append(time.perf_counter() - began)
    return times


def transfer_pairs(
    places: tuple[Place, Place], count: int, seconds: float
) -> tuple[list[float], list[float]]:
    """Bytes a second to two places over one connection each, in turns."""
    rates: tuple[list[float], list[float]] = ([], [])
    for number in range(count):
        for which in (0, 1) if number % 2 else (1, 0):
            rates[which].append(_transfer(places[which], seconds))
    return rates


def _transfer(place: Place, seconds: float) -> float:
    data, sent = bytes(_CHUNK), 0
    with socket.create_connection(place) as client:
        began = time.perf_counter()
        while time.perf_counter() < began + seconds:
            client.sendall(data)
            sent += len(data)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)
        return sent / (time.perf_counter() - began)
