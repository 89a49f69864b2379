"""Services of every sort, as the API has them, for what shows what is installed."""

from collections.abc import Iterator

from debug.cluster import ClusterState
from debug.views.decided import tracked
from debug.views.report import FrontendView, NodeEntry, ServicesReport
from proxy.desired.desired import Desired
from proxy.objects.wire import EndpointSlice, Node, Service

NODES = {"n1": "192.168.0.1", "n2": "192.168.0.2"}
PODS = {"a": ("10.244.1.2", "n1"), "b": ("10.244.1.3", "n1"), "c": ("10.244.2.2", "n2")}
_OWNERS = {address: pod for pod, (address, _) in PODS.items()}


def service(name: str, number: int, protocol: str = "TCP", balancer: str = "", **spec) -> Service:
    """Return a Service with one port, ``http``: 80."""
    ip = f"10.96.0.{number}"
    port = {"name": "http", "port": 80, "protocol": protocol, **spec.pop("port", {})}
    status = {"loadBalancer": {"ingress": [{"ip": balancer}]}} if balancer else {}
    return Service.read(
        {
            "metadata": {"namespace": "ns", "name": name},
            "spec": {"clusterIP": ip, "clusterIPs": [ip], "ports": [port], **spec},
            "status": status,
        }
    )


def slice_of(name: str, pods: str, protocol: str = "TCP") -> EndpointSlice:
    """Return a Service's EndpointSlice with some of ``PODS``."""
    places = [PODS[pod] for pod in pods]
    return EndpointSlice.read(
        {
            "metadata": {
                "namespace": "ns",
                "name": f"{name}-1",
                "labels": {"kubernetes.io/service-name": name},
            },
            "addressType": "IPv4",
            "ports": [{"name": "http", "port": 8080, "protocol": protocol}],
            "endpoints": [
                {"addresses": [address], "nodeName": node, "conditions": {"ready": True}}
                for address, node in places
            ],
        }
    )


LOCAL = {"externalTrafficPolicy": "Local", "port": {"nodePort": 30081}}
STICKY = {
    "sessionAffinity": "ClientIP",
    "sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 600}},
}
RANGES = ("10.244.0.0/16", "192.0.2.0/25")
STATE = ClusterState(
    nodes=tuple(
        Node.read(
            {
                "metadata": {"name": name},
                "status": {"addresses": [{"type": "InternalIP", "address": address}]},
            }
        )
        for name, address in NODES.items()
    ),
    services=(
        service("web", 10),
        service("ports", 11, type="NodePort", port={"nodePort": 30080}),
        service("local", 12, type="LoadBalancer", balancer="203.0.113.12", **LOCAL),
        service("elsewhere", 13, internalTrafficPolicy="Local"),
        service("empty", 14),
        service("sticky", 15, **STICKY),
        service(
            "ranges",
            16,
            type="LoadBalancer",
            balancer="203.0.113.16",
            loadBalancerSourceRanges=[*RANGES],
            port={"nodePort": 30082},
        ),
        service("given", 17, "UDP", externalIPs=["198.51.100.17"]),
        service("stream", 18, "SCTP"),
    ),
    slices=(
        slice_of("web", "abc"),
        slice_of("ports", "ab"),
        slice_of("local", "ac"),
        slice_of("elsewhere", "c"),
        slice_of("sticky", "abc"),
        slice_of("ranges", "b"),
        slice_of("given", "c", "UDP"),
        slice_of("stream", "a", "SCTP"),
    ),
)


def desired_of(state: ClusterState, node: str = "n1") -> Desired:
    """Return what the proxy of a node computes."""
    return tracked(state, node).desired()


THIRDS, HALVES = {"a": 0.3333, "b": 0.3333, "c": 0.3333}, {"a": 0.5, "b": 0.5}
# On n1, by address: the Service, the kind, endpoints with their shares, and what is not usual.
EXPECTED = {
    "10.96.0.10:80/TCP": ("web", "ClusterIP", THIRDS, {}),
    "10.96.0.11:80/TCP": ("ports", "ClusterIP", HALVES, {}),
    "*:30080/TCP": ("ports", "NodePort", HALVES, {}),
    "10.96.0.12:80/TCP": ("local", "ClusterIP", {"a": 0.5, "c": 0.5}, {}),
    "203.0.113.12:80/TCP": ("local", "LoadBalancer", {"a": 1.0}, {"inside": "ac", "local": True}),
    "*:30081/TCP": ("local", "NodePort", {"a": 1.0}, {"inside": "ac", "local": True}),
    "10.96.0.13:80/TCP": ("elsewhere", "ClusterIP", {}, {"refusal": "drop", "local": True}),
    "10.96.0.14:80/TCP": ("empty", "ClusterIP", {}, {"refusal": "reject"}),
    "10.96.0.15:80/TCP": ("sticky", "ClusterIP", THIRDS, {"affinity": 600}),
    "10.96.0.16:80/TCP": ("ranges", "ClusterIP", {"b": 1.0}, {}),
    "203.0.113.16:80/TCP": ("ranges", "LoadBalancer", {"b": 1.0}, {"sources": RANGES}),
    "*:30082/TCP": ("ranges", "NodePort", {"b": 1.0}, {}),
    "10.96.0.17:80/UDP": ("given", "ClusterIP", {"c": 1.0}, {}),
    "198.51.100.17:80/UDP": ("given", "ExternalIP", {"c": 1.0}, {}),
    "10.96.0.18:80/SCTP": ("stream", "ClusterIP", {"a": 1.0}, {}),
}


