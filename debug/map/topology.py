"""Makes the map of a snapshot, and marks on it what is wrong. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from ipaddress import ip_interface

from debug.kernel.values import Link
from debug.map.cables import cables
from debug.map.graph import Cable, CableKind, Device, End, Graph, Role, Spot, worst
from debug.map.state import faults, is_used, place_of, shared_addresses
from debug.model import Finding, Level
from debug.places import SWITCH
from debug.snapshot import Snapshot, SpaceSnapshot

_LOOPBACK = "lo"
_HOLLOW = "podwire.io/hollow"  # a Node without a machine: control/agent/hollow/nodes.py


def topology(snapshot: Snapshot, findings: Sequence[Finding] = ()) -> Graph:
    """Return the map: every place, and what joins them, colored by state and by findings."""
    shared = shared_addresses(snapshot.spaces, snapshot.cluster)
    spots = [_spot(space, shared, findings) for space in snapshot.spaces]
    spots += _stopped(snapshot)
    levels = {End(spot.id, device.name): device.level for spot in spots for device in spot.devices}
    drawn = tuple(_colored(cable, levels) for cable in cables(snapshot))
    return Graph(snapshot.taken, (*spots, *_networks(drawn)), drawn, snapshot.unread)


def _spot(
    space: SpaceSnapshot, shared: Mapping[str, tuple[str, ...]], findings: Sequence[Finding]
) -> Spot:
    name = place_of(space)
    ours = [one for one in findings if _is_about(one, space)]
    links = [link for link in space.state.links if _is_drawn(space, link)]
    devices = tuple(_device(space, link, shared, ours) for link in links)
    whole = [one for one in ours if one.about not in {f"link {each.name}" for each in devices}]
    return Spot(
        id=name,
        role=_role(space),
        node=space.node,
        devices=devices,
        level=worst([*(one.level for one in whole), *(each.level for each in devices)]),
        why=tuple(one.summary for one in whole),
    )


def _stopped(snapshot: Snapshot) -> Iterator[Spot]:
    """Yield the Nodes of a lab of which no machine runs. Of other clusters one machine is read."""
    running = {space.node for space in snapshot.nodes()}
    for node in snapshot.cluster.nodes if snapshot.cluster and SWITCH in running else ():
        name = node.metadata.name
        if name not in running and _HOLLOW not in node.metadata.labels:
            why = ("its machine does not run: podwire lab node start",)
            yield Spot(f"Node {name}", Role.NODE, name, level=Level.WARN, why=why)


def _role(space: SpaceSnapshot) -> Role:
    if space.pod is not None:
        return Role.POD
    return Role.SWITCH if space.node == SWITCH else Role.NODE


def _is_about(finding: Finding, space: SpaceSnapshot) -> bool:
    """A finding is of a Pod if it says so, else of its node; only what is wrong colors."""
    if finding.level in (Level.OK, Level.UNKNOWN):
        return False
    if finding.about.startswith("Pod "):
        return finding.about == place_of(space)
    return space.pod is None and finding.node == space.node


def _is_drawn(space: SpaceSnapshot, link: Link) -> bool:
    """Links that nothing uses are left out, and a loopback device as long as it works."""
    if link.name == _LOOPBACK:
        return not link.up
    return is_used(space.state, link) or link.up


def _device(
    space: SpaceSnapshot,
    link: Link,
    shared: Mapping[str, tuple[str, ...]],
    findings: Sequence[Finding],
) -> Device:
    state = space.state
    addresses = tuple(one.ip for one in state.addresses if one.link == link.index)
    found = [
        *faults(state, link),
        *_rivals(place_of(space), addresses, shared),
        *((one.level, one.summary) for one in findings if one.about == f"link {link.name}"),
    ]
    bridge = state.link(link.master) if link.master else None
    return Device(
        name=link.name,
        kind=link.kind,
        addresses=addresses,
        mtu=link.mtu,
        bridge=bridge.name if bridge else "",
        detail=_detail(link),
        level=worst(level for level, _ in found),
        why=tuple(text for _, text in found),
    )


def _rivals(
    place: str, addresses: Sequence[str], shared: Mapping[str, tuple[str, ...]]
) -> Iterator[tuple[Level, str]]:
    for ip in (str(ip_interface(text).ip) for text in addresses):
        others = [other for other in shared.get(ip, ()) if other != place]
        if others:
            yield Level.FAIL, f"{ip} is also of {', '.join(others)}"


def _detail(link: Link) -> str:
    parts = [f"VNI {link.vni}" if link.vni is not None else ""]
    parts.append(f"UDP port {link.port}" if link.port else "")
    parts.append("hairpin" if link.hairpin else "")
    return ", ".join(part for part in parts if part)


def _colored(cable: Cable, levels: Mapping[End, Level]) -> Cable:
    ends = (levels.get(cable.a, Level.OK), levels.get(cable.b, Level.OK))
    return Cable(cable.kind, cable.a, cable.b, cable.label, worst([cable.level, *ends]), cable.why)


def _networks(drawn: Sequence[Cable]) -> Iterator[Spot]:
    """Yield the networks that uplinks end in, each once."""
    ends = {cable.b.place for cable in drawn if cable.kind is CableKind.UPLINK}
    for name in sorted(ends):
        yield Spot(name, Role.NETWORK)
