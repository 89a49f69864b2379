"""Rules as kube-proxy 1.33 writes them, for Services of one port.

Source: kubernetes, pkg/proxy/nftables and pkg/proxy/iptables, proxier.go; the tables that their
TestOverall… tests expect.
"""

from base64 import b32encode
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

PODS, NODE, SERVICES = "10.244.1.0/24", "172.30.0.11", "10.96.0.0/12"


@dataclass(frozen=True)
class Port:
    """A Service's port of TCP, with its endpoints as ``ADDRESS:PORT``."""

    service: str  # NAMESPACE/NAME
    name: str
    address: str
    number: int
    endpoints: tuple[str, ...] = ()
    node_port: int = 0

    @property
    def title(self) -> str:
        """As in comments."""
        return f"{self.service}:{self.name}"


def _hash(*words: str) -> str:
    return b32encode(sha256("".join(words).encode()).digest()).decode()


_BASE = f"""
add table ip kube-proxy {{ comment "rules for kube-proxy" ; }}
add set ip kube-proxy cluster-ips {{ type ipv4_addr ; comment "Active ClusterIPs" ; }}
add set ip kube-proxy nodeport-ips \
  {{ type ipv4_addr ; comment "IPs that accept NodePort traffic" ; }}
add map ip kube-proxy firewall-ips {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
add map ip kube-proxy no-endpoint-nodeports {{ type inet_proto . inet_service : verdict ; }}
add map ip kube-proxy no-endpoint-services \
  {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
add map ip kube-proxy service-ips {{ type ipv4_addr . inet_proto . inet_service : verdict ; }}
add map ip kube-proxy service-nodeports {{ type inet_proto . inet_service : verdict ; }}
add chain ip kube-proxy cluster-ips-check
add chain ip kube-proxy filter-prerouting-pre-dnat {{ type filter hook prerouting priority -110 ; }}
add chain ip kube-proxy filter-output-pre-dnat {{ type filter hook output priority -110 ; }}
add chain ip kube-proxy filter-forward {{ type filter hook forward priority 0 ; }}
add chain ip kube-proxy filter-input {{ type filter hook input priority 0 ; }}
add chain ip kube-proxy filter-output {{ type filter hook output priority 0 ; }}
add chain ip kube-proxy firewall-check
add chain ip kube-proxy mark-for-masquerade
add chain ip kube-proxy masquerading
add chain ip kube-proxy nat-output {{ type nat hook output priority -100 ; }}
add chain ip kube-proxy nat-postrouting {{ type nat hook postrouting priority 100 ; }}
add chain ip kube-proxy nat-prerouting {{ type nat hook prerouting priority -100 ; }}
add chain ip kube-proxy nodeport-endpoints-check
add chain ip kube-proxy reject-chain {{ comment "helper for @no-endpoint-services" ; }}
add chain ip kube-proxy services
add chain ip kube-proxy service-endpoints-check
add rule ip kube-proxy cluster-ips-check ip daddr @cluster-ips reject \
  comment "Reject traffic to invalid ports of ClusterIPs"
add rule ip kube-proxy cluster-ips-check ip daddr {{ {SERVICES} }} drop \
  comment "Drop traffic to unallocated ClusterIPs"
add rule ip kube-proxy filter-prerouting-pre-dnat ct state new jump firewall-check
add rule ip kube-proxy filter-forward ct state new jump service-endpoints-check
add rule ip kube-proxy filter-forward ct state new jump cluster-ips-check
add rule ip kube-proxy filter-input ct state new jump nodeport-endpoints-check
add rule ip kube-proxy filter-input ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output ct state new jump service-endpoints-check
add rule ip kube-proxy filter-output-pre-dnat ct state new jump firewall-check
add rule ip kube-proxy filter-output ct state new jump cluster-ips-check
add rule ip kube-proxy firewall-check ip daddr . meta l4proto . th dport vmap @firewall-ips
add rule ip kube-proxy mark-for-masquerade mark set mark or 0x4000
add rule ip kube-proxy masquerading mark and 0x4000 == 0 return
add rule ip kube-proxy masquerading mark set mark xor 0x4000
add rule ip kube-proxy masquerading masquerade fully-random
add rule ip kube-proxy nat-output jump services
add rule ip kube-proxy nat-postrouting jump masquerading
add rule ip kube-proxy nat-prerouting jump services
add rule ip kube-proxy nodeport-endpoints-check \
  ip daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports
add rule ip kube-proxy reject-chain reject
add rule ip kube-proxy services ip daddr . meta l4proto . th dport vmap @service-ips
add rule ip kube-proxy services \
  ip daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports
add element ip kube-proxy nodeport-ips {{ {NODE} }}
add rule ip kube-proxy service-endpoints-check \
  ip daddr . meta l4proto . th dport vmap @no-endpoint-services
"""


def nftables(ports: tuple[Port, ...]) -> str:
    """Return what ``nft -f`` reads."""
    return "\n".join([_BASE, *(line for port in ports for line in _nft(port))])


