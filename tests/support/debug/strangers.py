"""Two nodes that others have set up, with a Pod each, and rules of kube-proxy's shape."""

import os
import select
import socket
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager

from debug.cluster import ClusterState, Names
from debug.explain.result import Branch
from debug.explain.space import Spaces
from debug.explain.walk import Walk
from debug.places import Place, entered
from debug.ruleset.packet import TCP, State, make
from tests.support.space import Space

SERVICE, ALONE, HERE, THERE = "10.96.0.9", "10.96.0.10", "10.244.0.2", "10.244.1.2"

NFTABLES = f"""
table ip kube-proxy {{
  set nobody {{
    type ipv4_addr
    flags interval
  }}
  map service-ips {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{ {SERVICE} . tcp . 80 comment "ns1/web:http" : goto service-web }}
  }}
  map no-endpoint-services {{
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = {{ {ALONE} . tcp . 80 comment "ns1/none" : goto reject-chain }}
  }}
  chain reject-chain {{
    reject with tcp reset
  }}
  chain filter-forward {{
    type filter hook forward priority -110; policy accept;
    ct state new ip daddr . meta l4proto . th dport vmap @no-endpoint-services
  }}
  chain service-web {{
    ip daddr {SERVICE} tcp dport 80 ip saddr != 10.244.0.0/16 jump mark-for-masquerade
    numgen random mod 2 vmap {{ 0 : goto endpoint-here, 1 : goto endpoint-there }}
  }}
  chain endpoint-here {{
    ip saddr {HERE} jump mark-for-masquerade
    meta l4proto tcp dnat to {HERE}:8080
  }}
  chain endpoint-there {{
    meta l4proto tcp dnat to {THERE}:8080
  }}
  chain mark-for-masquerade {{
    meta mark set meta mark | 0x4000
  }}
  chain masquerading {{
    meta mark & 0x4000 == 0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }}
  chain services {{
    ip daddr . meta l4proto . th dport vmap @service-ips
  }}
  chain nat-prerouting {{
    type nat hook prerouting priority dstnat; policy accept;
    jump services
  }}
  chain nat-output {{
    type nat hook output priority -100; policy accept;
    jump services
  }}
  chain nat-postrouting {{
    type nat hook postrouting priority srcnat; policy accept;
    jump masquerading
  }}
}}
"""
NAMED = '-m comment --comment "ns1/web:http cluster IP"'
IPTABLES = f"""*nat
:KUBE-SERVICES - [0:0]
:KUBE-SVC-WEB - [0:0]
:KUBE-SEP-HERE - [0:0]
:KUBE-SEP-THERE - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A OUTPUT -j KUBE-SERVICES
-A POSTROUTING -j KUBE-POSTROUTING
-A KUBE-SERVICES -d {SERVICE}/32 -p tcp {NAMED} -m tcp --dport 80 -j KUBE-SVC-WEB
-A KUBE-SVC-WEB ! -s 10.244.0.0/16 -d {SERVICE}/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ
-A KUBE-SVC-WEB -m statistic --mode random --probability 0.50000000000 -j KUBE-SEP-HERE
-A KUBE-SVC-WEB -j KUBE-SEP-THERE
-A KUBE-SEP-HERE -s {HERE}/32 -j KUBE-MARK-MASQ
-A KUBE-SEP-HERE -p tcp -m tcp -j DNAT --to-destination {HERE}:8080
-A KUBE-SEP-THERE -p tcp -m tcp -j DNAT --to-destination {THERE}:8080
-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0
-A KUBE-POSTROUTING -j MASQUERADE --random-fully
COMMIT
*filter
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A INPUT -d {ALONE}/32 -p tcp -m addrtype --dst-type LOCAL -j ACCEPT
-A FORWARD -d {ALONE}/32 -p tcp -m multiport --dports 80,443 -j REJECT --reject-with tcp-reset
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
COMMIT
"""


