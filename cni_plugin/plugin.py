"""The verbs of a CNI plugin: a request in, an answer out; effects through Kernel and IPAM."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from cni_plugin import names, netns
from cni_plugin.check import Found, faults
from cni_plugin.errors import (
    CniError,
    InvalidConfiguration,
    InvalidEnvironment,
    KernelRefused,
    NotAsExpected,
    UnknownContainer,
)
from cni_plugin.ipam.local import KINDS, LocalIpam, data_dir
from cni_plugin.ipam.store import lock_file
from cni_plugin.kernel import Kernel
from cni_plugin.locks import held
from cni_plugin.plan import Plan, check_absent, check_conf, plan_add
from cni_plugin.request import Request, parse_request, version_of
from cni_plugin.result import Cidr, Result, render
from cni_plugin.space import Space
from cni_plugin.state import Link, Seen
from cni_plugin.versions import SUPPORTED, Verb

_log = logging.getLogger(__name__)
_FORWARDING = {4: "net/ipv4/ip_forward", 6: "net/ipv6/conf/all/forwarding"}


class Ipam(Protocol):
    """Whoever gives out addresses."""

    def add(self, request: Request) -> Result: ...
    def delete(self, request: Request) -> None: ...
    def check(self, request: Request) -> None: ...
    def status(self, request: Request) -> None: ...


@dataclass(frozen=True, slots=True)
class World:
    """Where a request takes place, as its client sees it.

    ``root`` is the client's root directory; ``netns`` a descriptor of the container's network
    namespace, None when there is none at CNI_NETNS.
    """

    root: Path
    netns: int | None
    boot_id: str
    remove: Callable[[Space, str], bool] = Space.remove_link


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes to the plugin's stdout, and its exit code."""

    code: int
    stdout: bytes


def answer(environment: Mapping[str, str], stdin: bytes, world: World) -> Answer:
    """Do what a runtime asks; never raises but for the end of the process."""
    version = version_of(stdin)
    try:
        request = parse_request(environment, stdin)
        document = _VERBS[request.verb](request, world)
    except CniError as err:
        return _failed(err, version)
    except OSError as err:
        return _failed(KernelRefused(f"{environment.get('CNI_COMMAND')}: {err}"), version)
    except Exception as err:  # noqa: BLE001  # the boundary: a runtime gets one document, always
        _log.exception("%s failed", environment.get("CNI_COMMAND"))
        return _failed(CniError(f"podwire-cni has a bug: {err!r}"), version)
    return Answer(0, b"" if document is None else _encode(document))


def _failed(err: CniError, version: str) -> Answer:
    return Answer(1, _encode(err.document(version)))


def _encode(document: Mapping[str, Any]) -> bytes:
    return json.dumps(document).encode() + b"\n"


def _add(request: Request, world: World) -> dict[str, Any]:
    check_conf(request.conf)
    namespace = _namespace(request, world)
    with ExitStack() as stack, ExitStack() as undo:
        stack.enter_context(_alone(request, world))
        host = stack.enter_context(Space())
        pod = stack.enter_context(Space(namespace))
        seen = _look(request, host, pod, world)
        check_absent(request, seen)
        plan = plan_add(request, _lease(request, world, undo), seen)
        _apply(plan, Kernel(host, pod), undo)
        document = render(plan.result, request.version)
        undo.pop_all()
    return document


def _lease(request: Request, world: World, undo: ExitStack) -> Result:
    ipam = _ipam(request, world)
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


def _del(request: Request, world: World) -> None:
    with _alone(request, world), Space() as host:
        if not world.remove(host, names.host_ifname(*request.attachment)):
            _remove_foreign(request, world)
        # after the link, so that nobody gets an address that is still in use
        if (ipam := _ipam(request, world)) is not None:
            ipam.delete(request)


def _remove_foreign(request: Request, world: World) -> None:
    """Remove an interface of that name that another plugin made, before the node moved to us."""
    if world.netns is None or not netns.is_namespace(world.netns) or _is_own(world.netns):
        return
    with Space(world.netns) as pod:
        link = pod.link(request.ifname)
        if link is not None and link.kind == "veth":
            pod.remove_link(request.ifname)


def _check(request: Request, world: World) -> None:
    if request.previous is None:
        raise InvalidConfiguration("CHECK needs prevResult")
    namespace = _namespace(request, world)
    with Space() as host, Space(namespace) as pod:
        wrong = list(faults(request, request.previous, _find(request, host, pod)))
    if wrong:
        raise NotAsExpected(
            f"{request.ifname} of container {request.container_id}: {wrong[0]}", "; ".join(wrong)
        )
    if (ipam := _ipam(request, world)) is not None:
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


def _version(request: Request, world: World) -> dict[str, Any]:
    del world
    return {"cniVersion": request.version, "supportedVersions": list(SUPPORTED)}


def _status(request: Request, world: World) -> None:
    if (ipam := _ipam(request, world)) is not None:
        ipam.status(request)


def _namespace(request: Request, world: World) -> int:
    """The container's network namespace, which must be one, and another than the host's."""
    if world.netns is None:
        raise UnknownContainer(f"CNI_NETNS {request.netns!r} cannot be opened")
    if not netns.is_namespace(world.netns):
        raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} is no network namespace")
    if _is_own(world.netns):
        raise InvalidEnvironment(f"CNI_NETNS {request.netns!r} is the host's own namespace")
    return world.netns


def _is_own(fd: int) -> bool:
    with netns.own() as home:
        return netns.same(home, fd)


def _alone(request: Request, world: World) -> AbstractContextManager[None]:
    """Let no other process or thread work at this attachment."""
    return held(lock_file(data_dir(request, world.root)), *request.attachment)


def _ipam(request: Request, world: World) -> Ipam | None:
    kind = request.conf.ipam.type
    if not kind:
        return None
    if kind in KINDS:
        return LocalIpam(world.root, world.boot_id)
    raise InvalidConfiguration(f"ipam.type {kind!r} is not known")


_VERBS: dict[Verb, Callable[[Request, World], dict[str, Any] | None]] = {
    Verb.ADD: _add,
    Verb.DEL: _del,
    Verb.CHECK: _check,
    Verb.STATUS: _status,
    Verb.VERSION: _version,
}
