"""Checks of Pods: their addresses, their links, their leases."""

from collections import defaultdict
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface, ip_network

from debug.doctor.look import Look, NodeLook, found, is_alive, ok, unread
from debug.kernel.values import SpaceState
from debug.machine.values import Attachment, MachineState, Reservation
from debug.model import Finding, Level

_NEARLY = 0.9


def ipam_leak(look: Look) -> Iterator[Finding]:
    """Each reserved address has a container (plugins#252, k3s#5885)."""
    check = "ipam-leak"
    for node in look.nodes:
        if gap := unread(check, node, "leases") or unread(check, node, "attachments"):
            yield gap
        elif node.machine is not None:
            leaked = leaks(node.machine)
            kept = len(node.machine.reservations)
            room = _room(node.machine)
            evidence = f"/var/lib/cni/networks: {kept} addresses of {room or 'unknown'}"
            if leaked:
                yield _leak(node, leaked, evidence, full=bool(room and kept >= room * _NEARLY))
            else:
                yield ok(check, node.name, "every reserved address has its container", evidence)


def leaks(machine: MachineState) -> list[Reservation]:
    """The reservations whose container has no network any more."""
    alive = {(one.network, one.container) for one in machine.attachments if one.exists}
    return [one for one in machine.reservations if (one.network, one.container) not in alive]


def _room(machine: MachineState) -> int:
    """How many addresses the Pods' network has; 0 if its file does not tell."""
    subnets = machine.cni.subnets if machine.cni else ()
    sizes = [ip_network(one, strict=False).num_addresses for one in subnets]
    return min(sizes) - 3 if sizes else 0  # the network's, the gateway's, the broadcast address


def _leak(node: NodeLook, leaked: list[Reservation], evidence: str, *, full: bool) -> Finding:
    lines = (
        f"/var/lib/cni/networks/{one.network}/{one.address}: container {one.container[:12]}, "
        "which has no network namespace"
        for one in leaked[:10]
    )
    return found(
        "ipam-leak",
        Level.FAIL if full else Level.WARN,
        node.name,
        f"{len(leaked)} reserved addresses belong to no container",
        *lines,
        evidence,
        about=f"lease {leaked[0].address}",
        cause="a container ended without CNI DEL: the runtime or the machine was killed",
        consequence="the range runs out of addresses, and new Pods get none",
        fix="a runtime that speaks CNI 1.1 asks for GC; by hand remove the named files",
    )


def duplicate_ip(look: Look) -> Iterator[Finding]:
    """No two living Pods have one address."""
    owners: dict[str, set[str]] = defaultdict(set)
    for pod in look.cluster.pods:
        if is_alive(pod):
            for one in pod.status.pod_ips:
                owners[one.ip or ""].add(f"Pod {'/'.join(pod.key)}")
    for node in look.nodes:
        for key, state in node.spaces:
            for address in state.addresses:
                ip = ip_interface(address.ip).ip
                if not ip.is_loopback and not ip.is_link_local:
                    owners[str(ip)].add(f"Pod {'/'.join(key)}")
    for node in look.nodes:
        for ip in node.local:
            if str(ip) in owners:
                owners[str(ip)].add(f"Node {node.name}")
    yield from _duplicates("duplicate-pod-ip", "address", owners, len(owners))


def duplicate_mac(look: Look) -> Iterator[Finding]:
    """No two Pods of a node, and no two nodes, have one MAC."""
    owners: dict[str, set[str]] = defaultdict(set)
    for node in look.nodes:
        if node.uplink and node.uplink.mac:
            owners[node.uplink.mac].add(f"Node {node.name}")
        for key, state in node.spaces:
            for link in state.links:
                if link.kind == "veth" and link.mac:
                    owners[f"{link.mac} on {node.name}"].add(f"Pod {'/'.join(key)}")
    yield from _duplicates("duplicate-mac", "MAC", owners, len(owners))


def _duplicates(
    check: str, what: str, owners: dict[str, set[str]], count: int
) -> Iterator[Finding]:
    several = {value: sorted(names) for value, names in owners.items() if len(names) > 1}
    for value, names in several.items():
        yield found(
            check,
            Level.FAIL,
            "",
            f"{', '.join(names)} have the same {what} {value}",
            *(f"{name}: {what} {value}" for name in names),
            about=names[0],
            cause="two allocators give out one range, a lease was removed by hand, or a machine's "
            "image was copied with its addresses",
            consequence="answers reach one of them, now this one, now that one",
            fix=f"delete one of them, so that it is made again: kubectl delete pod "
            f"{names[0].rpartition('/')[2]}",
        )
    if not several:
        yield ok(check, "", f"no {what} is there twice", f"{count} of Pods and nodes were compared")


