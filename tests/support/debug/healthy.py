"""A healthy cluster of two nodes with a VXLAN tunnel, as a snapshot whose parts a test replaces."""

import json
from typing import Any

from msgspec.structs import replace

from control.node_network.plan import Uplink, plan, tunnel_mac
from debug.cluster import ClusterState
from debug.doctor.look import peer_of
from debug.kernel.values import Address, Forwarding, Link, Neighbor, Route, SpaceState
from debug.machine.values import (
    Attachment,
    CniNetwork,
    MachineState,
    ProxyFacts,
    Reservation,
)
from debug.snapshot import Snapshot, SpaceSnapshot
from proxy.objects.wire import EndpointSlice, Node, Service
from proxy.policy.wire import Pod

CONTAINER = "c1"
SETTINGS = {
    "net/ipv4/ip_forward": "1",
    "net/ipv4/conf/all/rp_filter": "0",
    "net/ipv4/conf/all/route_localnet": "1",
    "net/netfilter/nf_conntrack_max": "1000",
    "net/netfilter/nf_conntrack_count": "10",
    "net/netfilter/nf_conntrack_tcp_be_liberal": "1",
    "net/ipv4/neigh/default/gc_thresh3": "1024",
}


TABLE = {"family": "ip", "table": "podwire-proxy"}
HOOKS: list[dict[str, Any]] = [
    {"chain": {**TABLE, "name": hook, "hook": hook, "type": "nat", "prio": 0, "policy": "accept"}}
    for hook in ("prerouting", "output", "postrouting")
]


def ruleset(*objects: dict[str, Any]) -> str:
    """What ``nft -j list ruleset`` prints of the proxy's table and some objects."""
    return json.dumps(
        {"nftables": [{"table": {"family": "ip", "name": "podwire-proxy"}}, *objects]}
    )


def node(number: int, **spec: Any) -> Node:
    return Node.read(
        {
            "metadata": {"name": f"node{number}"},
            "spec": {"podCIDR": f"10.244.{number}.0/24", **spec},
            "status": {"addresses": [{"type": "InternalIP", "address": f"172.31.0.{number}"}]},
        }
    )


def pod(name: str, number: int, **more: Any) -> Pod:
    return Pod.read(
        {
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
            "spec": {"nodeName": f"node{number}", "containers": [{"ports": []}]},
            "status": {"phase": "Running", "podIPs": [{"ip": f"10.244.{number}.2"}]},
            **more,
        }
    )


def service(name: str = "web", **spec: Any) -> Service:
    return Service.read(
        {
            "metadata": {"name": name, "namespace": "default"},
            "spec": {
                "type": "ClusterIP",
                "clusterIP": "10.96.0.7",
                "clusterIPs": ["10.96.0.7"],
                "selector": {"app": "web"},
                "ports": [{"port": 80, "targetPort": 8080, "protocol": "TCP"}],
                **spec,
            },
        }
    )


def endpoints(
    *addresses: str, port: int = 8080, protocol: str = "TCP", of: str = "web"
) -> EndpointSlice:
    return EndpointSlice.read(
        {
            "metadata": {
                "name": f"{of}-1",
                "namespace": "default",
                "labels": {"kubernetes.io/service-name": of},
            },
            "addressType": "IPv4",
            "ports": [{"name": "", "port": port, "protocol": protocol}],
            "endpoints": [{"addresses": [one], "conditions": {"ready": True}} for one in addresses],
        }
    )


DNS = Service.read(
    {
        "metadata": {
            **{"name": "kube-dns", "namespace": "kube-system"},
            "labels": {"k8s-app": "kube-dns"},
        },
        "spec": {"clusterIP": "10.96.0.10", "clusterIPs": ["10.96.0.10"]},
    }
)
DNS_SLICE = EndpointSlice.read(
    {
        "metadata": {
            **{"name": "kube-dns-1", "namespace": "kube-system"},
            "labels": {"kubernetes.io/service-name": "kube-dns"},
        },
        "addressType": "IPv4",
        "endpoints": [{"addresses": ["172.31.0.10"]}],
    }
)
OBJECTS = ClusterState(
    pods=(pod("web-1", 1), pod("web-2", 2)),
    services=(service(), DNS),
    slices=(
        DNS_SLICE,
        endpoints("10.244.1.2", "10.244.2.2"),
    ),
    nodes=(node(1), node(2)),
)


