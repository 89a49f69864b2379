"""The proxy's configuration, made of flags and checked."""

import re
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from msgspec import Struct

from proxy.model.errors import BadFlagError
from proxy.model.settings import CounterDetail, PodDetector, ProxySettings
from proxy.model.values import Family, Network, family_of
from proxy.objects.parse import parse_address, parse_network

_TIMEOUTS = {
    "conntrack_tcp_timeout_established": "nf_conntrack_tcp_timeout_established",
    "conntrack_tcp_timeout_close_wait": "nf_conntrack_tcp_timeout_close_wait",
    "conntrack_udp_timeout": "nf_conntrack_udp_timeout",
    "conntrack_udp_timeout_stream": "nf_conntrack_udp_timeout_stream",
}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
# --nodeport-addresses: words that stand for ranges.
_NETWORKS = {"localhost": "127.0.0.0/8,::1/128", "all": "0.0.0.0/0,::/0"}
_PRIMARY = "primary"  # the word for the Node's own addresses


class ListenAddress(Struct, frozen=True):
    """An address and port to listen at."""

    host: str
    port: int


class ConntrackSettings(Struct, frozen=True):
    """The desired settings of connection tracking; 0 keeps the kernel's value."""

    max_per_core: int = 0
    least: int = 0
    be_liberal: bool = False
    timeouts: Mapping[str, int] = {}  # sysctl: seconds


class ProxyConfig(Struct, frozen=True):
    """The configuration of one proxy. ``healthz`` and ``metrics`` are None if switched off."""

    kubeconfig: str
    node_name: str
    mode: str
    settings: ProxySettings
    healthz: ListenAddress | None
    metrics: ListenAddress | None
    proxy_name: str = ""
    min_sync_period: float = 0.01
    pods_by_node: bool = False  # detect-local-mode NodeCIDR: by the Node's ranges, which come later
    node_ports_by_node: bool = False  # nodeport-addresses "primary": the Node's own addresses
    backend_options: Mapping[str, str] = {}
    tracking: ConntrackSettings = ConntrackSettings()
    counters: CounterDetail = CounterDetail.OFF
    keep_other_proxies: bool = False
    document: Mapping[str, Any] = {}  # as a KubeProxyConfiguration
    network_policy: bool = True  # whether NetworkPolicies are enforced
    service_ranges: tuple[Network, ...] = ()  # of ClusterIPs, beside the cluster's ServiceCIDRs


def from_flags(flags: Mapping[str, Any], hostname: str) -> ProxyConfig:
    """Make the configuration of flags. Raises BadFlagError, which names the flag."""
    if not flags["kubeconfig"] and not flags["cleanup"]:
        raise BadFlagError("--kubeconfig is missing; it says how to reach the API server")
    return ProxyConfig(
        kubeconfig=flags["kubeconfig"] or "",
        node_name=(flags["node_name"] or hostname).strip().lower(),
        mode=flags["proxy_mode"],
        settings=_settings(flags),
        healthz=_listen("--healthz-bind-address", flags["healthz_bind_address"], 10256),
        metrics=_listen("--metrics-bind-address", flags["metrics_bind_address"], 10249),
        proxy_name=flags["service_proxy_name"],
        min_sync_period=duration("--min-sync-period", flags["min_sync_period"]),
        pods_by_node=flags["detect_local_mode"] == "NodeCIDR",
        node_ports_by_node=_PRIMARY in _words(flags["nodeport_addresses"]),
        backend_options=_backend_options(flags),
        tracking=_tracking(flags),
        counters=CounterDetail(flags["service_counters"]),
        keep_other_proxies=flags["keep_other_proxies"],
        service_ranges=_networks("--service-cidr", flags["service_cidr"]),
        network_policy=flags["network_policy"],
    )


