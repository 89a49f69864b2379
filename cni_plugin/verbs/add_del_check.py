"""ADD, DEL and CHECK of one attachment.

Source: CNI specification 1.1.0, section 2, "ADD", "DEL" and "CHECK".
"""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack

from cni_plugin.firewall.backends import Firewall
from cni_plugin.ipam.local import lock_files
from cni_plugin.ipam.source import Ipam
from cni_plugin.linux.host import Host
from cni_plugin.linux.locks import held
from cni_plugin.linux.namespace import Namespace, is_container, is_namespace, is_own
from cni_plugin.linux.tenancy import take_over
from cni_plugin.plan import Plan, plan_add
from cni_plugin.plan.check import faults
from cni_plugin.plan.extras import expected_rules, sysctl_path
from cni_plugin.plan.others import LOOPBACK
from cni_plugin.plan.vlan import check_vlans
from cni_plugin.plan.wiring import check_absent, check_conf
from cni_plugin.spec.errors import (
    CheckFailedError,
    InvalidConfigurationError,
    InvalidEnvironmentError,
    UnknownContainerError,
)
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Result, render
from cni_plugin.verbs import observe, tuning
from cni_plugin.verbs.applier import REVERTED, Applier
from cni_plugin.verbs.rule_owners import firewall_of

_MAKES_INTERFACE = frozenset({"bridge", "ptp"})


def add(request: Request, host: Host, ipam: Ipam | None) -> dict[str, object]:
    """Make the attachment. Returns the result document. After an error nothing of it remains."""
    tuning.check_sysctls(request, host.root)
    check_conf(request.conf)
    check_vlans(request.conf)
    netns = _netns(request, host)
    with tuning.saved(request, host), _locked(request, host):
        return _attach(request, host, netns, ipam)


def _attach(request: Request, host: Host, netns: int, ipam: Ipam | None) -> dict[str, object]:
    makes_interface = request.conf.wiring in _MAKES_INTERFACE
    with Namespace() as host_ns, Namespace(netns) as pod_ns, ExitStack() as undo:
        state = observe.before_add(request, host_ns, pod_ns, host.boot_id)
        if makes_interface:
            check_absent(request, state)
        lease = _lease(request, ipam, undo) if makes_interface else Result()
        take_over([item.address.ip for item in lease.ips], request.args.pod_uid)
        plan = plan_add(request, lease, state)
        firewall = firewall_of(request, host, host_ns)
        _apply(plan, Applier(host_ns, pod_ns, firewall, state.bridge), undo)
        document = render(plan.result, request.version)
        undo.pop_all()
    return document


def _lease(request: Request, ipam: Ipam | None, undo: ExitStack) -> Result:
    if ipam is None:
        return Result()
    lease = ipam.add(request)
    undo.callback(ipam.delete, request)
    return lease


def _apply(plan: Plan, applier: Applier, undo: ExitStack) -> None:
    for op in plan.ops:
        applier.apply(op)
        if isinstance(op, REVERTED):
            undo.callback(applier.revert, op)


def delete(request: Request, host: Host, ipam: Ipam | None) -> None:
    """Remove everything that the attachment may have left, in any state."""
    if request.conf.wiring == "loopback":
        _set_loopback_down(host)
        return
    chained = request.conf.wiring == "chained"
    with _locked(request, host), Namespace() as host_ns:
        links = [name for name in request.names.links if host_ns.link(name) is not None]
        if links:
            host.remove(host_ns, links)
        if not chained and request.names.host_link not in links:
            _remove_foreign(request, host)
        firewall_of(request, host, host_ns).remove(request.names.owner)
        # last: no container may get an address while links or rules still lead to this one
        if ipam is not None and not chained:
            ipam.delete(request)
    if chained:  # the interface outlives the attachment
        tuning.restore(request, host)


def _remove_foreign(request: Request, host: Host) -> None:
    """Remove the interface if another plugin made it, before the node changed to this plugin."""
    if not is_container(host.netns):
        return
    with Namespace(host.netns) as pod_ns:
        link = pod_ns.link(request.ifname)
        if link is not None and link.kind == "veth":
            pod_ns.remove_link(request.ifname)


def _set_loopback_down(host: Host) -> None:
    if is_container(host.netns):
        with Namespace(host.netns) as pod_ns:
            pod_ns.set_down(LOOPBACK)


def check(request: Request, host: Host, ipam: Ipam | None) -> None:
    """Raise CheckFailedError unless the attachment is as ADD left it."""
    previous = request.previous
    if previous is None:
        raise InvalidConfigurationError("CHECK needs prevResult")
    netns = _netns(request, host)
    with Namespace() as host_ns, Namespace(netns) as pod_ns:
        firewall = firewall_of(request, host, host_ns)
        found = [
            *faults(request, previous, observe.for_check(request, host_ns, pod_ns)),
            *_extra_faults(request, previous, host_ns, pod_ns, firewall),
        ]
    if found:
        raise CheckFailedError(
            f"{request.ifname} of container {request.container_id}: {found[0]}", "; ".join(found)
        )
    if ipam is not None and request.conf.wiring in _MAKES_INTERFACE:
        ipam.check(request)
    tuning.check(request, host)


def _extra_faults(
    request: Request, previous: Result, host_ns: Namespace, pod_ns: Namespace, firewall: Firewall
) -> Iterator[str]:
    """Differences in what the result does not show: firewall rules, sysctls, rate limits."""
    wired = observe.wired_by(request, previous, host_ns, pod_ns)
    rules = expected_rules(request, wired)
    if rules and not firewall.has(rules):
        yield "firewall rules are missing"
    for key, value in request.conf.sysctl.items():
        found = pod_ns.sysctl(sysctl_path(key, request.ifname))
        # the kernel prints tabs between the parts of a value, configurations have spaces
        if found is None or found.split() != value.split():
            yield f"sysctl {key} is {found}, not {value}"
    limits = request.conf.limits
    for name, rate in ((wired.host, limits.ingress_rate), (request.names.ifb, limits.egress_rate)):
        if rate and host_ns.rate_limit(name) != rate // 8:
            yield f"{name} does not limit to {rate} bit/s"


def _netns(request: Request, host: Host) -> int:
    """The descriptor of the container's network namespace. Raises for any other file."""
    if host.netns is None:
        raise UnknownContainerError(f"CNI_NETNS {request.netns!r} cannot be opened")
    if not is_namespace(host.netns):
        raise InvalidEnvironmentError(f"CNI_NETNS {request.netns!r} is no network namespace")
    if is_own(host.netns):
        raise InvalidEnvironmentError(f"CNI_NETNS {request.netns!r} is the host's own namespace")
    return host.netns


def _locked(request: Request, host: Host) -> AbstractContextManager[int]:
    """Exclude other processes and threads from this attachment."""
    return held(lock_files(request, host.root), *request.attachment)
