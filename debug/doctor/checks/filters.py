"""Checks of rules: whether they are there, whose they are, and what they let through."""

import re
from collections.abc import Iterator
from dataclasses import replace

from debug.cluster import plain_address
from debug.doctor.look import Look, NodeLook, found, ok, unknown, unread
from debug.doctor.rows import Row, Table, is_about
from debug.doctor.rules import accepts, forward_drops, line, matches, networks, verdict, words
from debug.machine.values import MachineState
from debug.model import Finding, Level
from proxy.backends.nftables.objects import TABLE
from proxy.model.values import Network

_BY_RULES = ("iptables", "nftables")
_TABLES = (TABLE, "kube-proxy")
_SAVERS = {4: "iptables", 6: "ip6tables"}
_ROW_TO, _QUOTED = re.compile(r"-d ([^\s/]+)/"), re.compile(r'"([0-9A-Fa-f.:]+)"')


def bridge_filter(look: Look) -> Iterator[Finding]:
    """A bridge of Pods shows its frames to rules, where only rules translate back (k/k#127031)."""
    check = "bridge-filter-off"
    for node in look.nodes:
        if gap := unread(check, node, "bridges"):
            yield gap
            continue
        bridge, machine = node.bridge, node.machine
        if bridge is None or machine is None:
            yield ok(check, node.name, "no bridge of Pods on this node")
            continue
        own = machine.filtered.get(bridge.name, False)
        versions = sorted({cidr.version for cidr in node.peer.cidrs} or {4})
        names = [f"net/bridge/bridge-nf-call-{_SAVERS[version]}" for version in versions]
        every = all(node.sysctl(name) == "1" for name in names)
        absent = "absent: br_netfilter is not loaded"
        evidence = (
            f"bridge {bridge.name}: nf_call_iptables and nf_call_ip6tables {int(own)}",
            *(f"{name}: {node.sysctl(name) or absent}" for name in names),
            f"the proxy's mode: {node.mode or 'unknown'}",
        )
        if own or every or (node.mode == "ebpf" and machine.pinned):
            yield ok(check, node.name, "answers between neighbors are translated back", *evidence)
        elif node.mode in _BY_RULES or node.mode == "ebpf":
            yield found(
                check,
                Level.FAIL,
                node.name,
                f"bridge {bridge.name} does not show its frames to the rules",
                *evidence,
                about=f"link {bridge.name}",
                cause="the module br_netfilter is not loaded, or the setting was taken back",
                consequence="a Pod that calls a Service and reaches a neighbor on its node "
                "gets the answer from the neighbor's address, and refuses it",
                fix="modprobe br_netfilter; "
                + "; ".join(f"sysctl -w {name.replace('/', '.')}=1" for name in names),
            )
        else:
            yield unknown(check, node.name, "no proxy's mode is known", *evidence)


def forward_drop(look: Look) -> Iterator[Finding]:
    """What Pods send and get is not dropped by a chain that drops by default (k/k#39823)."""
    check = "forward-drop"
    for node in look.nodes:
        if gap := unread(check, node, "nft") or unread(check, node, "iptables"):
            yield gap
            continue
        findings = list(_forward_drop(node, node.machine)) if node.machine else []
        yield from findings
        if not findings:
            yield ok(check, node.name, "no chain drops what Pods send and get by default")


def _forward_drop(node: NodeLook, machine: MachineState) -> Iterator[Finding]:
    bridge = node.bridge.name if node.bridge else ""
    for net in node.peer.cidrs:
        for name, text in machine.iptables.items():
            table = Table(text, "filter") if name.endswith(str(net.version)) else None
            if table and table.policies.get("FORWARD") == "DROP":
                admitted = [table.accepts("FORWARD", side, net, bridge) for side in ("-s", "-d")]
                where = f"iptables ({name}) table filter, chain FORWARD"
                yield from _dropped(node, net, where, admitted)
        for chain in forward_drops(machine):
            if chain.table == "filter" and chain.name == "FORWARD":
                continue  # iptables' own, seen above
            admitted = [accepts(chain, net, side, bridge) for side in ("saddr", "daddr")]
            if chain.family in ("inet", {4: "ip", 6: "ip6"}[net.version]):
                yield from _dropped(node, net, chain.title, admitted)