def pod_range(look: Look) -> Iterator[Finding]:
    """Each Pod's address is in its node's range."""
    for node in look.nodes:
        outside = [
            (pod, one.ip or "")
            for pod in node.pods
            for one in pod.status.pod_ips
            if node.peer.cidrs and not _is_in(one.ip or "", node)
        ]
        for pod, ip in outside:
            yield found(
                "pod-range",
                Level.FAIL,
                node.name,
                f"Pod {'/'.join(pod.key)} has {ip}, which is not in its node's range",
                f"Pod {'/'.join(pod.key)}: podIP {ip}",
                f"Node {node.name}: podCIDRs {', '.join(map(str, node.peer.cidrs))}",
                about=f"Pod {'/'.join(pod.key)}",
                cause="the Node was made again with another range, or another network came first",
                consequence="other nodes send what is for this Pod to the wrong node",
                fix="delete the Pod, so that it gets an address of the present range",
            )
        if not outside:
            ranges = ", ".join(map(str, node.peer.cidrs))
            yield ok(
                "pod-range", node.name, "Pods have addresses of their node", f"podCIDRs {ranges}"
            )


def _is_in(text: str, node: NodeLook) -> bool:
    try:
        return any(ip_address(text) in cidr for cidr in node.peer.cidrs)
    except ValueError:
        return False


def pod_link(look: Look) -> Iterator[Finding]:
    """Each Pod's link is there, up and in its bridge, at both ends; and the Pod has a way out."""
    for node in look.nodes:
        if gap := unread("pod-link", node, "attachments"):
            yield gap
            continue
        attachments = node.machine.attachments if node.machine else ()
        problems = [one for at in attachments if at.exists for one in _link_problems(node, at)]
        problems += _inside_problems(node)
        for about, what, evidence in problems:
            yield found(
                "pod-link",
                Level.FAIL,
                node.name,
                f"{about}: {what}",
                evidence,
                about=about,
                cause="another program changed what the CNI plugin had made",
                consequence="the Pod reaches nobody, and nobody reaches it",
                fix="delete the Pod, so that its network is made again",
            )
        if not problems:
            names = (f"{at.pod}: {', '.join(at.host_links)}" for at in attachments if at.exists)
            yield ok("pod-link", node.name, "Pods' links are up at both ends", *names)


def _link_problems(node: NodeLook, at: Attachment) -> Iterator[tuple[str, str, str]]:
    about = f"Pod {at.pod}" if at.pod else f"container {at.container[:12]}"
    for name in at.host_links:
        link = node.space.named(name)
        if link is None:
            yield about, f"the node's link {name} is gone", f"libcni's cache: {name}; links: none"
        elif not link.up:
            yield about, f"the node's link {name} is down", f"link {name}: down"
        elif link.kind == "veth" and not link.master and len(at.host_links) > 1:
            yield about, f"the node's link {name} is in no bridge", f"link {name}: no master"


def _inside_problems(node: NodeLook) -> list[tuple[str, str, str]]:
    found_: list[tuple[str, str, str]] = []
    addresses = {pod.key: {one.ip or "" for one in pod.status.pod_ips} for pod in node.pods}
    for key, state in node.spaces:
        about = f"Pod {'/'.join(key)}"
        have = {str(ip_interface(one.ip).ip) for one in state.addresses}
        for ip in sorted(addresses.get(key, set()) - have):
            found_.append((about, f"its namespace lacks {ip}", f"addresses: {', '.join(have)}"))
        for every in _lacking_defaults(addresses.get(key, set()), state):
            found_.append((about, "it has no default route", f"main table: no {every}"))
        for link in state.links:
            if link.kind == "veth" and not link.up:
                found_.append((about, f"its link {link.name} is down", f"link {link.name}: down"))
    return found_


def _lacking_defaults(addresses: set[str], state: SpaceState) -> list[str]:
    """Return the default routes that a Pod lacks: one for each family that the API tells of."""
    present = {route.destination for route in state.routes}
    wanted = {"::/0" if ":" in ip else "0.0.0.0/0" for ip in addresses if ip}
    if not wanted:
        return [] if present & {"0.0.0.0/0", "::/0"} else ["default"]
    return sorted(wanted - present)


def hairpin(look: Look) -> Iterator[Finding]:
    """A Pod's packets to its own Service come back through its bridge's port (k/k#20475)."""
    for node in look.nodes:
        bridge = node.bridge
        ports = [
            link
            for link in node.space.links
            if bridge and link.master == bridge.index and link.hairpin is not None
        ]
        shut = [link.name for link in ports if not link.hairpin]
        evidence = f"ports of {bridge.name if bridge else 'no bridge'}: {len(ports)}"
        if shut and bridge:
            yield found(
                "hairpin-off",
                Level.FAIL,
                node.name,
                f"ports of {bridge.name} do not send a Pod its own packets: {', '.join(shut)}",
                *(f"/sys/class/net/{name}/brport/hairpin_mode: 0" for name in shut),
                about=f"link {shut[0]}",
                cause="the CNI plugin's hairpinMode is off, or another program took it back",
                consequence="a Pod that calls its own Service and reaches itself gets no answer",
                fix=f"bridge link set dev {shut[0]} hairpin on; hairpinMode true for new Pods",
            )
        else:
            yield ok(
                "hairpin-off", node.name, "Pods reach themselves through their Services", evidence
            )
