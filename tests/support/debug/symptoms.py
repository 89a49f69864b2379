"""For each fault: what works before it and after it, and does not meanwhile. Packets tell.

Questions are sent from threads in the namespaces of a lab's nodes and Pods, without processes.
"""

import socket
import struct
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import dns.exception
import dns.message
import dns.query

from control.client import ApiError
from debug.cluster import ClusterState, read_cluster
from debug.faults.known.state import SOURCE_PORT
from debug.kernel.read import read_space
from debug.places import Ground, Place, inside
from lab.probe import ask

OBJECTS = """
apiVersion: v1
kind: Pod
metadata: {{name: {name}, labels: {{app: {name}, part: {part}}}}}
spec:
  nodeName: {node}
  terminationGracePeriodSeconds: 0
  containers:
    - name: web
      image: podwire/tools
      command: [/bin/serve, "8080"]
      readinessProbe:
        httpGet: {{path: /, port: 8080}}
        periodSeconds: 1
        failureThreshold: 1
"""
SERVICE = """
apiVersion: v1
kind: Service
metadata: {{name: {name}}}
spec:
  type: NodePort
  sessionAffinity: {affinity}
  selector: {{{label}: {value}}}
  ports: [{{port: 80, targetPort: 8080}}]
"""
PODS = {"client": "node1", "near": "node1", "far": "node2"}
_PORT = 7777  # of this module's own servers
_OF_LINKS = ("fe80:", "ff00:")  # what each new link gets some seconds after it
_SOON = 0.5  # seconds: a packet that has not come by then was lost


def pod(name: str, node: str, part: str = "") -> str:
    """The manifest of a Pod that answers its name."""
    return OBJECTS.format(name=name, node=node, part=part or name)


def service(name: str, label: str, value: str, affinity: str = "None") -> str:
    """The manifest of a Service."""
    return SERVICE.format(name=name, label=label, value=value, affinity=affinity)


def manifests() -> str:
    """The Pods client and near on node1 and far on node2; a Service for near, far, and both."""
    pods = [pod(name, node, "" if name == "client" else "both") for name, node in PODS.items()]
    services = [service(name, "app", name) for name in ("near", "far")]
    return "---".join((*pods, *services, service("both", "part", "both", "ClientIP")))


@dataclass(frozen=True)
class World:
    """A lab with these objects."""

    ground: Ground
    cluster: ClusterState

    @classmethod
    def of(cls, ground: Ground) -> "World":
        """Read it."""
        assert ground.kubeconfig
        return cls(ground, read_cluster(ground.kubeconfig))

    def place(self, name: str) -> Place:
        """The namespace of a Pod of ours, or of a node."""
        return self.ground.pod(("default", name)) if name in PODS else self.ground.node(name)

    def ip(self, name: str) -> str:
        """The address of a Pod of ours, or of a node."""
        for pod in self.cluster.pods:
            if pod.key == ("default", name):
                return pod.status.pod_ip or ""
        for node in self.cluster.nodes:
            if node.metadata.name == name:
                return node.status.addresses[0].address
        raise AssertionError(f"no {name}")

    def cluster_ip(self, name: str, namespace: str = "default") -> str:
        """The address of a Service."""
        service = self.cluster.service((namespace, name))
        assert service
        return service.spec.cluster_ip or ""

    def http(self, client: str, address: str, port: int = 80) -> bool:
        """Whether a server answers a Pod or a node."""
        return self.answer(client, address, port) != ""

    def answer(self, client: str, address: str, port: int = 80) -> str:
        """What a server answers; "" if it does not."""
        try:
            return inside(self.place(client), lambda: ask(address, port, _SOON))
        except OSError:
            return ""

    def is_refused(self, client: str, address: str, port: int = 80) -> bool:
        """Whether a connection is refused at once."""
        try:
            inside(self.place(client), lambda: ask(address, port, _SOON))
        except ConnectionRefusedError:
            return True
        except OSError:
            return False
        return False

    def pod_to_pod(self) -> bool:
        """Whether a Pod reaches one of another node."""
        return self.http("client", self.ip("far"), 8080)

    def resolves(self, client: str, port: int = 0) -> bool:
        """Whether the DNS Service answers, a client with a fixed port if one is given."""
        query = dns.message.make_query("kubernetes.default.svc.cluster.local", "A")
        server = self.cluster_ip("kube-dns", "kube-system")
        try:
            inside(
                self.place(client),
                lambda: dns.query.udp(query, server, _SOON, source_port=port),
            )
        except dns.exception.Timeout:
            return False
        return True

    @contextmanager
    def listening(self, name: str, kind: int = socket.SOCK_STREAM) -> Iterator[socket.socket]:
        """A server's socket in a Pod's or a node's network."""

        def bind() -> socket.socket:
            made = socket.socket(socket.AF_INET, kind)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            made.bind(("", _PORT))
            return made

        with inside(self.place(name), bind) as server:
            server.settimeout(_SOON)
            if kind == socket.SOCK_STREAM:
                server.listen()
            yield server

    def caller(self, client: str, server: str) -> str:
        """The address that a server sees when a client connects; "" if none comes."""
        address = self.ip(server), _PORT
        with self.listening(server) as listener:
            try:
                made = lambda: socket.create_connection(address, _SOON)  # noqa: E731
                with inside(self.place(client), made):
                    connection, (found, _) = listener.accept()
                    connection.close()
                    return str(found)
            except OSError:
                return ""

    def passes(self, size: int) -> bool:
        """Whether a datagram of a size comes from node1 to node2."""

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.sendto(bytes(size), (self.ip("node2"), _PORT))

        with self.listening("node2", socket.SOCK_DGRAM) as server:
            inside(self.place("node1"), send)
            try:
                return len(server.recv(1 << 16)) == size
            except TimeoutError:
                return False

    def arp_answers(self, name: str) -> int:
        """How many MACs say on node1's bridge that they have a Pod's address."""

        def probe() -> set[bytes]:
            with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x0806)) as raw:
                raw.bind(("podwire0", 0x0806))
                own = raw.getsockname()[4]
                source = socket.inet_aton(str(next(_bridge_address())))
                head = b"\xff" * 6 + own + struct.pack("!HHHBBH", 0x0806, 1, 0x0800, 6, 4, 1)
                raw.send(head + own + source + bytes(6) + socket.inet_aton(self.ip(name)))
                return set(_replies(raw, socket.inet_aton(self.ip(name))))

        return len(inside(self.place("node1"), probe))

    def is_found_twice(self) -> bool:
        """Whether a node has an IPv6 address that is marked as another's."""
        states = [inside(self.place(node), read_space) for node in ("node1", "node2")]
        return any(address.duplicate for state in states for address in state.addresses)

    def speaks_last(self, name: str) -> None:
        """Have a Pod send something, by which the bridge learns where its MAC is."""

        def send() -> None:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as made:
                made.sendto(b"here", (self.ip("node1"), 9))

        inside(self.place(name), send)

    def own_mac_wins(self) -> bool:
        """Whether near answers its node after client has spoken."""
        self.speaks_last("client")
        return self.http("node1", self.ip("near"), 8080)

    def node_port(self, name: str) -> int:
        """The NodePort of a Service."""
        service = self.cluster.service(("default", name))
        assert service
        return service.spec.ports[0].node_port or 0


