"""A lab's specification as values; lab/parts.py makes machines of it."""

import ipaddress
import re
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath

_SHORTEST = timedelta(seconds=1)
# A lab's name becomes part of host names and paths: a DNS label (RFC 1123), kept short.
NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,30}[a-z0-9])?")
MAX_NODES = 100
MAX_HOLLOW = 500
NODE_MASKS = {4: 24, 6: 64}  # prefix length of each node's part of the Pod range

SWITCH_V4 = ipaddress.ip_interface("172.31.0.1/21")
SWITCH_V6 = ipaddress.ip_interface("fd00:31::1/64")
SWITCHES = {4: SWITCH_V4, 6: SWITCH_V6}
SWITCH_HOST = 1
CONTROL_HOST = 10  # the control plane's address is .10, that of node i is .10 + i
HOLLOW_HOST = 768  # the address of hollow node i is this number and i, where nobody answers
# With several control planes: control2 is .2, and so on; the switch balances between them.
CONTROL_NAMES = ("control", *(f"control{number}" for number in range(2, 6)))
CONTROL_COUNTS = (1, 3, 5)  # an even one of etcd's members is no safer than one less
POOL = {4: "172.31.0.200-172.31.0.250", 6: "fd00:31::200-fd00:31::2ff"}  # of load balancers
UPLINK = "eth0"  # a machine's end of its cable
API_PORT = 6443
ZONE = "topology.kubernetes.io/zone"  # a label, which the cloud gives a node
POD_PIDS = 4096  # a Pod that forks without end must not take the processes of the whole machine

POD_CIDRS = ("10.244.0.0/16", "fd00:10:244::/56")
SERVICE_CIDRS = ("10.96.0.0/16", "fd00:10:96::/112")

# The API server's listening sockets are made before it, and outlive it: during a restart,
# connections wait in the backlog and are not refused.
MANAGEMENT_FD = 100  # 127.0.0.1 of the host's network namespace, for the user's kubectl
CLUSTER_FD = 101  # the control machine's address, for everything in the lab
# The DNS servers share sockets in the same way: who asks while one is restarted is answered by the
# other, or waits. For each of the control machine's addresses: UDP, then TCP.
DNS_FDS = (102, 103, 104, 105)
DNS_PORT, DNS_METRICS_PORT = 53, 9153
# Upstream's --secure-port of all three.
CONTROLLERS_METRICS_PORT, CLOUD_METRICS_PORT, SCHEDULER_METRICS_PORT = 10257, 10258, 10259
SPEAKER_METRICS_PORT = 7472  # MetalLB's
DNS_SERVERS = 2
CLUSTER_DOMAIN = "cluster.local"
_DNS_PLACE = 10  # of the Service kube-dns in each range of ClusterIPs, as in kubeadm

SQLITE, ETCD = "sqlite", "etcd"
STORES = (SQLITE, ETCD)
ETCD_PORT, ETCD_PEER_PORT = 2379, 2380

BUILTIN, CONTAINERD = "builtin", "containerd"
RUNTIMES = (BUILTIN, CONTAINERD)
CONTAINERD_SOCKET = "unix:///run/containerd/containerd.sock"
IMAGES_PORT = 10246  # of each node's registry, on its loopback

HOLLOW = "hollow"  # the folder of the hollow nodes' files
CONFIG = PurePosixPath("/etc/podwire")
DATA = PurePosixPath("/var/lib/podwire")
LOADED_IMAGES = DATA / "loaded-images"  # those of one node


class LabSpecError(Exception):
    """An option of a lab is invalid; the text names the option and the valid values."""


@dataclass(frozen=True, slots=True)
class NodeSpec:
    """A node; its number decides its address, and it stays down while it is ``stopped``."""

    name: str
    number: int
    labels: tuple[tuple[str, str], ...] = ()
    taints: tuple[str, ...] = ()  # KEY[=VALUE]:EFFECT
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class LabSpec:
    """The choices of ``lab up``, and its nodes; of two Pod or Service ranges the second is IPv6."""

    name: str
    nodes: tuple[NodeSpec, ...]
    proxy: str
    overlay: str
    store: str  # one of STORES
    pod_cidrs: tuple[str, ...]
    service_cidrs: tuple[str, ...]
    counters: str = "off"  # the proxies' --service-counters
    dns_upstreams: tuple[str, ...] = ()  # the DNS servers' --upstream
    stub_domains: tuple[str, ...] = ()  # the DNS servers' --stub-domain
    runtime: str = BUILTIN  # what runs the nodes' containers: one of RUNTIMES
    stopped: bool = False  # by lab stop: no process is expected
    hollow: int = 0  # nodes whose containers are only said to run
    control_planes: int = 1  # one of CONTROL_COUNTS
    stopped_controls: tuple[str, ...] = ()  # by lab node stop
    event_ttl: str = ""  # the API servers' --event-ttl; empty for their own

    @property
    def controls(self) -> tuple[str, ...]:
        """The names of the control planes' machines."""
        return CONTROL_NAMES[: self.control_planes]

    @property
    def is_balanced(self) -> bool:
        """True if there are several API servers, between which the switch balances."""
        return self.control_planes > 1

    def node(self, name: str) -> NodeSpec:
        """Return a node by its name; raises LabSpecError, which lists the existing ones."""
        for node in self.nodes:
            if node.name == name:
                return node
        known = ", ".join(node.name for node in self.nodes)
        raise LabSpecError(f"lab {self.name} has no node {name}: it has {known}")

    @property
    def hollow_names(self) -> tuple[str, ...]:
        """The names of the hollow nodes; a ``-`` keeps them apart from the others'."""
        return tuple(f"hollow-{number}" for number in range(1, self.hollow + 1))

    @property
    def families(self) -> tuple[int, ...]:
        """The IP versions of Pods, Services and machines, 4 or 6; the first one is primary."""
        return tuple(ipaddress.ip_network(cidr).version for cidr in self.pod_cidrs)

    @property
    def ip_family(self) -> str:
        """The choice of ``--ip-family``."""
        return "dual" if len(self.families) > 1 else f"ipv{self.families[0]}"