def _backend_options(flags: Mapping[str, Any]) -> Mapping[str, str]:
    if flags["proxy_mode"] == "ebpf" and not flags["cgroup_root"] and not flags["cleanup"]:
        raise BadFlagError(
            "--cgroup-root is missing; with --proxy-mode ebpf it names the cgroup of the node's "
            "Pods and processes: / if the whole machine is one node"
        )
    if flags["ebpf_direct_return"] and flags["ebpf_algorithm"] != "maglev":
        raise BadFlagError(
            "--ebpf-direct-return needs --ebpf-algorithm maglev: all nodes have to choose the same "
            "endpoint for a flow"
        )
    options = {
        "flavor": flags["iptables_flavor"],
        "cgroup-root": flags["cgroup_root"],
        "ebpf-algorithm": flags["ebpf_algorithm"],
        "service-counters": flags["service_counters"],
    }
    return {**options, "ebpf-direct-return": ""} if flags["ebpf_direct_return"] else options


def _settings(flags: Mapping[str, Any]) -> ProxySettings:
    words = (_NETWORKS.get(word, word) for word in _words(flags["nodeport_addresses"]))
    named = ",".join(word for word in words if word != _PRIMARY)
    addresses = _networks("--nodeport-addresses", named)
    return ProxySettings(
        pods=_pods(flags),
        masquerade_all=flags["masquerade_all"],
        mark_bit=flags["iptables_masquerade_bit"],
        localhost_node_ports=flags["localhost_node_ports"],
        node_port_networks=addresses or None,
    )


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",")]


def _tracking(flags: Mapping[str, Any]) -> ConntrackSettings:
    timeouts = {}
    for flag, sysctl in _TIMEOUTS.items():
        text = flags[flag]
        timeouts[sysctl] = round(duration(f"--{flag.replace('_', '-')}", text))
    return ConntrackSettings(
        max_per_core=flags["conntrack_max_per_core"],
        least=flags["conntrack_min"],
        be_liberal=flags["conntrack_tcp_be_liberal"],
        timeouts=timeouts,
    )


def _pods(flags: Mapping[str, Any]) -> Mapping[Family, PodDetector]:
    match flags["detect_local_mode"]:
        case "ClusterCIDR":
            return pods_of(_networks("--cluster-cidr", flags["cluster_cidr"]))
        case "NodeCIDR":
            return {}
        case "BridgeInterface":
            name = _interface("--pod-bridge-interface", flags["pod_bridge_interface"])
        case _:
            name = (
                _interface("--pod-interface-name-prefix", flags["pod_interface_name_prefix"]) + "+"
            )
    return dict.fromkeys(Family, PodDetector(interface=name))


def pods_of(networks: tuple[Network, ...]) -> Mapping[Family, PodDetector]:
    """Detect Pods by their ranges. As in upstream, the first range of each family counts."""
    return {family_of(network): PodDetector(network=network) for network in reversed(networks)}


def _interface(flag: str, name: str) -> str:
    """Check an interface name: at most 15 bytes, and no characters that rules interpret."""
    if not re.fullmatch(r"[A-Za-z0-9_.@-]{1,15}", name):
        raise BadFlagError(f"{flag} {name!r} is not the name of an interface")
    return name


def _networks(flag: str, text: str) -> tuple[Network, ...]:
    try:
        return tuple(parse_network(part) for part in text.split(",") if part.strip())
    except ValueError as err:
        raise BadFlagError(f"{flag} {text!r}: {err}; it takes CIDR[,CIDR…]") from err


def _listen(flag: str, text: str, usual: int) -> ListenAddress | None:
    """Parse ``ADDRESS:PORT``, or an address with the ``usual`` port.

    An empty text or port 0 switches the server off.
    """
    if not text:
        return None
    with suppress(ValueError):
        return ListenAddress(str(parse_address(text)), usual)
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]") or "127.0.0.1"
    try:
        parse_address(host)
    except ValueError as err:
        raise BadFlagError(f"{flag} {text!r}: {err}; it takes ADDRESS:PORT") from err
    if not port.isdecimal() or int(port) > 65535:
        raise BadFlagError(f"{flag} {text!r}: {port!r} is not a port; it takes ADDRESS:PORT")
    return ListenAddress(host, int(port)) if int(port) else None


def duration(flag: str, text: str) -> float:
    """Return the seconds of a duration in Go's format: ``10ms``, ``1m30s``."""
    parts = re.findall(r"(\d+(?:\.\d+)?)(ns|us|µs|ms|s|m|h)", text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise BadFlagError(f"{flag} {text!r} is not a duration such as 10ms or 1m30s")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)
