"""Faults of what a node keeps: tracked connections, leases, and the proxy's last sync."""

from collections.abc import Iterable

from debug.faults.acts.base import Act, FaultError
from debug.faults.acts.flows import Full, StaleFlow
from debug.faults.acts.node import Leak, Paused
from debug.faults.fault import Fault, Look
from debug.faults.scene import Scene, ipv4

SOURCE_PORT = 40053
_DNS = ("kube-system", "kube-dns")
_GONE = "192.0.2.53"  # of a documentation range (RFC 5737): nobody


def _stale_udp(scene: Scene) -> Iterable[Act]:
    if scene.mode == "ebpf":
        raise FaultError("mode ebpf translates at the socket, and keeps no flow to be stale")
    service = scene.cluster.service(_DNS)
    if service is None or not service.spec.cluster_ip or ":" in service.spec.cluster_ip:
        raise FaultError(f"there is no Service {'/'.join(_DNS)} with an IPv4 address")
    pods = scene.pods_of(scene.node)
    source = ipv4(pods[0]) if pods else scene.address(scene.node)
    yield StaleFlow(
        spot=scene.spot,
        source=source,
        source_port=SOURCE_PORT,
        service=service.spec.cluster_ip,
        port=53,
        backend=_GONE,
    )


def _full(scene: Scene) -> Iterable[Act]:
    yield Full(spot=scene.spot)


def _leak(scene: Scene) -> Iterable[Act]:
    yield Leak(node=scene.node, range=str(scene.range(scene.node)))


def _hung(scene: Scene) -> Iterable[Act]:
    yield Paused(node=scene.node, component="proxy")


FAULTS = (
    Fault(
        name="stale-udp",
        title="A UDP flow goes on to a backend that is no more",
        does="Gives {node} a tracked flow from the first of its Pods, port "
        f"{SOURCE_PORT}, to the DNS Service, whose backend is {_GONE}.",
        symptom=f"Questions from port {SOURCE_PORT} are never answered; from any other port they "
        "are. A syslog, SIP or DNS client with one socket hangs for ever after a rollout.",
        cause="Connection tracking translates a flow as its first packet was. Each packet renews "
        "the flow, so it never times out while the client tries.",
        find=(
            Look(
                "podwire lab exec {node} -- conntrack -L -p udp --dport 53",
                "each flow's second src: is it an endpoint of the Service?",
            ),
            Look("kubectl get endpointslices -n kube-system", "the endpoints that are"),
        ),
        heal="conntrack -D -p udp --orig-dst CLUSTERIP",
        sources=("k/k#139628", "k/k#141371"),
        repaired="the proxy, when an endpoint of the Service goes; not before",
        plan=_stale_udp,
    ),
    Fault(
        name="conntrack-full",
        title="The table of connection tracking is full",
        does="Adds flows to {node}'s table up to nf_conntrack_max. The maximum is the machine's, "
        "and takes 80 MB of its memory at 262,144 entries.",
        symptom="On {node} and from its Pods no new connection is made. Those that are open go on. "
        "The kernel logs 'nf_conntrack: table full, dropping packet'.",
        cause="Each connection needs an entry, and all entries are of connections that are taken "
        "to be alive: many short ones, a scan, or timeouts that are too long.",
        find=(
            Look(
                "podwire lab exec {node} -- sysctl net.netfilter.nf_conntrack_count "
                "net.netfilter.nf_conntrack_max",
                "how many there are, and how many there may be",
            ),
            Look("podwire lab exec {node} -- conntrack -S", "drop and early_drop, which grow"),
        ),
        heal="Raise net.netfilter.nf_conntrack_max (kube-proxy's --conntrack-min), lower the "
        "timeouts, and find who opens so many.",
        sources=("k/k#71261",),
        plan=_full,
    ),
    Fault(
        name="ipam-leak",
        title="All addresses are leased to containers that are no more",
        does="Writes leases of containers that never were for all free addresses of {node}.",
        symptom="New Pods on {node} stay in ContainerCreating, and their events say that no "
        "address is free. Pods that run go on.",
        cause="A CNI DEL that failed, or a crash, left the lease's file. After weeks the range is "
        "used up.",
        find=(
            Look("kubectl get events -A", "FailedCreatePodSandBox: no free address"),
            Look(
                "podwire lab exec {node} -- sh -c 'ls /var/lib/cni/networks/podwire | wc -l'",
                "how many leases there are",
            ),
            Look(
                "podwire lab exec {node} -- sh -c 'ls /run/netns | wc -l'",
                "how many Pods there are",
            ),
        ),
        heal="CNI GC, which the runtime calls; or remove the files of containers that do not run.",
        sources=("containernetworking/plugins#252", "k3s-io/k3s#5885"),
        plan=_leak,
    ),
    Fault(
        name="proxy-hung",
        title="The proxy runs, and does nothing",
        does="Pauses the proxy of {node} (SIGSTOP): the process is there.",
        symptom="New Services do not answer on {node}. Old ones do, and go on to Pods that have "
        "ended: a part of the connections hangs.",
        cause="The proxy is stuck, lost its watch, or has no processor. The rules stay as they "
        "were.",
        find=(
            Look("podwire lab exec {node} -- ps -C podwire -o pid,stat,args", "T: it is stopped"),
            Look(
                "podwire lab exec {node} -- curl -sm 2 http://127.0.0.1:10256/healthz",
                "the proxy's health, and the time of its last sync",
            ),
        ),
        heal="Restart it; alert on kubeproxy_sync_proxy_rules_last_timestamp_seconds.",
        sources=("https://kubernetes.io/docs/tasks/debug/debug-application/debug-service/",),
        plan=_hung,
    ),
)