def _nft(port: Port) -> Iterator[str]:
    to = "ip kube-proxy"
    end = f"{port.service}/tcp/{port.name}"
    own = _hash(end)[:8]
    key = f"{port.address} . tcp . {port.number}"
    yield f"add element {to} cluster-ips {{ {port.address} }}"
    if not port.endpoints:
        refused = f'{key} comment "{port.title}" : goto reject-chain'
        yield f"add element {to} no-endpoint-services {{ {refused} }}"
        return
    chains = {}
    for at, one in enumerate(port.endpoints):
        address, _, number = one.rpartition(":")
        name = f"{end}__{address}/{number}"
        chains[at] = f"endpoint-{_hash(name)[:8]}-{name}"
        yield f"add chain {to} {chains[at]}"
        yield f"add rule {to} {chains[at]} ip saddr {address} jump mark-for-masquerade"
        yield f"add rule {to} {chains[at]} meta l4proto tcp dnat to {one}"
    yield f"add chain {to} service-{own}-{end}"
    marking = f"ip daddr {port.address} ip saddr != {PODS} jump mark-for-masquerade"
    yield f"add rule {to} service-{own}-{end} {marking}"
    drawn = " , ".join(f"{at} : goto {chain}" for at, chain in chains.items())
    vmap = f"numgen random mod {len(chains)} vmap {{ {drawn} }}"
    yield f"add rule {to} service-{own}-{end} {vmap}"
    yield f"add element {to} service-ips {{ {key} : goto service-{own}-{end} }}"
    if port.node_port:
        yield f"add chain {to} external-{own}-{end}"
        yield f"add rule {to} external-{own}-{end} jump mark-for-masquerade"
        yield f"add rule {to} external-{own}-{end} goto service-{own}-{end}"
        node_port = f"tcp . {port.node_port} : goto external-{own}-{end}"
        yield f"add element {to} service-nodeports {{ {node_port} }}"


_FILTER = """*filter
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-EXTERNAL-SERVICES - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
:KUBE-PROXY-FIREWALL - [0:0]
-I INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" \
-j KUBE-PROXY-FIREWALL
-I INPUT -m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS
-I INPUT -m conntrack --ctstate NEW \
-m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I INPUT -j KUBE-FIREWALL
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" \
-j KUBE-PROXY-FIREWALL
-I FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD
-I FORWARD -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" \
-j KUBE-SERVICES
-I FORWARD -m conntrack --ctstate NEW \
-m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes load balancer firewall" \
-j KUBE-PROXY-FIREWALL
-I OUTPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" \
-j KUBE-SERVICES
-I OUTPUT -j KUBE-FIREWALL
-A KUBE-FIREWALL ! -s 127.0.0.0/8 -d 127.0.0.0/8 \
-m comment --comment "block incoming localnet connections" \
-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" \
-m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m comment --comment "kubernetes forwarding conntrack rule" \
-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""
_NAT = """COMMIT
*nat
:KUBE-KUBELET-CANARY - [0:0]
:KUBE-PROXY-CANARY - [0:0]
:KUBE-NODEPORTS - [0:0]
:KUBE-SERVICES - [0:0]
:KUBE-MARK-MASQ - [0:0]
:KUBE-POSTROUTING - [0:0]
-I PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-I POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING
-A KUBE-MARK-MASQ -j MARK --or-mark 0x4000
-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN
-A KUBE-POSTROUTING -j MARK --xor-mark 0x4000
-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" \
-j MASQUERADE --random-fully
"""
_LAST = """-A KUBE-SERVICES -m comment --comment \
"kubernetes service nodeports; NOTE: this must be the last rule in this chain" \
-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS
COMMIT
"""


def iptables(ports: tuple[Port, ...]) -> str:
    """Return what ``iptables-restore`` reads."""
    lacking = [
        f'-A KUBE-SERVICES -m comment --comment "{one.title} has no endpoints" -m tcp -p tcp '
        f"-d {one.address} --dport {one.number} -j REJECT\n"
        for one in ports
        if not one.endpoints
    ]
    serving = [line + "\n" for one in ports if one.endpoints for line in _iptables(one)]
    serving.sort(key=lambda line: not line.startswith(":"))
    return "".join([_FILTER, *lacking, _NAT, *serving, _LAST])


def _iptables(port: Port) -> Iterator[str]:
    own = _hash(port.title, "tcp")[:16]
    said = f"-m comment --comment {port.title}"
    service = f"KUBE-SVC-{own}"
    yield f":{service} - [0:0]"
    called = f"-m tcp -p tcp -d {port.address} --dport {port.number}"
    named = f'-m comment --comment "{port.title} cluster IP"'
    yield f"-A KUBE-SERVICES {named} {called} -j {service}"
    yield f"-A {service} {named} {called} ! -s {PODS} -j KUBE-MARK-MASQ"
    for at, one in enumerate(port.endpoints):
        address = one.rpartition(":")[0]
        end = f"KUBE-SEP-{_hash(port.title, 'tcp', one)[:16]}"
        yield f":{end} - [0:0]"
        left = len(port.endpoints) - at
        drawn = f"-m statistic --mode random --probability {1 / left:.10f} " if left > 1 else ""
        yield f'-A {service} -m comment --comment "{port.title} -> {one}" {drawn}-j {end}'
        yield f"-A {end} {said} -s {address} -j KUBE-MARK-MASQ"
        yield f"-A {end} {said} -m tcp -p tcp -j DNAT --to-destination {one}"
    if port.node_port:
        external = f"KUBE-EXT-{own}"
        yield f":{external} - [0:0]"
        yield f"-A KUBE-NODEPORTS {said} -m tcp -p tcp --dport {port.node_port} -j {external}"
        masq = f'"masquerade traffic for {port.title} external destinations"'
        yield f"-A {external} -m comment --comment {masq} -j KUBE-MARK-MASQ"
        yield f"-A {external} -j {service}"