def _dropped(
    node: NodeLook, net: Network, where: str, admitted: list[bool | None]
) -> Iterator[Finding]:
    ways = ("from", "to")
    shut = [way for way, one in zip(ways, admitted, strict=True) if one is False]
    if shut:
        yield found(
            "forward-drop",
            Level.FAIL,
            node.name,
            f"forwarded packets {' and '.join(shut)} Pods ({net}) are dropped",
            f"{where}: policy drop",
            f"{where}: no rule that accepts packets {' and '.join(shut)} {net}",
            about=where,
            cause="Docker or a firewall set the policy of FORWARD to drop",
            consequence="Pods reach nothing beyond their node, and nobody there reaches them",
            fix="; ".join(
                f"{_SAVERS[net.version]} -I FORWARD {side} {net} -j ACCEPT" for side in ("-s", "-d")
            ),
        )
    elif None in admitted:
        why = "its rules are not plain; ask podwire explain"
        yield unknown("forward-drop", node.name, f"{where} drops by default: {why}", where)


def mixed_iptables(look: Look) -> Iterator[Finding]:
    """Rules are in one of iptables' two back ends (k/k#71305)."""
    check = "iptables-mixed"
    for node in look.nodes:
        if gap := unread(check, node, "iptables"):
            yield gap
            continue
        texts = node.machine.iptables if node.machine else {}
        counts = {name: text.count("\n-A ") for name, text in texts.items()}
        evidence = [f"iptables-{name}: {count} rules" for name, count in counts.items()]
        used = {name.split()[0] for name, count in counts.items() if count}
        if node.machine and node.mode in ("nftables", "ebpf"):
            used.add("nft")
            evidence.append(f"nft: {len(node.machine.tables())} tables of mode {node.mode}")
        ours = {name.split()[0] for name, text in texts.items() if "-A KUBE-SERVICES" in text}
        if len(used) > 1:
            yield found(
                check,
                Level.FAIL if len(ours) > 1 else Level.WARN,
                node.name,
                "rules are in iptables-legacy and in nftables",
                *evidence,
                about=f"Node {node.name}",
                cause="programs in containers bring another iptables than the node has",
                consequence="both are asked: a packet that one accepts may be dropped by the "
                "other, and who lists one does not see the other",
                fix="choose one: update-alternatives --set iptables /usr/sbin/iptables-nft, then "
                "empty the other: iptables-legacy -F; iptables-legacy -t nat -F",
            )
        else:
            yield ok(check, node.name, "one back end of iptables at most has rules", *evidence)


def rules_wiped(look: Look) -> Iterator[Finding]:
    """The proxy's rules are there, with every Service (k/k#129128)."""
    for node in look.nodes:
        machine = node.machine
        if gap := unread("rules-wiped", node, "nft"):
            yield gap
        elif machine is not None:
            findings = list(_wiped(look, node, machine))
            yield from findings
            if not findings:
                tables = ", ".join(f"{family} {name}" for family, name in sorted(machine.tables()))
                mode = f"mode {node.mode or 'unknown'}"
                yield ok("rules-wiped", node.name, f"rules of {mode} are there", f"nft: {tables}")


