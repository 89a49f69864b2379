"""Options of any mode: port mappings, masquerade, bandwidth, tuning, ingress policy; pure."""

from collections.abc import Iterator
from dataclasses import replace

from cni_plugin.plan import ops
from cni_plugin.plan.ops import Op, Side
from cni_plugin.plan.rules import WantedRules, wanted_rules
from cni_plugin.plan.wiring import Plan
from cni_plugin.spec.config import Bandwidth, NetConf
from cni_plugin.spec.errors import InvalidConfigurationError
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Dns, Interface

_MAX_BURST = 8 << 32  # bits: the kernel counts bytes in 32 bits


def plan_extras(request: Request, wired: Plan) -> Plan:
    """The plan with the operations of the options."""
    conf = request.conf
    if conf.wiring == "loopback":
        return wired
    steps = (
        *wired.ops,
        *_tuning(request),
        *_bandwidth(request, wired),
        *_rules(request, wired),
    )
    result = replace(wired.result, interfaces=_as_tuned(request, wired.result.interfaces))
    if conf.limits.egress_rate:
        ifb = Interface(request.names.ifb)
        result = replace(result, interfaces=(*result.interfaces, ifb))
    return replace(wired, ops=steps, result=replace(result, dns=_dns(conf, result.dns)))


def expected_rules(request: Request, wired: Plan) -> WantedRules:
    """The firewall rules that an attachment needs."""
    return wanted_rules(request.names.owner, request.conf, wired.ips, wired.bridge)


def _dns(conf: NetConf, dns: Dns) -> Dns:
    runtime_dns = conf.runtime_config.dns.made()
    return dns if runtime_dns is None else runtime_dns


def _rules(request: Request, wired: Plan) -> Iterator[Op]:
    wanted = expected_rules(request, wired)
    if not wanted:
        return
    yield ops.AddRules(wanted)
    ports = request.conf.runtime_config.port_mappings
    link = wired.bridge or wired.host
    if (
        ports
        and request.conf.snat
        and link
        and any(item.address.version == 4 for item in wired.ips)
    ):
        # so that the host reaches a mapped port at 127.0.0.1; the input chain stops other hosts
        yield ops.WriteSysctl(Side.HOST, f"net/ipv4/conf/{link}/route_localnet", "1")
    udp = frozenset(item.host_port for item in ports if item.protocol.lower() == "udp")
    if udp:
        # packets of known connections would still go to the port's previous container
        yield ops.ForgetFlows(udp)


def _bandwidth(request: Request, wired: Plan) -> Iterator[Op]:
    limits = request.conf.limits
    _check_limits(limits)
    if not limits.ingress_rate and not limits.egress_rate:
        return
    if not wired.host:
        raise InvalidConfigurationError(
            f"bandwidth: {request.ifname} has no other end on the host to limit it at"
        )
    if limits.ingress_rate:
        yield ops.LimitRate(wired.host, limits.ingress_rate // 8, limits.ingress_burst // 8)
    if limits.egress_rate:
        ifb = request.names.ifb
        yield ops.CreateIfb(ifb, wired.mtu)
        yield ops.LimitRate(ifb, limits.egress_rate // 8, limits.egress_burst // 8)
        yield ops.RedirectIngress(wired.host, ifb)


def _check_limits(limits: Bandwidth) -> None:
    for name in ("ingress", "egress"):
        rate, burst = getattr(limits, f"{name}_rate"), getattr(limits, f"{name}_burst")
        if bool(rate) != bool(burst):
            raise InvalidConfigurationError(
                f"bandwidth: {name}Rate and {name}Burst need each other"
            )
        if burst >= _MAX_BURST:
            raise InvalidConfigurationError(f"bandwidth: {name}Burst is 4 GiB or more")
        if rate and (rate < 8 or burst < 8):
            raise InvalidConfigurationError(f"bandwidth: {name} is less than a byte")


def _tuning(request: Request) -> Iterator[Op]:
    conf, name = request.conf, request.ifname
    for key, value in conf.sysctl.items():
        yield ops.WriteSysctl(Side.POD, sysctl_path(key, name), value)
    link = ops.SetLink(
        Side.POD,
        name,
        # in the other modes the interface was made with its MAC and MTU
        mac=request.requested_mac if conf.wiring == "chained" else "",
        mtu=conf.mtu if conf.wiring == "chained" else 0,
        promiscuous=conf.promisc,
        all_multicast=conf.allmulti,
        queue_length=conf.tx_q_len,
    )
    if link != ops.SetLink(Side.POD, name):
        yield link


def _as_tuned(request: Request, interfaces: tuple[Interface, ...]) -> tuple[Interface, ...]:
    """The interfaces with a chained plugin's changes: earlier plugins compare them in CHECK."""
    conf = request.conf
    if conf.wiring != "chained":
        return interfaces
    return tuple(
        replace(item, mac=request.requested_mac or item.mac, mtu=conf.mtu or item.mtu)
        if item.name == request.ifname and item.sandbox
        else item
        for item in interfaces
    )


def sysctl_path(key: str, ifname: str) -> str:
    """The path below /proc/sys of a key such as ``net.ipv4.conf.IFNAME.forwarding``.

    A key with slashes is a path already; it allows interface names with dots. Only keys below
    ``net`` belong to a network namespace. Raises InvalidConfigurationError for any other key.
    """
    path = key if "/" in key else key.replace(".", "/")
    parts = [ifname if part == "IFNAME" else part for part in path.split("/")]
    if parts[0] != "net" or any(part in {"", ".", ".."} for part in parts):
        raise InvalidConfigurationError(f"sysctl {key!r} is no key below net")
    return "/".join(parts)
