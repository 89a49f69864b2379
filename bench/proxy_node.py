"""The parts of the proxy's benchmark that run in other network namespaces."""

import ctypes
import select
import socket
import threading
import time
from collections.abc import Callable
from ipaddress import ip_address

from proxy.backends.ebpf.layout import pack_frontend
from proxy.backends.ebpf.libbpf import Libbpf, pinned
from proxy.backends.ebpf.mounts import MAPS
from proxy.backends.iptables import legacy
from proxy.linux.nft_events import NftListener
from proxy.model.values import Family, Protocol

_CHUNK = 1 << 18  # bytes in one write of a transfer
_POLL = 0.001
_PATIENCE = 60.0  # seconds for a change to reach the kernel

Place = tuple[str, int]


_waiting: list[Callable[[], float]] = []


def expect_change(backend: str, vip: str) -> None:
    """In the node: from now on ``await_change`` notices a change of the rules, or in mode ebpf of
    the hooks' entry for ``vip``.
    """
    if backend == "iptables-legacy":
        _waiting.append(_polled(lambda: legacy.size(Family.V4)))
    elif backend == "ebpf":
        _waiting.append(_polled(lambda: _entry(vip)))
    else:
        _waiting.append(_heard())


def expect_chain(chain: str) -> None:
    """In the node: from now on ``await_change`` notices a change of one chain's rules."""
    _waiting.append(_heard(chain))


def await_change() -> float:
    """The monotonic time at which the expected change came; TimeoutError after a minute."""
    return _waiting.pop()()


def _heard(chain: str = "") -> Callable[[], float]:
    """Notice a change of any rule, or of one chain's."""
    events = NftListener()
    events.listen()

    def wait() -> float:
        deadline = time.monotonic() + _PATIENCE
        while True:
            ready, _, _ = select.select([events], [], [], deadline - time.monotonic())
            changed = time.monotonic()
            if not ready:
                raise TimeoutError(f"nf_tables told of no change within {_PATIENCE} s")
            if not chain or any(chain == event.name for event in events.read()):
                break
        events.close()  # waits for the kernel's readers: milliseconds that only a benchmark spends
        return changed

    return wait


def _polled(look: Callable[[], object]) -> Callable[[], float]:
    before = look()

    def wait() -> float:
        deadline = time.monotonic() + _PATIENCE
        while look() == before:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the rules have not changed within {_PATIENCE} s")
            time.sleep(_POLL)
        return time.monotonic()

    return wait


_library: list[Libbpf] = []
_maps: dict[str, int] = {}


def _entry(vip: str) -> bytes:
    """The hooks' entry for a ClusterIP."""
    if not _maps:
        _library[:] = [Libbpf()]
        found = pinned(_library[0], MAPS / "frontends")
        assert found is not None, "mode ebpf has pinned no map"
        _maps["frontends"] = found
    key = pack_frontend(Family.V4, ip_address(vip), 80, Protocol.TCP)
    value = ctypes.create_string_buffer(256)
    _library[0].bpf.bpf_map_lookup_elem(_maps["frontends"], key, value)
    return value.raw


def forget() -> None:
    """Forget the maps of a proxy that has ended."""
    _maps.clear()


def answer(port: int) -> None:
    """In the background, send one byte on each connection, and close it."""
    listener = socket.create_server(("", port), backlog=500)

    def accept() -> None:
        while True:
            connection, _ = listener.accept()
            connection.send(b"!")
            connection.close()

    threading.Thread(target=accept, daemon=True).start()


def swallow(port: int) -> None:
    """In the background, receive all that is sent; one byte in return says that it has come."""
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
    """Seconds that new connections to two places take, in turns: connect, one byte, close."""
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
    places: tuple[Place, Place], count: int, size: int
) -> tuple[list[float], list[float]]:
    """Seconds in which ``size`` bytes reach two places over one connection each, in turns."""
    times: tuple[list[float], list[float]] = ([], [])
    for number in range(count):
        for which in (0, 1) if number % 2 else (1, 0):
            times[which].append(_transfer(places[which], size))
    return times


def _transfer(place: Place, size: int) -> float:
    data = bytes(_CHUNK)
    with socket.create_connection(place) as client:
        began = time.perf_counter()
        for _ in range(size // _CHUNK):
            client.sendall(data)
        client.shutdown(socket.SHUT_WR)
        client.recv(1)
        return time.perf_counter() - began
