"""A zone with the objects of the DNS specification's examples, and questions to it."""

from functools import partial

import dns.message

from control.api.cluster import Namespace
from control.api.pod import Pod
from control.api.service import EndpointSlice, Service
from control.dns.answer import Answerer
from control.dns.feed import Feed
from control.dns.names import parse
from control.dns.values import read_namespace, read_pod, read_service, read_slice
from control.dns.zone import Zone

DOMAIN = "cluster.local"


def service(name, *addresses, ports=(), namespace="default", **spec):
    """Return a Service; without addresses it is headless, unless ``spec`` has another type."""
    ips = {"clusterIP": (addresses or ("None",))[0], "clusterIPs": list(addresses or ("None",))}
    ports = [{"name": n, "port": number, "protocol": p} for n, number, p in ports]
    meta = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"}
    return Service.parse({"metadata": meta, "spec": ips | {"ports": ports} | spec})


def part(owner, *endpoints, family="IPv4", ports=(), namespace="default", suffix="a"):
    """Return an EndpointSlice of endpoints (address, hostname, ready)."""
    meta = {
        "name": f"{owner}-{suffix}",
        "namespace": namespace,
        "uid": f"{owner}-{suffix}",
        "resourceVersion": "1",
        "labels": {"kubernetes.io/service-name": owner},
    }
    found = [
        {"addresses": [address], "conditions": {"ready": ready}}
        | ({"hostname": hostname} if hostname else {})
        for address, hostname, ready in endpoints
    ]
    ports = [{"name": n, "port": number, "protocol": p} for n, number, p in ports]
    wire = {"metadata": meta, "addressType": family, "endpoints": found, "ports": ports}
    return EndpointSlice.parse(wire)


def namespace(name):
    """Return a Namespace."""
    meta = {"name": name, "uid": name, "resourceVersion": "1"}
    return Namespace.parse({"metadata": meta})


def pod(name, address, namespace="default", **meta):
    """Return a Pod with an address."""
    meta = {"name": name, "namespace": namespace, "uid": name, "resourceVersion": "1"} | meta
    return Pod.parse({"metadata": meta, "status": {"podIP": address}})


class Names:
    """A zone, what feeds it, and what answers from it."""

    def __init__(self, *objects, changed=lambda: None, pods="insecure", pod_names=False):
        self.zone = Zone(parse(DOMAIN), 5, pods)
        self._pod_names = pod_names
        self.feed = Feed(self.zone, changed)
        self.answerer = Answerer(self.zone)
        for each in objects:
            self.put(each)

    def put(self, new, old=None):
        """Apply a change: (old, new), each an object or None."""
        kinds = {
            Service: (self.feed.service, read_service),
            EndpointSlice: (self.feed.slice, partial(read_slice, pod_names=self._pod_names)),
            Pod: (self.feed.pod, read_pod),
            Namespace: (self.feed.namespace, read_namespace),
        }
        apply, read = kinds[type(new or old)]
        apply(old and read(old), new and read(new))

    def ask(self, name, kind, *, tcp=False, **how):
        """Return the response to a question."""
        query = dns.message.make_query(name, kind, **how)
        answer = self.answerer.answer(query.to_wire(), tcp=tcp)
        return dns.message.from_wire(query.to_wire()[:2] + answer.variants[0])


def shown(rrsets):
    """Return records as sorted lines: owner, TTL, type and value."""
    return sorted(line.replace(" IN ", " ") for rrset in rrsets for line in str(rrset).split("\n"))
