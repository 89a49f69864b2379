"""Sends the packet that proves a fail: an echo request between Pods, a connection to a Service.

``plan`` decides (pure), ``prove`` sends inside the places' own networks. Nothing is left behind:
sockets end with the call, and a connection is closed as soon as it is made.
"""

import socket
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from debug.doctor.look import Look
from debug.kernel.echo import HEADERS, Echoes
from debug.model import Finding, Level
from debug.places import Ground, Place, PlaceError, inside
from proxy.policy.wire import Pod

_BETWEEN = frozenset(
    {
        *("duplicate-node-ip", "duplicate-pod-cidr", "forwarding-off", "forward-drop", "routes"),
        *("foreign-route", "tunnel", "overlay-filtered", "strict-rp-filter", "wrong-neighbor"),
        *("mtu-black-hole", "pod-link"),
    }
)
_SECONDS, _TRIES = 1.0, 3
_USUAL = 56  # bytes of a ping's payload


@dataclass(frozen=True, slots=True)
class Probe:
    """One packet to send: an echo request if ``port`` is 0, else a connection."""

    source: tuple[str, str] | None  # a Pod; None: the node itself
    node: str
    address: str
    name: str
    port: int = 0
    size: int = _USUAL

    @property
    def text(self) -> str:
        """The probe in words."""
        of = f"Pod {'/'.join(self.source)}" if self.source else f"Node {self.node}"
        if self.port:
            return f"{of} connects to {self.name}, {self.address} port {self.port}"
        return f"{of} pings {self.name}, {self.address}, with {self.size} bytes"


def plan(look: Look, finding: Finding) -> Probe | None:
    """Choose the packet that would prove a finding; None if no packet can."""
    kind, _, name = finding.about.partition(" ")
    if kind == "Service":
        return _to_service(look, finding, name)
    if finding.check in _BETWEEN:
        return _to_peer(look, finding)
    return None


def _to_service(look: Look, finding: Finding, name: str) -> Probe | None:
    service = next((one for one in look.served() if "/".join(one.key) == name), None)
    node = finding.node or next((one.name for one in look.nodes), "")
    ports = [one.port for one in service.spec.ports if one.protocol == "TCP"] if service else []
    if service is None or not ports:
        return None
    source = _pod_on(look, node)
    key = source.key if source else None
    return Probe(key, node, service.spec.cluster_ip or "", f"Service {name}", ports[0])


def _to_peer(look: Look, finding: Finding) -> Probe | None:
    others = [one.name for one in look.nodes if one.name != finding.node]
    source = _pod_on(look, finding.node)
    target = next((pod for name in others if (pod := _pod_on(look, name))), None)
    if source is None or target is None:
        return None
    size = _USUAL
    if finding.check == "mtu-black-hole":
        size = _mtu_of(look, source.key) - HEADERS[4]
    address = target.status.pod_ips[0].ip or ""
    return Probe(source.key, finding.node, address, f"Pod {'/'.join(target.key)}", size=size)


def _pod_on(look: Look, node: str) -> Pod | None:
    """A Pod of a node with an IPv4 address, whose network was read."""
    for one in look.nodes:
        known = {key for key, _ in one.spaces}
        for pod in one.pods if one.name == node else ():
            if (
                pod.key in known
                and pod.status.pod_ips
                and ":" not in (pod.status.pod_ips[0].ip or "")
            ):
                return pod
    return None


def _mtu_of(look: Look, pod: tuple[str, str]) -> int:
    """The MTU of a Pod's link; the longest packet that it would send."""
    links = (
        link.mtu
        for node in look.nodes
        for key, state in node.spaces
        for link in state.links
        if key == pod and link.kind == "veth"
    )
    return max(links, default=1500)


def prove(ground: Ground, look: Look, findings: Sequence[Finding]) -> Iterator[Finding]:
    """Yield the findings; each fail has what became of its packet as its last evidence.

    One packet proves all findings that would send the same.
    """
    sent: dict[Probe, str] = {}
    for finding in findings:
        probe = plan(look, finding) if finding.level is Level.FAIL else None
        if probe is None:
            yield finding
            continue
        if probe not in sent:
            sent[probe] = _sent(ground, probe)
        evidence = (*finding.evidence, f"packet: {probe.text}: {sent[probe]}")
        yield replace(finding, evidence=evidence)


def _sent(ground: Ground, probe: Probe) -> str:
    try:
        place: Place = ground.pod(probe.source) if probe.source else ground.node(probe.node)
        return inside(place, lambda: _connected(probe) if probe.port else _echoed(probe))
    except (OSError, PlaceError) as err:
        return f"it could not be sent: {err}"


def _connected(probe: Probe) -> str:
    """Connect some times, for the choice of an endpoint is random."""
    failures = []
    for _ in range(_TRIES):
        try:
            socket.create_connection((probe.address, probe.port), _SECONDS).close()
        except OSError as err:
            failures.append(err.strerror or str(err))
    made = _TRIES - len(failures)
    return f"{made} of {_TRIES} connections" + (f" ({', '.join(failures)})" if failures else "")


def _echoed(probe: Probe) -> str:
    """Send an echo request that no router may cut, and wait for its answer."""
    with Echoes(probe.address) as echoes:
        size = probe.size + HEADERS[echoes.version]
        if any(echoes.time(size, _SECONDS) is not None for _ in range(_TRIES)):
            return "answered"
    return f"no answer to {_TRIES} requests, in {_SECONDS:.0f} s each"
