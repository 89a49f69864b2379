"""Checks of drops in plain words: of what Services ask of Pods, and of questions to DNS."""

import json
from collections.abc import Iterator
from typing import Any

from debug.doctor.look import Look, NodeLook, found, ok, unread
from debug.doctor.rules import dropping, line, matches, networks, verdict, words
from debug.machine.values import PodFacts
from debug.model import Finding, Level
from proxy.objects.wire import Service

_DNS_PORT = 53


def pod_filter(look: Look) -> Iterator[Finding]:
    """No rule inside a Pod's own network drops what its Services send."""
    check = "pod-filter"
    for node in look.nodes:
        facts = node.machine.pods if node.machine else ()
        count = 0
        for one in facts:
            for title, rule in _drops(one):
                for service, ports in _ports(look, one.pod):
                    if any(names_port(rule, port) for port in ports):
                        count += 1
                        yield _filtered(node, one.pod, service, title, rule)
        if not count:
            yield ok(check, node.name, "no Pod drops what its Services send", f"{len(facts)} Pods")


def _drops(facts: PodFacts) -> Iterator[tuple[str, Any]]:
    for chain in facts.chains:
        for rule in chain.rules if chain.hook in ("input", "prerouting", "ingress") else ():
            if verdict(rule) in ("drop", "reject"):
                yield chain.title, rule


def _ports(look: Look, pod: str) -> Iterator[tuple[Service, set[int]]]:
    """The Services that lead to a Pod, with its ports."""
    addresses = {ip for ip, one in look.pods.items() if "/".join(one.key) == pod}
    for service in look.served():
        ports = {
            port.port or 0
            for part in look.cluster.slices_of(service.key)
            for port in part.ports
            if any(addresses & set(end.addresses) for end in part.endpoints)
        }
        if ports:
            yield service, ports


def names_port(rule: Any, port: int) -> bool:
    """True if a rule is about a destination port by its number, alone or among others."""
    for test in matches(rule):
        if (
            isinstance(test["left"], dict)
            and test["left"].get("payload", {}).get("field") == "dport"
        ):
            right = test["right"]
            members = right["set"] if isinstance(right, dict) and "set" in right else [right]
            return test["op"] in ("==", "in") and port in members
    return False


def _filtered(node: NodeLook, pod: str, service: Service, title: str, rule: Any) -> Finding:
    name = "/".join(service.key)
    sources = [
        net
        for test in matches(rule)
        if test["op"] == "==" and "saddr" in json.dumps(test["left"])
        for net in networks(test["right"])
    ]
    of_node = any(ip in net for net in sources for ip in node.local)
    check, consequence = "pod-filter", f"connections to {name} fail when this Pod is chosen"
    if of_node:
        check, consequence = (
            "probe-blocked",
            "probes fail, so the Pod is not ready and not an endpoint",
        )
    elif service.spec.session_affinity == "ClientIP":
        check, consequence = (
            "dead-affinity",
            f"clients of {name} that are pinned to it get no answer",
        )
    return found(
        check,
        Level.FAIL,
        node.name,
        f"Pod {pod} itself drops what Service {name} sends to it",
        f"in the Pod's network, {title}: {line(rule)}",
        f"Service {name}: sessionAffinity {service.spec.session_affinity or 'None'}",
        about=f"Pod {pod}",
        cause="a filter inside the Pod, by a sidecar or an init container",
        consequence=consequence,
        fix="remove the rule, or admit the node's address and the Service's clients",
    )


def dns_filter(look: Look) -> Iterator[Finding]:
    """No rule of a node drops questions to DNS."""
    for node in look.nodes:
        if gap := unread("dns-filter", node, "nft"):
            yield gap
            continue
        hooks = ("prerouting", "input", "forward", "output", "postrouting")
        drops = [
            (chain.title, rule)
            for chain, rule in (dropping(node.machine, hooks) if node.machine else ())
            if names_port(rule, _DNS_PORT)
        ]
        for title, rule in drops:
            some = any(
                name in ("limit", "quota") or "numgen" in json.dumps(value)
                for name, value in words(rule)
            )
            yield found(
                "dns-slow" if some else "dns-down",
                Level.FAIL,
                node.name,
                f"a rule drops {'some' if some else 'all'} questions to port {_DNS_PORT}",
                f"{title}: {line(rule)}",
                about=title,
                cause="a filter that does not know the cluster's DNS",
                consequence="names resolve after seconds" if some else "no name resolves here",
                fix="remove the rule, or admit port 53 of UDP and TCP",
            )
        if not drops:
            yield ok("dns-filter", node.name, "no rule drops questions to DNS in plain words")
