"""Renders a Pod's /etc/resolv.conf from dnsPolicy, dnsConfig and the node's own file. Pure.

Source: k8s.io/kubernetes/pkg/kubelet/network/dns, with its limits and messages.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from control.api.pod import Pod, PodDNSConfig

_NAMESERVERS = 3  # what resolvers of the C library read
_SEARCHES, _SEARCH_CHARACTERS, _SEARCH_NAME = 32, 2048, 253


@dataclass(frozen=True, slots=True)
class ClusterDns:
    """The DNS of Pods with dnsPolicy ClusterFirst.

    Without servers, the node's own resolv.conf applies.
    """

    servers: tuple[str, ...] = ()
    domain: str = "cluster.local"
    node_resolv_conf: str = ""


@dataclass(frozen=True, slots=True)
class ResolvConf:
    """The text of a resolv.conf, and what had to be left out of it, as kubelet's Events say it."""

    text: str
    problems: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Parts:
    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()


def resolv_conf(pod: Pod, dns: ClusterDns) -> ResolvConf:
    """Return /etc/resolv.conf for a Pod."""
    parts = _merged(_base(pod, dns), pod.spec.dns_config or PodDNSConfig())
    servers, few = _servers(parts.servers)
    searches, short = _searches(parts.searches)
    lines = [f"search {' '.join(searches)}"] if searches else []
    lines += [f"nameserver {server}" for server in servers]
    lines += [f"options {' '.join(parts.options)}"] if parts.options else []
    return ResolvConf("".join(f"{line}\n" for line in lines), (*few, *short))


def _base(pod: Pod, dns: ClusterDns) -> _Parts:
    """Return what dnsPolicy gives, before dnsConfig."""
    policy = pod.spec.dns_policy or "ClusterFirst"
    if policy == "ClusterFirst" and pod.spec.host_network:
        policy = "Default"
    if policy == "None":
        return _Parts()
    node = _parse(dns.node_resolv_conf)
    if policy == "Default" or not dns.servers:
        return node
    inside = f"svc.{dns.domain}"
    searches = (f"{pod.metadata.namespace}.{inside}", inside, dns.domain, *node.searches)
    return _Parts(dns.servers, searches, ("ndots:5",))


def _parse(text: str) -> _Parts:
    """Read a resolv.conf; of several lines search, and options, the last one counts."""
    servers: list[str] = []
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    for word, *rest in (line.split() for line in text.splitlines() if line.strip()):
        if word == "nameserver":
            servers += rest[:1]
        elif word == "search":
            searches = tuple(name.removesuffix(".") for name in rest)
        elif word == "options":
            options = tuple(rest)
    return _Parts(tuple(servers), searches, options)


def _merged(base: _Parts, extra: PodDNSConfig) -> _Parts:
    """Add dnsConfig: no entry twice, and its options win."""
    options = {name: value for name, _, value in (each.partition(":") for each in base.options)}
    options |= {i["name"]: i.get("value") or "" for i in extra.options if i.get("name")}
    return _Parts(
        _once((*base.servers, *extra.nameservers)),
        _once((*base.searches, *extra.searches)),
        tuple(f"{name}:{value}" if value else name for name, value in options.items()),
    )


def _once(items: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(items))


def _servers(given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kept = given[:_NAMESERVERS]
    if kept == given:
        return kept, ()
    return kept, (
        "Nameserver limits were exceeded, some nameservers have been omitted, the applied "
        f"nameserver line is: {' '.join(kept)}",
    )


def _searches(given: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    kept = tuple(name for name in given[:_SEARCHES] if len(name) <= _SEARCH_NAME)
    while len(" ".join(kept)) > _SEARCH_CHARACTERS:
        kept = kept[:-1]
    if kept == given:
        return kept, ()
    return kept, (
        "Search Line limits were exceeded, some search paths have been omitted, the applied "
        f"search line is: {' '.join(kept)}",
    )
