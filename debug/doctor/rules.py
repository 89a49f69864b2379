"""Looks into rules for what is plain to see: drops, accepts, ports. Pure.

Nothing is evaluated here (``podwire explain`` does): a rule counts only if its words leave no
doubt.
"""

import json
from collections.abc import Iterable, Iterator
from ipaddress import ip_network
from typing import Any

from debug.machine.values import BaseChain, MachineState
from proxy.model.values import Network

_WITHOUT_MEANING = ("counter", "log", "limit")


def words(rule: Any) -> list[tuple[str, Any]]:
    """The expressions of a rule, each by its name."""
    return [next(iter(one.items())) for one in rule.get("expr", ()) if one]


def verdict(rule: Any) -> str:
    """The last word of a rule: accept, drop, reject, jump ..."""
    found = words(rule)
    return found[-1][0] if found else ""


def matches(rule: Any) -> list[Any]:
    """The matches of a rule."""
    return [value for name, value in words(rule) if name == "match"]


def line(rule: Any) -> str:
    """A rule in short words."""
    parts = []
    for name, value in words(rule):
        if name == "match":
            parts.append(f"{_side(value['left'])} {value['op']} {_side(value['right'])}")
        elif name not in _WITHOUT_MEANING:
            parts.append(name if value is None else f"{name} {_side(value)}")
    return " ".join(parts)[:200]


def _side(value: Any) -> str:
    match value:
        case {"payload": {"protocol": protocol, "field": field}}:
            return f"{protocol} {field}"
        case {"meta": {"key": key}} | {"ct": {"key": key}}:
            return str(key)
        case {"prefix": {"addr": address, "len": length}}:
            return f"{address}/{length}"
        case {"target": target}:
            return str(target)
        case str() | int():
            return str(value)
    return json.dumps(value)


def networks(value: Any) -> Iterator[Network]:
    """The networks that a match's right side names."""
    match value:
        case {"prefix": {"addr": address, "len": length}}:
            yield ip_network(f"{address}/{length}", strict=False)
        case {"set": members}:
            for member in members:
                yield from networks(member)
        case str() if not value.startswith("@"):
            try:
                yield ip_network(value, strict=False)
            except ValueError:
                return


def forward_drops(machine: MachineState) -> Iterator[BaseChain]:
    """The chains that drop what they do not accept, of packets that the node forwards."""
    for chain in machine.base_chains:
        if (chain.hook, chain.kind, chain.policy) == ("forward", "filter", "drop"):
            yield chain


def accepts(chain: BaseChain, net: Network, side: str, link: str) -> bool | None:
    """Return whether a chain accepts new packets from or to a network; None if it is not plain.

    ``side`` is saddr or daddr; ``link`` is the bridge of the network's Pods.
    """
    doubtful = False
    for rule in chain.rules:
        last = verdict(rule)
        if last in ("drop", "reject", "") or _is_of_known(rule):
            continue
        if last == "accept" and _holds(matches(rule), net, side, link):
            return True
        doubtful = doubtful or last != "accept" or any(name == "xt" for name, _ in words(rule))
    return None if doubtful else False


def _is_of_known(rule: Any) -> bool:
    """True if a rule is about packets of connections that were admitted before."""
    states = json.dumps([test["right"] for test in matches(rule) if "ct" in test["left"]])
    return "established" in states and '"new"' not in states


def _holds(tests: Iterable[Any], net: Network, side: str, link: str) -> bool:
    """True if matches hold for all packets of a network."""
    at = {"saddr": "iifname", "daddr": "oifname"}[side]
    for test in tests:
        left = test["left"] if isinstance(test["left"], dict) else {}
        if test["op"] not in ("==", "in"):
            return False
        if left == {"meta": {"key": at}}:
            if test["right"] != link:
                return False
        elif left.get("payload", {}).get("field") != side or not any(
            _within(net, other) for other in networks(test["right"])
        ):
            return False
    return True


def _within(net: Network, other: Network) -> bool:
    return net.version == other.version and net.subnet_of(other)  # type: ignore[arg-type]


def dropping(machine: MachineState, hooks: Iterable[str]) -> Iterator[tuple[BaseChain, Any]]:
    """The rules of base chains that drop or reject, with their chains."""
    wanted = tuple(hooks)
    for chain in machine.base_chains:
        if chain.hook in wanted:
            for rule in chain.rules:
                if verdict(rule) in ("drop", "reject"):
                    yield chain, rule


def blocks_port(machine: MachineState, protocol: str, port: int) -> Iterator[tuple[str, str]]:
    """Yield the rules that drop packets to a port of the node, and closed chains that skip it."""
    for chain, rule in dropping(machine, ("input", "prerouting", "ingress", "output", "forward")):
        if any(_is_port(test, protocol, port) for test in matches(rule)):
            yield chain.title, line(rule)
    for chain in machine.base_chains:
        closed = (chain.hook, chain.kind, chain.policy) == ("input", "filter", "drop")
        if closed and not any(_may_accept(rule, protocol, port) for rule in chain.rules):
            yield chain.title, "policy drop, and no rule that admits the port"
    for flavor, text in machine.iptables.items():
        for row in text.splitlines():
            if flavor.startswith("legacy") and _drops_port(row, protocol, port):
                yield f"iptables ({flavor})", row


def _drops_port(row: str, protocol: str, port: int) -> bool:
    padded = f"{row} "
    return (
        row.startswith(("-A INPUT ", "-A OUTPUT "))
        and f"-p {protocol} " in padded
        and f"--dport {port} " in padded
        and ("-j DROP " in padded or "-j REJECT " in padded)
    )


def _is_port(test: Any, protocol: str, port: int) -> bool:
    payload = test["left"].get("payload", {}) if isinstance(test["left"], dict) else {}
    right = test["right"]
    has = port in right["set"] if isinstance(right, dict) and "set" in right else right == port
    return (
        test["op"] in ("==", "in")
        and payload.get("field") == "dport"
        and payload.get("protocol") in (protocol, "th")
        and bool(has)
    )


def _may_accept(rule: Any, protocol: str, port: int) -> bool:
    """True unless a rule is surely about something else."""
    last = verdict(rule)
    if last in ("drop", "reject"):
        return False
    if last == "accept" and any("ct" in test["left"] for test in matches(rule)):
        return False  # of packets that belong to what was admitted
    ports = [test for test in matches(rule) if "dport" in json.dumps(test["left"])]
    return not ports or any(_is_port(test, protocol, port) for test in ports)