def seen(report: ServicesReport, node: str = "n1") -> dict[str, object]:
    """Return what a report has of a node, as ``EXPECTED`` has it."""
    found: dict[str, object] = {}
    for one in report.frontends:
        for entry in (entry for entry in one.nodes if entry.node == node):
            service = one.service.removeprefix("ns/")
            found[f"{one.address or '*'}:{one.port}/{one.protocol}"] = (
                service,
                one.kind,
                {_OWNERS[each.address]: each.share for each in entry.endpoints},
                dict(_unusual(one, entry)),
            )
    return found


def _unusual(one: FrontendView, entry: NodeEntry) -> Iterator[tuple[str, object]]:
    if entry.inside is not None:
        yield "inside", "".join(_OWNERS[each.address] for each in entry.inside)
    if one.local:
        yield "local", True
    for name in ("refusal", "affinity"):
        if getattr(entry, name):
            yield name, getattr(entry, name)
    if entry.sources is not None:
        yield "sources", tuple(sorted(entry.sources))


_OF = "10.96.0."


def _kube_ends(service: str, pods: str, sticky: str = "") -> Iterator[str]:
    """Yield the chain of a Service and those of its endpoints, as kube-proxy writes them."""
    ends = {pod: f"endpoint-{pod * 8}-ns/{service}/tcp/http__{PODS[pod][0]}/8080" for pod in pods}
    for pod, end in ends.items():
        had = f"update @affinity-{end[9:]} {{ ip saddr }}" if sticky else ""
        if sticky:
            yield (
                f"set affinity-{end[9:]} "
                f"{{ type ipv4_addr; flags dynamic,timeout; timeout {sticky}; }}"
            )
        yield (
            f"chain {end} {{\nip saddr {PODS[pod][0]} jump mark-for-masquerade\n{had}\n"
            f"meta l4proto tcp dnat to {PODS[pod][0]}:8080\n}}"
        )
    places = ", ".join(f"{place} : goto {end}" for place, end in enumerate(ends.values()))
    had = "\n".join(f"ip saddr @affinity-{end[9:]} goto {end}" for end in ends.values() if sticky)
    yield (
        f"chain service-HASHHASH-ns/{service}/tcp/http {{\n"
        f"ip daddr 10.96.0.10 ip saddr != 10.244.0.0/16 jump mark-for-masquerade\n{had}\n"
        f"numgen random mod {len(ends)} vmap {{ {places} }}\n}}"
    )


KUBE_PROXY = f"""
table ip kube-proxy {{
chain mark-for-masquerade {{ meta mark set mark or 0x4000; }}
chain reject-chain {{ reject; }}
{chr(10).join(_kube_ends("web", "abc"))}
{chr(10).join(_kube_ends("sticky", "abc", "600s"))}
{chr(10).join(_kube_ends("ranges", "b"))}
{chr(10).join(_kube_ends("local", "ac"))}
chain local-HASHHASH-ns/local/tcp/http {{
  numgen random mod 1 vmap {{ 0 : goto endpoint-aaaaaaaa-ns/local/tcp/http__10.244.1.2/8080 }}
}}
chain external-HASHHASH-ns/local/tcp/http {{
  ip saddr 10.244.0.0/16 goto service-HASHHASH-ns/local/tcp/http comment "short-circuit pod traffic"
  fib saddr type local jump mark-for-masquerade comment "masquerade local traffic"
  fib saddr type local goto service-HASHHASH-ns/local/tcp/http comment "short-circuit local traffic"
  goto local-HASHHASH-ns/local/tcp/http
}}
chain external-HASHHASH-ns/ranges/tcp/http {{
  jump mark-for-masquerade
  goto service-HASHHASH-ns/ranges/tcp/http
}}
chain firewall-HASHHASH-ns/ranges/tcp/http {{
  ip saddr != {{ 10.244.0.0/16, 192.0.2.0/25 }} drop
}}
set cluster-ips {{ type ipv4_addr; elements = {{ {_OF}10, {_OF}12, {_OF}14, {_OF}15 }}; }}
map service-ips {{
  type ipv4_addr . inet_proto . inet_service : verdict
  elements = {{
    {_OF}10 . tcp . 80 : goto service-HASHHASH-ns/web/tcp/http,
    {_OF}15 . tcp . 80 : goto service-HASHHASH-ns/sticky/tcp/http,
    203.0.113.12 . tcp . 80 : goto external-HASHHASH-ns/local/tcp/http,
    203.0.113.16 . tcp . 80 : goto external-HASHHASH-ns/ranges/tcp/http
  }}
}}
map service-nodeports {{
  type inet_proto . inet_service : verdict
  elements = {{ tcp . 30081 : goto external-HASHHASH-ns/local/tcp/http }}
}}
map firewall-ips {{
  type ipv4_addr . inet_proto . inet_service : verdict
  elements = {{ 203.0.113.16 . tcp . 80 : goto firewall-HASHHASH-ns/ranges/tcp/http }}
}}
map no-endpoint-services {{
  type ipv4_addr . inet_proto . inet_service : verdict
  elements = {{ {_OF}14 . tcp . 80 comment "ns/empty:http" : goto reject-chain }}
}}
chain services {{
  ip daddr . meta l4proto . th dport vmap @service-ips
  fib daddr type local meta l4proto . th dport vmap @service-nodeports
}}
chain nat-output {{ type nat hook output priority -100; jump services; }}
chain nat-prerouting {{ type nat hook prerouting priority -100; jump services; }}
}}
"""