def _wiped(look: Look, node: NodeLook, machine: MachineState) -> Iterator[Finding]:
    if not node.mode:
        if any(look.served()):
            what = "no proxy answers, and no proxy's rules are there"
            yield _gone(node, what, "127.0.0.1:10249/proxyMode: no answer; nft, iptables: nothing")
        return
    lacking = _lacking(node, machine)
    if lacking:
        yield _gone(node, "the proxy's rules are gone", *lacking)
        return
    known = _addresses(node, machine)
    for service in look.served():
        for ip in service.spec.cluster_ips or [service.spec.cluster_ip or ""]:
            if service.spec.ports and _is_of(ip, node) and plain_address(ip) not in known:
                name = "/".join(service.key)
                what = f"no rule knows Service {name} ({ip})"
                yield _gone(node, what, f"{node.mode}: nothing with {ip}", about=f"Service {name}")


def _addresses(node: NodeLook, machine: MachineState) -> set[str]:
    """Return the addresses that rules name, all at once: there may be as many as Services."""
    if node.mode == "iptables":
        return {ip for text in machine.iptables.values() for ip in _ROW_TO.findall(text)}
    return set(_QUOTED.findall(machine.nft or ""))


def _is_of(ip: str, node: NodeLook) -> bool:
    """True if the node serves an address's family, as far as its Pod ranges tell."""
    versions = {cidr.version for cidr in node.peer.cidrs}
    return not versions or (6 if ":" in ip else 4) in versions


def _lacking(node: NodeLook, machine: MachineState) -> list[str]:
    """Say what the rules of a family lack: a program may flush those of one alone."""
    versions = sorted({cidr.version for cidr in node.peer.cidrs} or {4})
    if node.mode == "iptables":
        return [
            f"{_SAVERS[version]} table nat, chain PREROUTING: no jump to KUBE-SERVICES"
            for version in versions
            if not _jumps(machine, version)
        ]
    return [line for version in versions for line in _lacking_chains(machine, version)]


def _jumps(machine: MachineState, version: int) -> bool:
    """True if a back end of iptables sends a family's new connections to the proxy's rules."""
    texts = (text for key, text in machine.iptables.items() if key.endswith(f" {version}"))
    rows = (row for text in texts for row in Table(text, "nat").rows("PREROUTING"))
    return any(row.target == "KUBE-SERVICES" for row in rows)


def _lacking_chains(machine: MachineState, version: int) -> Iterator[str]:
    families = ("ip" if version == 4 else "ip6", "inet")
    hooks = {
        (chain.kind, chain.hook)
        for chain in machine.base_chains
        if chain.table in _TABLES and chain.family in families
    }
    for hook in ("prerouting", "output", "postrouting"):
        if ("nat", hook) not in hooks:
            tables = " or ".join(f"{families[0]} {table}" for table in _TABLES)
            yield f"nft: no nat chain at {hook} in {tables}"


def _gone(node: NodeLook, what: str, *evidence: str, about: str = "") -> Finding:
    return found(
        "rules-wiped",
        Level.FAIL,
        node.name,
        what,
        *evidence,
        about=about or f"Node {node.name}",
        cause="another program flushed the rules (nft flush ruleset, iptables -F, a firewall's "
        "reload), or the proxy does not run",
        consequence="connections to Services' addresses are not balanced, and fail",
        fix="restart the proxy, which writes everything; podwire drift names what is missing",
    )


def proxy(look: Look) -> Iterator[Finding]:
    """A proxy answers on each node: rules that nobody keeps up to date grow old."""
    for node in look.nodes:
        if gap := unread("proxy-hung", node, "proxy"):
            yield gap
        elif node.machine is not None and node.machine.proxy is None:
            yield found(
                "proxy-hung",
                Level.WARN,
                node.name,
                "no proxy answers",
                "127.0.0.1:10249/proxyMode: no answer",
                about=f"Node {node.name}",
                cause="the proxy does not run, or serves its metrics elsewhere",
                consequence="rules stay as they are: changed Services and endpoints go unnoticed",
                fix="start it: systemctl start podwire-proxy; in a lab it is started again",
            )
        elif node.machine and node.machine.proxy:
            yield ok("proxy-hung", node.name, f"a proxy answers: mode {node.machine.proxy.mode}")


