"""What a Service means in DNS: its names, and the resource records of each. Pure.

Source: Kubernetes DNS-Based Service Discovery 1.1.0, sections 2.3 to 2.5. What it leaves open is as
in CoreDNS: endpoints of Services with a ClusterIP have names, too, and a Service's own name has the
SRV records of all its ports.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from control.dns.names import Name, below, dashed, parse, reverse, suffixes
from control.dns.values import Endpoint, Port, ServiceEntry, SliceEntry

A, NS, CNAME, SOA, PTR, TXT, AAAA, SRV = 1, 2, 5, 6, 12, 16, 28, 33
Rdata = bytes
Records = Mapping[int, tuple[Rdata, ...]]  # by type; empty for a name that only has names below it
_WEIGHTS = 100  # what the SRV records of one name share, as in CoreDNS

Located = tuple[Endpoint, tuple[Port, ...]]


@dataclass(frozen=True, slots=True)
class ServiceRecords:
    """The names of one Service, and those of its addresses below in-addr.arpa and ip6.arpa.

    ``clusters`` are the ClusterIPs': such a name has no other PTR record.
    """

    names: Mapping[Name, Records]
    clusters: Mapping[Name, tuple[Rdata, ...]]
    endpoints: Mapping[Name, tuple[Rdata, ...]]


NONE = ServiceRecords({}, {}, {})


def service_records(
    service: ServiceEntry, slices: Iterable[SliceEntry], domain: Name
) -> ServiceRecords:
    """Return a Service's records; raises BadNameError for one whose names are too long."""
    namespace, name = service.key
    apex = below(domain, name, namespace, "svc")
    found = _Collector(apex)
    if service.external:
        if service.external_name:
            found.add(apex, CNAME, parse(service.external_name))
        return ServiceRecords(found.done(), {}, {})
    located = [each for part in slices for each in _located(part, unready=service.unready)]
    hosts = _hosts(found, located)
    if service.addresses:
        for address in service.addresses:
            found.address(apex, address)
        _srv(found, [(port, apex) for port in service.ports])
    else:
        for endpoint, _ in located:
            found.address(apex, endpoint.address)
        targets = ((p, hosts[e.address, e.hostname]) for e, ports in located for p in ports)
        _srv(found, targets)
    own = {reverse(address): (apex,) for address in service.addresses}
    return ServiceRecords(found.done(), own, _pointers(located, hosts))


def _located(part: SliceEntry, *, unready: bool) -> list[Located]:
    return [(each, part.ports) for each in part.endpoints if each.ready or unready]


class _Collector:
    """Gathers records in order, without duplicates."""

    def __init__(self, apex: Name) -> None:
        self.apex = apex
        self._found: dict[Name, dict[int, dict[Rdata, None]]] = {}

    def add(self, name: Name, kind: int, rdata: Rdata) -> None:
        self._found.setdefault(name, {}).setdefault(kind, {})[rdata] = None

    def address(self, name: Name, address: str) -> None:
        parsed = ip_address(address)
        self.add(name, A if parsed.version == 4 else AAAA, parsed.packed)

    def done(self) -> dict[Name, Records]:
        """Return the records, and the names between them and the Service's own, which have none."""
        names: dict[Name, Records] = {}
        for name, kinds in self._found.items():
            for parent in suffixes(name):
                if len(parent) <= len(self.apex):
                    break
                names.setdefault(parent, {})
            names[name] = {kind: tuple(rdatas) for kind, rdatas in kinds.items()}
        return names


def _hosts(found: _Collector, located: list[Located]) -> dict[tuple[str, str], Name]:
    """Add a name for each endpoint; return the names by address and hostname."""
    hosts: dict[tuple[str, str], Name] = {}
    for endpoint, _ in located:
        name = below(found.apex, endpoint.hostname or dashed(endpoint.address))
        found.address(name, endpoint.address)
        hosts[endpoint.address, endpoint.hostname] = name
    return hosts


def _srv(found: _Collector, targets: Iterable[tuple[Port, Name]]) -> None:
    """Add the SRV records of each named port, and those of all ports for the Service's name."""
    every: dict[Name, dict[tuple[int, Name], None]] = defaultdict(dict)
    for port, target in targets:
        every[found.apex][port.number, target] = None
        if port.name:
            name = below(found.apex, f"_{port.name}", f"_{port.protocol}")
            every[name][port.number, target] = None
    for name, pairs in every.items():
        weight = max(1, _WEIGHTS // len(pairs))
        for number, target in pairs:
            found.add(name, SRV, struct.pack("!HHH", 0, weight, number) + target)


def _pointers(
    located: list[Located], hosts: Mapping[tuple[str, str], Name]
) -> dict[Name, tuple[Rdata, ...]]:
    pointers: dict[Name, dict[Rdata, None]] = defaultdict(dict)
    for endpoint, _ in located:
        pointers[reverse(endpoint.address)][hosts[endpoint.address, endpoint.hostname]] = None
    return {name: tuple(targets) for name, targets in pointers.items()}


def soa(domain: Name, serial: int, ttl: int) -> Rdata:
    """Return the rdata of a domain's SOA record; its names and times are CoreDNS'."""
    primary, mailbox = below(domain, "ns", "dns"), below(domain, "hostmaster")
    return primary + mailbox + struct.pack("!IIIII", serial, 7200, 1800, 86400, ttl)


def text(value: str) -> Rdata:
    """Return the rdata of a TXT record with one string of at most 255 bytes."""
    return bytes([len(value)]) + value.encode()