def _bridge_address() -> Iterator[str]:
    state = read_space()
    bridge = state.named("podwire0")
    for address in state.addresses:
        if bridge and address.link == bridge.index and "." in address.ip:
            yield address.ip.partition("/")[0]


def _replies(raw: socket.socket, wanted: bytes) -> Iterator[bytes]:
    """Yield the senders of ARP answers about an address, until none comes for a time."""
    raw.settimeout(_SOON / 2)
    try:
        while True:
            frame = raw.recv(100)
            if frame[20:22] == b"\0\2" and frame[28:32] == wanted:
                yield frame[22:28]
    except TimeoutError:
        return


@dataclass(frozen=True)
class Symptom:
    """``works`` is true without the fault and false with it; ``still`` is true all the time.

    ``traced`` are SRC and DST of a packet that `podwire trace` loses by the fault; () if none is
    lost, or if it is lost by chance.
    """

    works: Callable[[World], bool]
    still: Callable[[World], bool] = lambda _: True
    wish: tuple[tuple[str, str], ...] = ()
    traced: tuple[str, ...] = ()


def _service(client: str, name: str) -> Callable[[World], bool]:
    return lambda world: world.http(client, world.cluster_ip(name))


def _with(**wish: str) -> tuple[tuple[str, str], ...]:
    return tuple(wish.items())


def _by_address(world: World) -> bool:
    return world.http("client", world.ip("far"), 8080)


def _node_to_node(world: World) -> bool:
    return world.caller("node1", "node2") == world.ip("node1")


