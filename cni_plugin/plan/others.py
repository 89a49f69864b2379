"""The modes that make no interface: loopback and chained; pure."""

from ipaddress import ip_interface

from cni_plugin.plan import ops
from cni_plugin.plan.ops import Side
from cni_plugin.plan.wiring import Plan
from cni_plugin.spec.errors import InvalidConfigurationError
from cni_plugin.spec.kernel_state import StateBeforeAdd
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Interface, IPConfig, Result

LOOPBACK = "lo"
_NO_MAC = "00:00:00:00:00:00"


def plan_loopback(request: Request, lease: Result, state: StateBeforeAdd) -> Plan:
    """Bring the container's loopback up. CNI_IFNAME is ignored; the kernel adds the addresses."""
    del lease
    steps = (ops.SetUp(Side.POD, LOOPBACK),)
    if request.previous is not None:
        return Plan(steps, request.previous)
    interface = Interface(LOOPBACK, _NO_MAC, request.netns)
    ips = [IPConfig(ip_interface("127.0.0.1/8"), interface=0)]
    if state.pod_has_ipv6:
        ips.append(IPConfig(ip_interface("::1/128"), interface=0))
    return Plan(steps, Result(interfaces=(interface,), ips=tuple(ips)))


def plan_chained(request: Request, lease: Result, state: StateBeforeAdd) -> Plan:
    """A plan without operations of its own, for the interface that an earlier plugin made."""
    del lease
    previous = request.previous
    if previous is None:
        raise InvalidConfigurationError("a chained plugin needs prevResult")
    indexes = {i for i, item in enumerate(previous.interfaces) if item.name == request.ifname}
    ips = tuple(item for item in previous.ips if item.interface in indexes | {None})
    return Plan((), previous, state.peer, state.peer_bridge, ips, state.peer_mtu)