def space(number: int) -> SpaceState:
    own, *others = sorted(map(peer_of, OBJECTS.nodes), key=lambda one: one.name != f"node{number}")
    want = plan(own, [own, *others], "vxlan", Uplink("eth0", 1500))
    assert want.tunnel
    mac = tunnel_mac(own.addresses[0])
    indexes = {"eth0": 2, "podwire-vxlan": 3}
    return SpaceState(
        links=(
            Link(1, "lo", up=True),
            Link(2, "eth0", "veth", f"02:00:00:00:00:0{number}", 1500, up=True),
            Link(3, "podwire-vxlan", "vxlan", mac, 1450, up=True, vni=77, port=4789),
            Link(4, "podwire0", "bridge", f"02:00:00:00:01:0{number}", 1450, up=True),
            Link(5, "pw1", "veth", "fe:00:00:00:00:01", 1450, up=True, master=4, hairpin=True),
        ),
        addresses=(
            Address(2, f"172.31.0.{number}/24"),
            Address(3, f"10.244.{number}.0/32"),
            Address(4, f"10.244.{number}.1/24"),
        ),
        routes=(
            Route("0.0.0.0/0", link=2, gateway="172.31.0.254"),
            Route(f"10.244.{number}.0/24", link=4, protocol=2),
            *(
                Route(str(one.cidr), link=indexes[one.ifname], gateway=str(one.via), protocol=87)
                for one in want.routes
            ),
        ),
        forwarding=tuple(Forwarding(3, one.mac, str(one.node)) for one in want.tunnel.forwarding),
        neighbors=tuple(
            Neighbor(3, str(one.address), "permanent", one.mac) for one in want.tunnel.neighbors
        ),
        sysctls=dict(SETTINGS),
    )


def inside(number: int) -> SpaceState:
    return SpaceState(
        links=(Link(2, "eth0", "veth", f"0a:58:00:00:00:0{number}", 1450, up=True),),
        addresses=(Address(2, f"10.244.{number}.2/24"),),
        routes=(Route("0.0.0.0/0", link=2, gateway=f"10.244.{number}.1"),),
    )


def machine(number: int) -> MachineState:
    return MachineState(
        node=f"node{number}",
        kernel="6.18",
        proxy=ProxyFacts("nftables", {"clusterCIDR": "10.244.0.0/16"}),
        nft=ruleset(*HOOKS, {"set": {**TABLE, "name": "cluster-ips", "elem": ["10.96.0.7"]}}),
        statistics={"nf_conntrack/insert_failed": 0, "arp_cache/table_fulls": 0},
        filtered={"podwire0": True},
        reservations=(Reservation("podwire", f"10.244.{number}.2", CONTAINER, "eth0"),),
        attachments=(
            Attachment(
                *("podwire", CONTAINER, "eth0", "/run/netns/c1"),
                exists=True,
                pod=f"default/web-{number}",
                host_links=("podwire0", "pw1"),
                addresses=(f"10.244.{number}.2/24",),
            ),
        ),
        cni=CniNetwork("/etc/cni/net.d/10.conflist", "podwire", 1450),
    )


HEALTHY = Snapshot(
    "2026-01-01T00:00:00+00:00",
    OBJECTS,
    tuple(
        one
        for number in (1, 2)
        for one in (
            SpaceSnapshot(f"node{number}", space(number)),
            SpaceSnapshot(f"node{number}", inside(number), ("default", f"web-{number}")),
        )
    ),
    (machine(1), machine(2)),
)


def with_node(**parts: Any) -> Snapshot:
    """The cluster with other parts of node1's namespace."""
    first, *rest = HEALTHY.spaces
    changed = SpaceSnapshot("node1", replace(first.state, **parts))
    return replace(HEALTHY, spaces=(changed, *rest))


def with_machine(**parts: Any) -> Snapshot:
    """The cluster with other parts of node1 beside its namespace."""
    first, *rest = HEALTHY.machines
    return replace(HEALTHY, machines=(replace(first, **parts), *rest))


def with_objects(**parts: Any) -> Snapshot:
    """The cluster with other objects. Other Services and slices stand beside those of DNS."""
    return replace(HEALTHY, cluster=replace(OBJECTS, **parts))


def with_settings(**values: str) -> Snapshot:
    """The cluster with other sysctls on node1; ``__`` stands for a slash."""
    named = {name.replace("__", "/"): value for name, value in values.items()}
    return with_node(sysctls={**SETTINGS, **named})
