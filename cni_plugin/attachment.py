"""ADD, DEL and CHECK of one attachment: look, decide (plan.py, check.py), act (kernel.py)."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack

from cni_plugin import names, netns
from cni_plugin.check import Found, faults
from cni_plugin.errors import (
    InvalidConfiguration,
    InvalidEnvironment,
    NotAsExpected,
    UnknownContainer,
)
from cni_plugin.ipam.local import data_dir
from cni_plugin.ipam.source import Ipam
from cni_plugin.ipam.store import lock_file
from cni_plugin.kernel import Kernel
from cni_plugin.locks import held
from cni_plugin.plan import Plan, check_absent, check_conf, plan_add
from cni_plugin.request import Request
from cni_plugin.result import Cidr, Result, render
from cni_plugin.space import Space
from cni_plugin.state import Link, Seen
from cni_plugin.world import World

_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


def add(request: Request, world: World, ipam: Ipam | None) -> dict[str, object]:
    """Make the attachment; whatever fails, nothing of it remains."""
    check_conf(request.conf)
    namespace = _namespace(request, world)
    with ExitStack() as stack, ExitStack() as undo:
        stack.enter_context(_alone(request, world))
        host = stack.enter_context(Space())
        pod = stack.enter_context(Space(namespace))
        seen = _look(request, host, pod, world)
        check_absent(request, seen)
        plan = plan_add(request, _lease(request, ipam, undo), seen)
        _apply(plan, Kernel(host, pod), undo)
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
        undo.callback(kernel.revert, op)


def _look(request: Request, host: Space, pod: Space, world: World) -> Seen:
    bridge = host.link(request.conf.bridge)
    return Seen(
        bridge=bridge,
        bridge_addresses=_addresses(host, bridge),
        host_taken=host.link(names.host_ifname(*request.attachment)) is not None,
        pod_taken=pod.link(request.ifname) is not None,
        uplink_mtu=0 if bridge or request.conf.mtu else host.uplink_mtu(),
        boot_id=world.boot_id,
    )


def delete(request: Request, world: World, ipam: Ipam | None) -> None:
    """Remove all that the attachment may have left, in whatever state it is."""
    with _alone(request, world), Space() as host:
        if not world.remove(host, names.host_ifname(*request.attachment)):
            _remove_foreign(request, world)
        # after the link, so that nobody gets an address that is still in use
        if ipam is not None:
            ipam.delete(request)


def _remove_foreign(request: Request, world: World) -> None:
    """Remove an interface of that name that another plugin made, before the node moved to us."""
    if world.netns is None or not netns.is_namespace(world.netns) or netns.is_own(world.netns):
        return
    with Space(world.netns) as pod:
        link = pod.link(request.ifname)
        if link is not None and link.kind == "veth":
            pod.remove_link(request.ifname)


def check(request: Request, world: World, ipam: Ipam | None) -> None:
    """Raise NotAsExpected unless everything is as ADD left it."""
    if request.previous is None:
        raise InvalidConfiguration("CHECK needs prevResult")
    namespace = _namespace(request, world)
    with Space() as host, Space(namespace) as pod:
        wrong = list(faults(request, request.previous, _find(request, host, pod)))
    if wrong:
        raise NotAsExpected(
            f"{request.ifname} of container {request.container_id}: {wrong[0]}", "; ".join(wrong)
        )
    if ipam is not None:
        ipam.check(request)


def _find(request: Request, host: Space, pod: Space) -> Found:
    bridge, inside = host.link(request.conf.bridge), pod.link(request.ifname)
    return Found(
        pod=inside,
        host=host.link(names.host_ifname(*request.attachment)),
        bridge=bridge,
        pod_addresses=_addresses(pod, inside),
        bridge_addresses=_addresses(host, bridge),
        routes=pod.routes(),
        forwarding=frozenset(
            version for version, key in _FORWARDING.items() if host.sysctl(key) == "1"
        ),
    )


def _addresses(space: Space, link: Link | None) -> tuple[Cidr, ...]:
    return () if link is None else space.addresses(link.index)


def _namespace(request: Request, world: World) -> int:
    """The container's network namespace, which must be one, and another than the host's."""
    if world.netns is None:
        raise UnknownContainer(f"CNI_NETNS {request.netns!r} cannot be opened")
    if not netns.is_namespace(world.netns):
        raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} is no network namespace")
    if netns.is_own(world.netns):
        raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} is the host's own namespace")
    return world.netns


def _alone(request: Request, world: World) -> AbstractContextManager[None]:
    """Let no other process or thread work at this attachment."""
    return held(lock_file(data_dir(request, world.root)), *request.attachment)
