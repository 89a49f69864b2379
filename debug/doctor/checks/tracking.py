"""Checks of connection tracking: room, flows that lead nowhere, segments out of the window."""

import re
from collections.abc import Iterator

from debug.cluster import addresses_of, plain_address
from debug.doctor.look import Look, NodeLook, found, ok, unknown, unread
from debug.doctor.rules import matches, verdict
from debug.machine.values import MachineState
from debug.model import Finding, Level
from debug.output import with_port
from proxy.backends.upstream import TABLE as UPSTREAM
from proxy.objects.wire import Service

_NEAR, _FULL = 0.75, 0.95
_MANY_RACES = 100


def conntrack_full(look: Look) -> Iterator[Finding]:
    """The table of tracked connections has room (k/k#71261)."""
    check = "conntrack-full"
    for node in look.nodes:
        count, limit = (
            node.sysctl(f"net/netfilter/nf_conntrack_{name}") for name in ("count", "max")
        )
        counted = node.machine.statistics if node.machine else {}
        drops = counted.get("nf_conntrack/drop", 0) + counted.get("nf_conntrack/early_drop", 0)
        evidence = (
            f"nf_conntrack_count {count or 'unknown'} of nf_conntrack_max {limit or 'unknown'}",
            f"/proc/net/stat/nf_conntrack: drop and early_drop {drops}",
        )
        if not (count.isdecimal() and limit.isdecimal()):
            yield unknown(check, node.name, "connections are not counted here", *evidence)
            continue
        share = int(count) / max(1, int(limit))
        if share < _NEAR:
            yield ok(check, node.name, "there is room", *evidence)
            continue
        yield found(
            check,
            Level.FAIL if share >= _FULL else Level.WARN,
            node.name,
            f"the table of tracked connections is {share:.0%} full",
            *evidence,
            about=f"Node {node.name}",
            cause="many short connections, long timeouts, or a small maximum",
            consequence="new connections are dropped, on the whole node",
            fix="sysctl -w net.netfilter.nf_conntrack_max=N; the proxy's --conntrack-max-per-core",
        )


def conntrack_invalid(look: Look) -> Iterator[Finding]:
    """Segments out of the window are dropped, or tracked: else the client resets (k/k#74839)."""
    check = "conntrack-invalid"
    for node in look.nodes:
        if gap := unread(check, node, "nft") or unread(check, node, "iptables"):
            yield gap
            continue
        liberal = node.sysctl("net/netfilter/nf_conntrack_tcp_be_liberal")
        evidence = f"net/netfilter/nf_conntrack_tcp_be_liberal: {liberal or 'unknown'}"
        if liberal == "1" or not node.mode or (node.machine and _drops_invalid(node.machine)):
            yield ok(check, node.name, "no untranslated segment gets through", evidence)
        elif node.machine and _is_kube_proxys(node.machine) and _knows_late(node.machine.kernel):
            why = (
                f"Linux {node.machine.kernel} tells late segments from invalid ones (6e250dcbff1d)"
            )
            yield ok(check, node.name, "kube-proxy's mode nftables needs no drop", evidence, why)
        else:
            yield found(
                check,
                Level.WARN,
                node.name,
                "segments that conntrack calls INVALID are forwarded untranslated",
                evidence,
                "no rule at forward drops ct state invalid",
                about=f"Node {node.name}",
                cause="the proxy's drop of INVALID packets is missing",
                consequence="long transfers through Services end with 'connection reset by peer'",
                fix="restart the proxy, or: sysctl -w net.netfilter.nf_conntrack_tcp_be_liberal=1",
            )


def _is_kube_proxys(machine: MachineState) -> bool:
    """Return True for kube-proxy's mode nftables: it never drops what is INVALID (k/k#122663)."""
    return any(name == UPSTREAM for _, name in machine.tables())