SYMPTOMS = {
    "duplicate-node-ip": Symptom(_node_to_node, traced=("node1", "node2")),
    "mtu-black-hole": Symptom(
        lambda w: w.passes(1440), lambda w: w.passes(1300), traced=("node1", "node2", "1440")
    ),
    "bridge-filter-off": Symptom(
        _service("client", "near"), _service("client", "far"), traced=("client", "service/near:80")
    ),
    "forwarding-off": Symptom(
        World.pod_to_pod,
        lambda w: w.http("node1", w.ip("far"), 8080),
        traced=("client", "pod/far:8080"),
    ),
    "duplicate-pod-cidr": Symptom(World.pod_to_pod, traced=("client", "pod/far:8080")),
    "strict-rp-filter": Symptom(World.pod_to_pod, traced=("client", "pod/far:8080")),
    "hairpin-off": Symptom(
        _service("near", "near"), _service("client", "near"), traced=("near", "service/near:80")
    ),
    "nodeport-loopback": Symptom(
        lambda w: w.http("node1", "127.0.0.1", w.node_port("near")),
        lambda w: w.http("node1", w.ip("node1"), w.node_port("near")),
    ),
    "wrong-neighbor": Symptom(_node_to_node, traced=("node1", "node2")),
    "ipv6-dad": Symptom(lambda w: not w.is_found_twice()),
    "forward-drop": Symptom(
        World.pod_to_pod,
        lambda w: w.http("node1", w.ip("far"), 8080),
        traced=("client", "pod/far:8080"),
    ),
    "iptables-mixed": Symptom(World.pod_to_pod, traced=("client", "pod/far:8080")),
    "overlay-filtered": Symptom(World.pod_to_pod, _node_to_node, traced=("client", "pod/far:8080")),
    "rules-wiped": Symptom(
        _service("client", "far"), World.pod_to_pod, traced=("client", "service/far:80")
    ),
    "over-masquerade": Symptom(
        lambda w: w.caller("client", "far") == w.ip("client"),
        lambda w: w.caller("client", "far") in (w.ip("client"), w.ip("node1"), _tunnel(w)),
    ),
    "dns-down": Symptom(
        lambda w: w.resolves("client"),
        _service("client", "far"),
        traced=("client", "kube-system/kube-dns:53/udp"),
    ),
    "dns-slow": Symptom(
        lambda w: w.resolves("client") and w.resolves("client"),
        lambda w: w.resolves("client") or w.resolves("client"),
    ),
    "stale-udp": Symptom(
        lambda w: w.resolves("client", SOURCE_PORT),
        lambda w: w.resolves("client"),
        traced=("client", "kube-system/kube-dns:53/udp", "", str(SOURCE_PORT)),
    ),
    "conntrack-full": Symptom(_by_address),
    "duplicate-pod-ip": Symptom(
        lambda w: (w.arp_answers("near"), w.answer("node1", w.ip("near"), 8080)) == (1, "near"),
        lambda w: w.arp_answers("near") > 0,
        _with(pod="near"),
    ),
    "duplicate-mac": Symptom(World.own_mac_wins, wish=_with(pod="near")),
    "probe-blocked": Symptom(
        _service("client", "far"),
        _by_address,
        _with(service="far"),
        traced=("client", "service/far:80"),
    ),
    "policy-denies": Symptom(
        _service("client", "far"), wish=_with(service="far"), traced=("client", "service/far:80")
    ),
    "policy-no-dns": Symptom(
        lambda w: w.resolves("near"),
        _service("near", "far"),
        _with(service="near"),
        traced=("near", "kube-system/kube-dns:53/udp"),
    ),
    "wrong-selector": Symptom(
        lambda w: not w.is_refused("client", w.cluster_ip("far")),
        _by_address,
        _with(service="far"),
        traced=("client", "service/far:80"),
    ),
    "wrong-target-port": Symptom(
        lambda w: not w.is_refused("client", w.cluster_ip("far")),
        _by_address,
        _with(service="far"),
        traced=("client", "service/far:80"),
    ),
    "local-policy": Symptom(
        _service("client", "far"),
        _service("node2", "far"),
        _with(service="far"),
        traced=("client", "service/far:80"),
    ),
}


def _tunnel(world: World) -> str:
    """The address of node1 in the tunnel."""
    node = next(one for one in world.cluster.nodes if one.metadata.name == "node1")
    return (node.spec.pod_cidr or "").partition("/")[0]


def picture(ground: Ground) -> dict[str, Any]:
    """All that a fault may change, without what changes by itself."""
    found: dict[str, Any] = {}
    for place in ground.places:
        found[f"{place.name} on {place.node}"] = inside(place, network)
    assert ground.kubeconfig
    try:
        cluster = read_cluster(ground.kubeconfig)
    except ApiError as err:
        raise AssertionError(str(err)) from err
    found["services"] = {one.key: one.spec for one in cluster.services}
    found["policies"] = {one.key: one.spec for one in cluster.policies}
    return found


def network() -> dict[str, Any]:
    """What this network namespace holds."""
    state = read_space()
    moving = ("net/netfilter/nf_conntrack_count",)
    return {
        "links": {
            (link.name, link.mac, link.mtu, link.up, link.hairpin, link.master)
            for link in state.links
        },
        "addresses": {
            (one.link, one.ip, one.duplicate)
            for one in state.addresses
            if not one.ip.startswith(_OF_LINKS)
        },
        "routes": {one for one in state.routes if not one.destination.startswith(_OF_LINKS)},
        "permanent": {one for one in state.neighbors if one.state == "permanent"},
        "sysctls": {key: text for key, text in state.sysctls.items() if key not in moving},
        "rules": _ruleset("nft", "-s", "list", "ruleset"),
        "legacy": _ruleset("iptables-legacy-save"),
    }


def _ruleset(*argv: str) -> list[str]:
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    lines = sorted(done.stdout.splitlines())  # of what is written anew the order may change
    return [line for line in lines if not line.startswith(("#", ":", "*", "COMMIT"))]
