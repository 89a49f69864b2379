"""The names that the cluster has, kept up to date Service by Service. Pure.

The server's threads read it while one thread changes it. Each change of a name replaces one value
of a dictionary, so a reader sees the name as it was or as it is.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from ipaddress import ip_address

from control.dns.names import Name, below, labels, parse, undashed
from control.dns.records import (
    AAAA,
    NONE,
    NS,
    PTR,
    SOA,
    TXT,
    A,
    Rdata,
    Records,
    ServiceRecords,
    soa,
    text,
)
from control.dns.values import Key

SCHEMA = "1.1.0"
POD_MODES = ("insecure", "verified", "disabled")  # CoreDNS' option pods; kubeadm's is the first
REVERSE = (parse("in-addr.arpa"), parse("ip6.arpa"))


class Zone:
    """The records of one cluster domain, and of its addresses."""

    def __init__(self, domain: Name, ttl: int, pods: str = "insecure") -> None:
        self.domain, self.ttl, self._mode = domain, ttl, pods
        self._addresses: dict[Key, str] = {}
        self._verified: Counter[tuple[str, str]] = Counter()
        self._services: dict[Key, ServiceRecords] = {}
        self._names: dict[Name, Records] = {}
        self._pointers: dict[Name, dict[Key, tuple[Rdata, ...]]] = {}
        self._namespaces: set[str] = set()
        self._pods = below(domain, "pod")
        self._fixed = {
            domain: {},
            below(domain, "svc"): {},
            self._pods: {},
            below(domain, "dns"): {},
            below(domain, "ns", "dns"): {},
            below(domain, "dns-version"): {TXT: (text(SCHEMA),)},
        }
        self.touch(0)

    def touch(self, serial: int) -> None:
        """Give the zone another serial number, 0 to 2^32 - 1."""
        self.serial = serial
        primary = below(self.domain, "ns", "dns")
        self.soa = soa(self.domain, serial, self.ttl)
        self._names[self.domain] = {SOA: (self.soa,), NS: (primary,)}
        for name, records in self._fixed.items():
            self._names.setdefault(name, records)

    def serve_at(self, addresses: Mapping[int, tuple[Rdata, ...]]) -> None:
        """Set the addresses of the name server's own name, by type."""
        self._names[below(self.domain, "ns", "dns")] = addresses

    def put(self, key: Key, new: ServiceRecords) -> bool:
        """Replace a Service's records; return True if they differ from those before."""
        old = self._services.get(key, NONE)
        if old == new:
            return False
        self._names.update(new.names)
        for name in old.names.keys() - new.names.keys():
            del self._names[name]
        self._point(key, old, new)
        if new == NONE:
            self._services.pop(key, None)
        else:
            self._services[key] = new
        return True

    def _point(self, key: Key, old: ServiceRecords, new: ServiceRecords) -> None:
        for name in {*old.clusters, *old.endpoints, *new.clusters, *new.endpoints}:
            owners = dict(self._pointers.get(name, {}))
            owners.pop(key, None)
            if found := new.clusters.get(name) or new.endpoints.get(name):
                owners[key] = found
            if owners:
                self._pointers[name] = owners
            else:
                self._pointers.pop(name, None)

    def set_namespace(self, namespace: str, *, present: bool) -> None:
        """Add a Namespace, or remove it."""
        (self._namespaces.add if present else self._namespaces.discard)(namespace)
        for parent in ("svc", "pod"):
            name = below(self.domain, namespace, parent)
            if present:
                self._names[name] = {}
            else:
                self._names.pop(name, None)

    def set_pod(self, key: Key, address: str) -> bool:
        """Set a Pod's address, "" for none; return True if it had another one.

        The addresses count if the Pods' names are verified.
        """
        old = self._addresses.pop(key, "")
        if old:
            self._verified[key[0], old] -= 1
            if not self._verified[key[0], old]:
                del self._verified[key[0], old]
        if address:
            self._addresses[key] = address
            self._verified[key[0], address] += 1
        return old != address

    def find(self, name: Name) -> Records | None:
        """Return a name's records by type; None if there is no such name."""
        found = self._names.get(name)
        if found is not None:
            return found
        if owners := self._pointers.get(name):
            return {PTR: self._targets(name, owners)}
        return self._pod(name) if name.endswith(self._pods) else None

    def _targets(self, name: Name, owners: Mapping[Key, tuple[Rdata, ...]]) -> tuple[Rdata, ...]:
        """Return the names of an address: the Service's whose ClusterIP it is, or endpoints'."""
        for key, targets in owners.items():
            if name in self._services.get(key, NONE).clusters:
                return targets
        return tuple(dict.fromkeys(_flat(owners.values())))

    def _pod(self, name: Name) -> Records | None:
        """Return the record of a-b-c-d.NAMESPACE.pod; "insecure": the Pod need not exist.

        Not in the specification any more; kubeadm's clusters have it.
        """
        parts = labels(name)
        if self._mode == "disabled" or len(parts) != len(labels(self._pods)) + 2:
            return None
        address, namespace = (part.decode("ascii", "replace") for part in parts[:2])
        if namespace not in self._namespaces or not (plain := undashed(address)):
            return None
        if self._mode == "verified" and (namespace, plain) not in self._verified:
            return None
        packed = ip_address(plain).packed
        return {A if len(packed) == 4 else AAAA: (packed,)}


def _flat(groups: Iterable[tuple[Rdata, ...]]) -> Iterable[Rdata]:
    return (each for group in groups for each in group)
