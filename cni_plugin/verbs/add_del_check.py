"""ADD, DEL and CHECK of one attachment: look, decide (plan, check.py), act (kernel.py)."""

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack

from cni_plugin.firewall.backends import Firewall
from cni_plugin.ipam.local import data_dir
from cni_plugin.ipam.source import Ipam
from cni_plugin.ipam.store import lock_file
from cni_plugin.linux.host import Host
from cni_plugin.linux.locks import held
from cni_plugin.linux.namespace import Namespace, is_container, is_namespace, is_own
from cni_plugin.plan import Plan, plan_add
from cni_plugin.plan.check import faults
from cni_plugin.plan.extras import expected_rules, sysctl_path
from cni_plugin.plan.others import LOOPBACK
from cni_plugin.plan.vlan import check_vlans
from cni_plugin.plan.wiring import check_absent, check_conf
from cni_plugin.spec import names
from cni_plugin.spec.errors import (
    CheckFailedError,
    InvalidConfigurationError,
    InvalidEnvironmentError,
    UnknownContainerError,
)
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Result, render
from cni_plugin.verbs import look
from cni_plugin.verbs.apply import REVERTED, Kernel

_MAKES_INTERFACE = frozenset({"bridge", "ptp"})


def add(request: Request, host: Host, ipam: Ipam | None) -> dict[str, object]:
    """Make the attachment; whatever fails, nothing of it remains."""
    check_conf(request.conf)
    check_vlans(request.conf)
    netns = _netns(request, host)
    makes = request.conf.wiring in _MAKES_INTERFACE
    with ExitStack() as stack, ExitStack() as undo:
        stack.enter_context(_alone(request, host))
        host_ns = stack.enter_context(Namespace())
        pod_ns = stack.enter_context(Namespace(netns))
        seen = look.before_add(request, host_ns, pod_ns, host.boot_id)
        if makes:
            check_absent(request, seen)
        lease = _lease(request, ipam, undo) if makes else Result()
        plan = plan_add(request, lease, seen)
        rules = firewall(request, host, host_ns)
        _apply(plan, Kernel(host_ns, pod_ns, rules, seen.bridge), undo)
        document = render(plan.result, request.version)
        undo.pop_all()
    return document


def _lease(request: Request, ipam: Ipam | None, undo: ExitStack) -> Result:
    if ipam is None:
        return Result()
    lease = ipam.add(request)
    undo.callback(ipam.delete, request)
    return lease


def _apply(plan: Plan, kernel: Kernel, undo: ExitStack) -> None:
    for op in plan.ops:
        kernel.do(op)
        if isinstance(op, REVERTED):
            undo.callback(kernel.revert, op)


def delete(request: Request, host: Host, ipam: Ipam | None) -> None:
    """Remove all that the attachment may have left, in whatever state it is."""
    mode = request.conf.wiring
    if mode == "loopback":
        _silence_loopback(host)
        return
    with _alone(request, host), Namespace() as host_ns:
        ours = _links(request, host_ns)
        if ours:
            host.remove(host_ns, ours)
        if mode != "chained" and names.host_ifname(*request.attachment) not in ours:
            _remove_foreign(request, host)
        owner = names.owner(*request.attachment, wired=mode != "chained")
        firewall(request, host, host_ns).remove(owner)
        # last, so that nobody gets an address that something still leads to
        if ipam is not None and mode != "chained":
            ipam.delete(request)


def _links(request: Request, host_ns: Namespace) -> list[str]:
    """The host's links that the attachment has."""
    wanted = (names.host_ifname(*request.attachment), names.ifb_ifname(*request.attachment))
    return [name for name in wanted if host_ns.link(name) is not None]


def _remove_foreign(request: Request, host: Host) -> None:
    """Remove an interface of that name that another plugin made, before the node moved to us."""
    if not is_container(host.netns):
        return
    with Namespace(host.netns) as pod_ns:
        link = pod_ns.link(request.ifname)
        if link is not None and link.kind == "veth":
            pod_ns.remove_link(request.ifname)


def _silence_loopback(host: Host) -> None:
    if is_container(host.netns):
        with Namespace(host.netns) as pod_ns:
            pod_ns.set_down(LOOPBACK)


def check(request: Request, host: Host, ipam: Ipam | None) -> None:
    """Raise CheckFailedError unless everything is as ADD left it."""
    previous = request.previous
    if previous is None:
        raise InvalidConfigurationError("CHECK needs prevResult")
    netns = _netns(request, host)
    with Namespace() as host_ns, Namespace(netns) as pod_ns:
        wrong = [
            *faults(request, previous, look.for_check(request, host_ns, pod_ns)),
            *_extra_faults(request, previous, host_ns, pod_ns, firewall(request, host, host_ns)),
        ]
    if wrong:
        raise CheckFailedError(
            f"{request.ifname} of container {request.container_id}: {wrong[0]}", "; ".join(wrong)
        )
    if ipam is not None and request.conf.wiring in _MAKES_INTERFACE:
        ipam.check(request)


def _extra_faults(
    request: Request, previous: Result, host_ns: Namespace, pod_ns: Namespace, rules: Firewall
) -> Iterator[str]:
    """What the result does not show: firewall rules, limits, sysctls."""
    wired = look.wired_by(request, previous, host_ns, pod_ns)
    expected = expected_rules(request, wired)
    if expected and not rules.has(expected):
        yield "firewall rules are missing"
    for key, value in request.conf.sysctl.items():
        found = pod_ns.sysctl(sysctl_path(key, request.ifname))
        # the kernel prints the parts of a value with tabs between them, people write spaces
        if found is None or found.split() != value.split():
            yield f"sysctl {key} is {found}, not {value}"
    limits, ifb = request.conf.limits, names.ifb_ifname(*request.attachment)
    for name, rate in ((wired.host, limits.ingress_rate), (ifb, limits.egress_rate)):
        if rate and host_ns.rate_limit(name) != rate // 8:
            yield f"{name} does not limit to {rate} bit/s"


def firewall(request: Request, host: Host, host_ns: Namespace) -> Firewall:
    """The host's rules; a wired owner lives as long as its link, whose alias names its container.

    Of a chained owner there is nothing to see: it is taken for alive.
    """
    mark = names.container_mark(request.container_id)

    def container_of(owner: str) -> str:
        if names.is_chained(owner):
            return request.container_id if owner.endswith(f"-{mark}") else owner
        link = host_ns.link(owner)
        if link is None:
            return ""
        whose = names.parse_alias(link.alias)
        return owner if whose is None else whose[1]

    lock = lock_file(data_dir(request, host.root))
    return Firewall(lock, request.container_id, container_of)


def _netns(request: Request, host: Host) -> int:
    """The container's network namespace, which must be one, and another than the host's."""
    if host.netns is None:
        raise UnknownContainerError(f"CNI_NETNS {request.netns!r} cannot be opened")
    if not is_namespace(host.netns):
        raise InvalidEnvironmentError(f"CNI_NETNS {request.netns!r} is no network namespace")
    if is_own(host.netns):
        raise InvalidEnvironmentError(f"CNI_NETNS {request.netns!r} is the host's own namespace")
    return host.netns


def _alone(request: Request, host: Host) -> AbstractContextManager[int]:
    """Let no other process or thread work at this attachment."""
    return held(lock_file(data_dir(request, host.root)), *request.attachment)
