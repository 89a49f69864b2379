"""The rules that no Service changes: masquerading, forwarding, and the jumps to our chains."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import ip_network

from msgspec import Struct

from proxy.backends.iptables import names
from proxy.backends.iptables.accounting import INVALID_DROPPED
from proxy.backends.iptables.names import ChainName, Table
from proxy.backends.iptables.render import Rules, comment, counting, this_node
from proxy.model.settings import ProxySettings
from proxy.model.values import LOOPBACK, Address, Family, Network


class Jump(Struct, frozen=True):
    """A rule of ours in one of the kernel's own chains.

    The text is exactly as iptables-save prints it.
    """

    origin: ChainName
    match: str
    target: ChainName

    @property
    def rule(self) -> str:
        """The rule's arguments."""
        return f"{self.match} -j {self.target.name}".lstrip()


_NEW = "-m conntrack --ctstate NEW "


def jumps(family: Family, settings: ProxySettings) -> tuple[Jump, ...]:
    """Return every jump to the proxy's chains. Each is inserted at the head of its chain.

    Unlike upstream's, the output chain jumps to KUBE-EXTERNAL-SERVICES too. So the node's own calls
    to an external address without endpoints are rejected, as all other calls are.
    """
    found = [*_filter_jumps(), *_nat_jumps()]
    if family is Family.V4 and settings.localhost_node_ports:
        found += [
            Jump(ChainName(Table.FILTER, origin), "", names.LOCALNET)
            for origin in ("INPUT", "OUTPUT")
        ]
    return tuple(found)


def _filter_jumps() -> Iterator[Jump]:
    for origin in ("INPUT", "FORWARD", "OUTPUT"):
        chain = ChainName(Table.FILTER, origin)
        portals = comment("kubernetes externally-visible service portals")
        yield Jump(chain, _NEW + portals, names.NO_EXTERNAL)
        if origin != "INPUT":
            yield Jump(chain, _NEW + comment("kubernetes service portals"), names.NO_INTERNAL)
        yield Jump(chain, _NEW + comment("kubernetes load balancer firewall"), names.FIREWALL)
    yield Jump(
        ChainName(Table.FILTER, "INPUT"),
        comment("kubernetes health check service ports"),
        names.HEALTH_PORTS,
    )
    yield Jump(
        ChainName(Table.FILTER, "FORWARD"), comment("kubernetes forwarding rules"), names.FORWARD
    )


def _nat_jumps() -> Iterator[Jump]:
    for origin in ("PREROUTING", "OUTPUT"):
        chain = ChainName(Table.NAT, origin)
        yield Jump(chain, comment("kubernetes service portals"), names.SERVICES)
    postrouting = ChainName(Table.NAT, "POSTROUTING")
    yield Jump(postrouting, comment("kubernetes postrouting rules"), names.POSTROUTING)


def fixed_chains(family: Family, settings: ProxySettings) -> Mapping[ChainName, Rules]:
    """Return the chains that are the same whatever the Services are."""
    mark = f"{settings.mark:#x}"
    chains: dict[ChainName, Rules] = {
        names.MARK_MASQ: (f"-j MARK --set-xmark {mark}/{mark}",),
        # The mark is removed after use: a packet that passes here twice must not be masqueraded
        # twice (k/k#82214).
        names.POSTROUTING: (
            f"-m mark ! --mark {mark}/{mark} -j RETURN",
            f"-j MARK --set-xmark {mark}/0x0",
            f"{comment('kubernetes service traffic requiring SNAT')} -j MASQUERADE --random-fully",
        ),
        names.FORWARD: tuple(_forward(mark, settings)),
        names.REFUSE: ("-p tcp -j REJECT --reject-with tcp-reset", "-j REJECT"),
    }
    if family is Family.V4 and settings.localhost_node_ports:
        chains[names.LOCALNET] = (_localnet(),)
    return chains


def _forward(mark: str, settings: ProxySettings) -> Iterator[str]:
    if not settings.tcp_be_liberal:
        # Conntrack does not translate a late segment that it calls INVALID. The client would answer
        # the segment with a reset (k/k#74839, k/k#117924).
        yield f"-m conntrack --ctstate INVALID {counting(INVALID_DROPPED, settings)}-j DROP"
    yield f"{comment('kubernetes forwarding rules')} -m mark --mark {mark}/{mark} -j ACCEPT"
    text = comment("kubernetes forwarding conntrack rule")
    yield f"{text} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"


def _localnet() -> str:
    """Close what route_localnet opens: neighbors could reach the node's loopback (CVE-2020-8558).

    NodePorts on loopback need route_localnet.
    """
    state = "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT"
    text = comment("block incoming localnet connections")
    return f"! -s 127.0.0.0/8 -d 127.0.0.0/8 {text} {state} -j DROP"


def unserved(family: Family, cluster_ips: Collection[Address], ranges: Iterable[Network]) -> Rules:
    """Return the end of KUBE-EXTERNAL-SERVICES: packets to ClusterIPs that no rule translated.

    Other ports of a ClusterIP are refused; packets to ClusterIPs of no Service are dropped. The
    first rule keeps all other packets from a walk along the ClusterIPs. kube-proxy rewrites this
    chain, so nothing of ours is in force after it took over.
    """
    text = comment("kubernetes ports that no service has")
    near = (
        (f"-d {covering(cluster_ips)} {text} -j {names.CLUSTER_IPS.name}",) if cluster_ips else ()
    )
    ours = (network for network in ranges if network.version == family)
    text = comment("kubernetes cluster IPs that no service has")
    return (*near, *(f"-d {network} {text} -j DROP" for network in ours))


def covering(addresses: Collection[Address]) -> Network:
    """Return the smallest network with all of some addresses, which are of one family."""
    first, last = min(map(int, addresses)), max(map(int, addresses))
    lowest = next(iter(addresses)).__class__(first)
    bits = lowest.max_prefixlen - (first ^ last).bit_length()
    return ip_network(f"{lowest}/{bits}", strict=False)


def node_port_jumps(family: Family, settings: ProxySettings) -> Rules:
    """Return the end of KUBE-SERVICES: packets to this node and to no Service's own address."""
    text = comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")
    served = settings.is_node_port_address(LOOPBACK[family].network_address)
    loopback = () if served else (f"-d {LOOPBACK[family]} -j RETURN",)
    jumps = (f"{here} {text} -j {names.NODE_PORTS.name}" for here in this_node(family, settings))
    return (*loopback, *jumps)
