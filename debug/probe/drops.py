"""Names the kernel's table of drops: the function, the reason, and whom the packets were for."""

from collections.abc import Callable, Iterable, Iterator, Mapping

from msgspec import Struct, structs

from debug.output import with_port
from debug.places import Place
from debug.probe.events import DropEntry
from debug.probe.naming import Names
from debug.trace.watch.drops import NO_LOSS, function_at, reasons
from proxy.backends.ebpf.libbpf import Libbpf
from proxy.model.errors import KernelRefusedError

_PROTOCOLS = {1: "ICMP", 6: "TCP", 17: "UDP", 58: "ICMPv6", 132: "SCTP"}


class DropRow(Struct, frozen=True, omit_defaults=True):
    """Packets that ended alike, in a place."""

    node: str
    place: str  # "Pod default/web-1", "Node node1"
    function: str  # of the kernel; "" if this process may not know
    reason: str  # the kernel's
    protocol: str
    destination: str  # ADDRESS:PORT
    packets: int
    bytes: int
    service: str = ""
    owner: str = ""  # of the destination, if it is no Service's


def drop(place: Place, one: DropEntry, names: Names, known: Mapping[int, str]) -> DropRow:
    """Return an entry with its names; ``known`` are the kernel's names of reasons."""
    protocol = _PROTOCOLS.get(one.protocol, str(one.protocol))
    called = names.service(one.destination, one.port, protocol)
    return DropRow(
        place.node,
        place.name,
        function_at(one.function),
        known.get(one.reason, f"reason {one.reason}"),
        protocol,
        with_port(one.destination, one.port or None),
        one.packets,
        one.bytes,
        called or names.serving(one.destination, one.port, protocol),
        "" if called else names.owner(one.destination),
    )


def rows(
    entries: Iterable[DropEntry],
    place: Callable[[int], Place | None],
    names: Names,
    known: Mapping[int, str],
) -> list[DropRow]:
    """Return the entries of places that matter, the most packets first."""
    found = [drop(where, one, names, known) for one in entries if (where := place(one.netns))]
    return sorted((one for one in found if one.reason not in NO_LOSS), key=lambda one: -one.packets)


def grown(before: Iterable[DropRow], after: Iterable[DropRow]) -> Iterator[DropRow]:
    """Yield what grew, with the growth."""
    had = {_sort(one): one for one in before}
    for one in after:
        was = had.get(_sort(one))
        more = one.packets - (was.packets if was else 0)
        if more > 0:
            size = one.bytes - (was.bytes if was else 0)
            yield structs.replace(one, packets=more, bytes=size)


def _sort(one: DropRow) -> DropRow:
    return structs.replace(one, packets=0, bytes=0)


def reason_names() -> Mapping[int, str]:
    """Return this kernel's names for reasons; none where libbpf or BTF is missing."""
    try:
        return reasons(Libbpf())
    except KernelRefusedError:
        return {}