@dataclass(frozen=True, slots=True)
class Component:
    """A process of a machine: a ``podwire`` subcommand, or a program, with its arguments."""

    name: str
    argv: tuple[str, ...]
    is_program: bool = False


@dataclass(frozen=True, slots=True)
class Machine:
    """A host of the lab; addresses have a prefix length."""

    name: str
    addresses: tuple[str, ...]
    components: tuple[Component, ...]

    @property
    def has_containerd(self) -> bool:
        """True if containerd runs the containers of this machine."""
        return any(component.name == CONTAINERD for component in self.components)

    @property
    def ips(self) -> tuple[str, ...]:
        """The addresses without prefix lengths."""
        return tuple(address.partition("/")[0] for address in self.addresses)


def check_name(name: str) -> str:
    """Return a valid name of a lab, for folders and command lines; raises LabSpecError."""
    if not NAME.fullmatch(name):
        raise LabSpecError(f"--name {name!r}: use 1 to 32 lower-case letters, digits and '-'")
    return name


def make_spec(
    name: str,
    *,
    nodes: int = 3,
    proxy: str = "iptables",
    overlay: str = "routes",
    store: str = SQLITE,
    pod_cidr: str | None = None,
    service_cidr: str | None = None,
    ip_family: str = "ipv4",
    dual_stack: bool = False,
    dns_upstream: tuple[str, ...] = (),
    stub_domain: tuple[str, ...] = (),
    runtime: str = BUILTIN,
    hollow: int = 0,
    control_planes: int = 1,
    event_ttl: str = "",
) -> LabSpec:
    """Return the specification for ``lab up``'s options; raises LabSpecError."""
    check_life(event_ttl)
    check_name(name)
    check_controls(control_planes, store)
    _check_counts(nodes, hollow)
    if dual_stack and ip_family == "ipv6":
        raise LabSpecError("--ip-family ipv6 and --dual-stack: choose one of them")
    family = "dual" if dual_stack else ip_family
    pods = _ranges("--pod-cidr", pod_cidr, POD_CIDRS, family)
    services = _ranges("--service-cidr", service_cidr, SERVICE_CIDRS, family)
    _check_ranges(pods, services)
    require_room(nodes + hollow, pods)
    return LabSpec(
        *(name, numbered(nodes), proxy, overlay, store, pods, services),
        dns_upstreams=dns_upstream,
        stub_domains=stub_domain,
        runtime=runtime,
        hollow=hollow,
        control_planes=control_planes,
        event_ttl=event_ttl,
    )


def _check_ranges(pods: tuple[str, ...], services: tuple[str, ...]) -> None:
    if len(pods) != len(services):
        raise LabSpecError("--pod-cidr and --service-cidr need the same address families")
    _refuse_overlap({"--pod-cidr": pods, "--service-cidr": services})
    _require_dns(services)


def check_life(text: str) -> None:
    """Refuse what is no time that Events may live; raises LabSpecError."""
    from control.api.times import duration  # the API's package is for those who ask it

    life = duration(text) if text else _SHORTEST
    if life is None or life < _SHORTEST:
        why = "want a time of a second or more, such as 30m or 1h0m0s"
        raise LabSpecError(f"--event-ttl {text}: {why}")


def _check_counts(nodes: int, hollow: int) -> None:
    if not 1 <= nodes <= MAX_NODES:
        raise LabSpecError(f"--nodes {nodes}: a lab has 1 to {MAX_NODES} nodes")
    if not 0 <= hollow <= MAX_HOLLOW:
        raise LabSpecError(f"--hollow {hollow}: a lab has 0 to {MAX_HOLLOW} hollow nodes")


def check_controls(count: int, store: str) -> None:
    """Refuse a number of control planes that a store cannot serve; raises LabSpecError."""
    if count not in CONTROL_COUNTS:
        known = ", ".join(map(str, CONTROL_COUNTS))
        raise LabSpecError(
            f"--control-planes {count}: a lab has {known}, so that etcd has a majority"
        )
    if count > 1 and store != ETCD:
        raise LabSpecError(
            f"--control-planes {count}: API servers share an etcd, and no {store}: add --store etcd"
        )