class World:
    """The namespaces, and what is explained of them."""

    def __init__(self, make_space: Callable[[str], Space]) -> None:
        self.nodes = make_space("one"), make_space("two")
        self.pods = make_space("here"), make_space("there")
        for at, (node, pod) in enumerate(zip(self.nodes, self.pods, strict=True)):
            node.veth("pod0", pod, "eth0")
            node.ip_batch(
                "link add cni0 type bridge",
                "link set pod0 master cni0",
                "link set cni0 up",
                f"addr add 10.244.{at}.1/24 dev cni0",
            )
            node.run("bridge", "link", "set", "dev", "pod0", "hairpin", "on")
            node.sysctl("net.ipv4.ip_forward", 1)
            pod.ip_batch(
                f"addr add 10.244.{at}.2/24 dev eth0", f"route add default via 10.244.{at}.1"
            )
        self.nodes[0].veth("eth0", self.nodes[1], "eth0")
        for at, node in enumerate(self.nodes):
            node.ip_batch(
                f"addr add 172.30.0.{at + 1}/24 dev eth0",
                f"route add 10.244.{1 - at}.0/24 via 172.30.0.{2 - at}",
                f"route add 10.96.0.0/16 via 172.30.0.{2 - at}",
            )
        self.places = tuple(
            Place(name, os.getpid(), str(space.path), pod)
            for name, space, pod in (
                ("one", self.nodes[0], None),
                ("two", self.nodes[1], None),
                ("one", self.pods[0], ("ns1", "here")),
                ("two", self.pods[1], ("ns1", "there")),
            )
        )

    def load(self, mode: str) -> None:
        """Give both nodes the rules: by nftables, or by a kind of iptables."""
        for node in self.nodes:
            if mode == "nftables":
                node.run("nft", "-f", "-", stdin=NFTABLES)
            else:
                node.run(f"{mode}-restore", stdin=IPTABLES)

    def explain(
        self,
        target: str = SERVICE,
        port: int = 80,
        source: int = 2,
        own_port: int = 40_000,
        *,
        new: bool = False,
    ) -> Branch:
        """Explain a packet of a Pod (2, 3) or of a node (0, 1)."""
        own = ("172.30.0.1", "172.30.0.2", HERE, THERE)[source]
        with closing(Spaces(self.places, new=new)) as spaces:
            packet = make(own, target, TCP, own_port, port)
            walk = Walk(spaces, Names(ClusterState()))
            return walk.begin(spaces.of(self.places[source]), State(packet))

    @contextmanager
    def listening(self) -> Iterator[list[socket.socket]]:
        """Have both Pods listen."""
        made = []
        for place in self.places[2:]:
            with entered(place):
                made.append(socket.create_server(("", 8080), backlog=64))
        try:
            yield made
        finally:
            for one in made:
                one.close()

    @contextmanager
    def connected(self) -> Iterator[tuple[int, str]]:
        """Keep a connection of the Pod to the Service; yield its port and who answers."""
        with self.listening() as servers:
            with entered(self.places[2]):
                client = socket.create_connection((SERVICE, 80), timeout=30)
            with client:
                ready, _, _ = select.select(servers, [], [], 30)
                yield client.getsockname()[1], (HERE, THERE)[servers.index(ready[0])]

    def asked(self) -> str:
        """Call the Service from the Pod, and send one SYN; return who answers, "" for nobody."""
        with self.listening() as servers:
            try:
                with entered(self.places[2]):
                    socket.create_connection((SERVICE, 80), timeout=0.3).close()
            except TimeoutError:
                return ""
            ready, _, _ = select.select(servers, [], [], 30)
            return (HERE, THERE)[servers.index(ready[0])]

    def call(self) -> tuple[str, str]:
        """Call the Service from the Pod; return who answers, and the client's address there."""
        with self.listening() as servers:
            with entered(self.places[2]):
                client = socket.create_connection((SERVICE, 80), timeout=30)
            with client:
                client.sendall(b"x")
                for number, server in enumerate(servers):
                    server.setblocking(False)
                    try:
                        accepted, peer = server.accept()
                    except BlockingIOError:
                        continue
                    accepted.close()
                    return (HERE, THERE)[number], peer[0]
        raise AssertionError("nobody was called")