def _knows_late(kernel: str) -> bool:
    """Return True from Linux 6.1 on, which does not call a late segment INVALID."""
    numbers = re.match(r"(\d+)\.(\d+)", kernel)
    return numbers is not None and (int(numbers[1]), int(numbers[2])) >= (6, 1)


def _drops_invalid(machine: MachineState) -> bool:
    in_iptables = any(
        "INVALID" in row and row.endswith("-j DROP")
        for text in machine.iptables.values()
        for row in text.splitlines()
    )
    return in_iptables or any(
        verdict(rule) == "drop" and any(test["right"] == "invalid" for test in matches(rule))
        for chain in machine.base_chains
        if chain.hook == "forward"
        for rule in chain.rules
    )


def snat_race(look: Look) -> Iterator[Finding]:
    """Few new flows lost the race for their translated port: DNS after 5 s (k/k#56903)."""
    check = "snat-race"
    for node in look.nodes:
        if gap := unread(check, node, "statistics"):
            yield gap
            continue
        counted = node.machine.statistics if node.machine else {}
        lost = counted.get("nf_conntrack/insert_failed")
        if lost is None:
            yield unknown(check, node.name, "the kernel does not count lost flows here")
            continue
        evidence = f"/proc/net/stat/nf_conntrack: insert_failed {lost}"
        if lost < _MANY_RACES:
            yield ok(check, node.name, "few flows lost their race, or none", evidence)
        else:
            yield found(
                check,
                Level.WARN,
                node.name,
                f"{lost} new flows were dropped because another took their tuple",
                evidence,
                about=f"Node {node.name}",
                cause="parallel packets on one socket (A and AAAA), or few free source ports",
                consequence="single UDP queries vanish: names resolve after 5 s",
                fix="masquerade fully-random (podwire does); options single-request-reopen",
            )


def stale_flows(look: Look) -> Iterator[Finding]:
    """UDP flows to Services are answered by endpoints that exist (k/k#139628)."""
    check = "stale-udp"
    served = [(service, _answering(look, service)) for service in look.served()]
    for node in look.nodes:
        if gap := unread(check, node, "flows"):
            yield gap
            continue
        flows = node.machine.flows if node.machine else ()
        allowed = {
            at: (service, ends) for service, ends in served for at in _frontends(service, node)
        }
        stale = 0
        for flow in flows:
            service, ends = allowed.get(flow.called, (None, frozenset[str]()))
            if service is not None and ends and flow.answering not in ends:
                stale += 1
                yield _stale(node, service, flow.called, flow.answering)
        if not stale:
            yield ok(
                check, node.name, "no UDP flow leads to a dead endpoint", f"{len(flows)} flows"
            )


def _stale(node: NodeLook, service: Service, called: str, answering: str) -> Finding:
    name = "/".join(service.key)
    where = "the Service's own address" if called == answering else f"{answering}, no endpoint"
    return found(
        "stale-udp",
        Level.FAIL,
        node.name,
        f"a UDP flow to Service {name} leads to {where}",
        f"conntrack: udp to {called}, answers from {answering}",
        about=f"Service {name}",
        cause="the flow began before the endpoint came or went, and each packet renews it",
        consequence="this client's packets vanish for as long as it sends",
        fix=f"conntrack -D -p udp --orig-dst {called.rpartition(':')[0].strip('[]')}",
    )


def _answering(look: Look, service: Service) -> frozenset[str]:
    """The endpoints of a Service's UDP ports, those that end included."""
    return frozenset(
        with_port(plain_address(address), port.port or 0)
        for part in look.cluster.slices_of(service.key)
        for port in part.ports
        if port.protocol == "UDP"
        for end in part.endpoints
        for address in end.addresses
    )


def _frontends(service: Service, node: NodeLook) -> Iterator[str]:
    for port in service.spec.ports:
        if port.protocol == "UDP":
            for ip in addresses_of(service):
                yield with_port(ip, port.port)
            if port.node_port:
                yield from (with_port(str(ip), port.node_port) for ip in node.local)