def over_masquerade(look: Look) -> Iterator[Finding]:
    """Packets between Pods keep their source (k/k#91437)."""
    check = "over-masquerade"
    for node in look.nodes:
        if gap := unread(check, node, "nft") or unread(check, node, "iptables"):
            yield gap
            continue
        lines = list(_masquerading(node, node.machine)) if node.machine else []
        for where, row in lines:
            yield found(
                check,
                Level.FAIL,
                node.name,
                "a rule hides the source of packets between Pods",
                f"{where}: {row}",
                about=where,
                cause="a masquerade rule that does not leave out the cluster's own Pods",
                consequence="Pods see the node's address: policies refuse it, logs are wrong",
                fix="leave the Pods' range out of the rule's destinations, or remove the rule",
            )
        yield from _cluster_cidr(look, node)
        if not lines:
            yield ok(check, node.name, "no rule masquerades packets between Pods in plain words")


def _masquerading(node: NodeLook, machine: MachineState) -> Iterator[tuple[str, str]]:
    for chain in machine.base_chains:
        for rule in chain.rules if (chain.kind, chain.hook) == ("nat", "postrouting") else ():
            opaque = any(name == "xt" for name, _ in words(rule))
            is_hiding = verdict(rule) in ("masquerade", "snat") and not opaque
            if is_hiding and _is_for_pods(node, matches(rule)):
                yield chain.title, line(rule)
    for name, text in machine.iptables.items():
        for row in Table(text, "nat").rows("POSTROUTING"):
            if row.target in ("MASQUERADE", "SNAT") and _hides(node, row):
                yield f"iptables ({name}) table nat, chain POSTROUTING", row.text


def _hides(node: NodeLook, row: Row) -> bool:
    """True if a row is plainly about packets from this node's Pods to those of other nodes."""
    links = {link.name for link in (node.uplink, *node.tunnels) if link}
    tests = {name: one for name, one in row.tests.items() if name != "-o" or one not in links}
    return any(is_about(replace(row, tests=tests), "-s", net, "") for net in node.peer.cidrs)


def _is_for_pods(node: NodeLook, tests: list[object]) -> bool:
    """True if matches hold for packets from this node's Pods to those of other nodes."""
    links = {link.name for link in (node.uplink, *node.tunnels) if link}
    for test in tests:
        assert isinstance(test, dict)  # noqa: S101  # nft's JSON
        left = test["left"]
        if left == {"meta": {"key": "oifname"}} and (test["op"] == "==") == (
            test["right"] in links
        ):
            continue
        field = left.get("payload", {}).get("field") if isinstance(left, dict) else ""
        if field != "saddr" or test["op"] != "==":
            return False
        nets = list(networks(test["right"]))
        if not any(a.version == b.version and a.overlaps(b) for a in nets for b in node.peer.cidrs):
            return False
    return True


def _cluster_cidr(look: Look, node: NodeLook) -> Iterator[Finding]:
    """The proxy's clusterCIDR has every node's Pods: what is not a Pod's is masqueraded."""
    facts = node.machine.proxy if node.machine else None
    text = str(facts.config.get("clusterCIDR", "")) if facts else ""
    named = [net for part in text.split(",") for net in networks(part.strip())]
    outside = [
        str(cidr)
        for cidr in look.ranges
        if (same := [net for net in named if net.version == cidr.version])
        and not any(cidr.subnet_of(net) for net in same)  # type: ignore[arg-type]
    ]
    if outside:
        yield found(
            "over-masquerade",
            Level.FAIL,
            node.name,
            f"the proxy takes Pods of {', '.join(outside)} for strangers",
            f"the proxy's clusterCIDR: {text}",
            about=f"Node {node.name}",
            cause="--cluster-cidr of the proxy is not the range that nodes get theirs from",
            consequence="connections of those Pods to Services come from the node's address",
            fix="give the proxy the cluster's whole Pod range: --cluster-cidr",
        )