def numbered(count: int) -> tuple[NodeSpec, ...]:
    """Return the nodes node1, node2 … of a new lab."""
    return tuple(NodeSpec(f"node{number}", number) for number in range(1, count + 1))


def _ranges(
    option: str, given: str | None, default: tuple[str, str], family: str
) -> tuple[str, ...]:
    """Return the ranges of a lab's families, IPv4 first; a missing one is the default.

    An IPv6 range in a lab of IPv4 makes it a lab of both.
    """
    try:
        networks = [ipaddress.ip_network(part.strip()) for part in (given or "").split(",") if part]
    except ValueError as err:
        raise LabSpecError(f"{option} {given}: {err}; write it as {default[0]}") from err
    for network in networks:
        if not network.is_private:
            raise LabSpecError(f"{option} {network}: a lab may use only private ranges")
    v4 = [str(network) for network in networks if network.version == 4]
    v6 = [str(network) for network in networks if network.version == 6]
    if len(v4) > 1 or len(v6) > 1:
        raise LabSpecError(f"{option} {given}: want at most one range of each family")
    if family == "ipv6":
        if v4:
            raise LabSpecError(f"{option} {v4[0]}: a lab of --ip-family ipv6 has IPv6 ranges only")
        return (v6[0] if v6 else default[1],)
    if family == "ipv4" and not v6:
        return (v4[0] if v4 else default[0],)
    return (v4[0] if v4 else default[0], v6[0] if v6 else default[1])


def _refuse_overlap(ranges: dict[str, tuple[str, ...]]) -> None:
    known: list[tuple[str, ipaddress.IPv4Network | ipaddress.IPv6Network]] = [
        ("the nodes' range", SWITCH_V4.network),
        ("the nodes' range", SWITCH_V6.network),
    ]
    for option, cidrs in ranges.items():
        for network in map(ipaddress.ip_network, cidrs):
            for other, taken in known:
                if network.version == taken.version and network.overlaps(taken):
                    raise LabSpecError(f"{option} {network} overlaps {other} {taken}")
            known.append((option, network))


def _require_dns(service_cidrs: tuple[str, ...]) -> None:
    for network in map(ipaddress.ip_network, service_cidrs):
        if network.num_addresses <= _DNS_PLACE + 1:
            raise LabSpecError(
                f"--service-cidr {network} is too small: the cluster DNS has address "
                f"{_DNS_PLACE} of it; want a range of 16 addresses or more"
            )


def require_room(nodes: int, pod_cidrs: tuple[str, ...]) -> None:
    """Refuse Pod ranges that are too small for a number of nodes; raises LabSpecError."""
    for network in map(ipaddress.ip_network, pod_cidrs):
        mask = NODE_MASKS[network.version]
        if network.prefixlen > mask or 1 << (mask - network.prefixlen) < nodes:
            raise LabSpecError(
                f"--pod-cidr {network} is too small: each of {nodes} nodes needs a /{mask}"
            )


def api_url(spec: LabSpec, host: int | None = None) -> str:
    """Return the API's URL inside the lab, or that of one control plane's ``host``.

    With several control planes it is that of the switch, which balances between them.
    """
    if host is None:
        host = SWITCH_HOST if spec.is_balanced else CONTROL_HOST
    return f"https://{authority(address_of(spec, host), API_PORT)}"


def authority(address: str, port: int) -> str:
    """Return an address and port as a URL has them."""
    return f"{f'[{address}]' if ':' in address else address}:{port}"


def address_of(spec: LabSpec, host: int) -> str:
    """Return a machine's first address, by its number in the nodes' ranges."""
    return addresses_of(spec, host)[0].partition("/")[0]


def control_host(name: str) -> int:
    """Return the number, in the nodes' ranges, of a control plane's machine."""
    place = CONTROL_NAMES.index(name)
    return place + 1 if place else CONTROL_HOST


def dns_ips(spec: LabSpec) -> tuple[str, ...]:
    """Return the ClusterIPs of the Service ``kube-dns``."""
    return tuple(str(ipaddress.ip_network(cidr)[_DNS_PLACE]) for cidr in spec.service_cidrs)


def addresses_of(spec: LabSpec, host: int) -> tuple[str, ...]:
    """Return a machine's addresses, by its number in the nodes' ranges, with prefix lengths."""
    networks = (SWITCHES[family].network for family in spec.families)
    return tuple(f"{network[host]}/{network.prefixlen}" for network in networks)


def cgroup(lab: str, machine: str = "") -> str:
    """Return the cgroup of a lab, or of one of its machines, relative to the hierarchy's root."""
    return "/".join(part for part in ("podwire", lab, machine) if part)


def pools(spec: LabSpec) -> str:
    """Return the lab's pool of load balancers' addresses, which are in the switch's network."""
    ranges = [POOL[family] for family in spec.families]
    return (
        "apiVersion: metallb.io/v1beta1\nkind: IPAddressPool\nmetadata: {name: default}\n"
        f"spec: {{addresses: {ranges}}}\n"
    )
