"""Reads a KubeProxyConfiguration file (kubeproxy.config.k8s.io/v1alpha1) as values of flags.

The file of a running cluster, as kubeadm writes it, works unchanged. Fields that have no meaning
here are accepted; if they are set, the log names them. An unknown field is an error: ignoring a
misspelled setting silently is worse than failing.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from proxy.model.errors import BadFlagError

logger = logging.getLogger("podwire.proxy")

_API_VERSION, _KIND = "kubeproxy.config.k8s.io/v1alpha1", "KubeProxyConfiguration"

# A field, and the flag with the same meaning.
_FLAGS: Mapping[str, str] = {
    "clientConnection.kubeconfig": "kubeconfig",
    "hostnameOverride": "node_name",
    "mode": "proxy_mode",
    "clusterCIDR": "cluster_cidr",
    "detectLocalMode": "detect_local_mode",
    "detectLocal.bridgeInterface": "pod_bridge_interface",
    "detectLocal.interfaceNamePrefix": "pod_interface_name_prefix",
    "iptables.masqueradeAll": "masquerade_all",
    "iptables.masqueradeBit": "iptables_masquerade_bit",
    "iptables.localhostNodePorts": "localhost_node_ports",
    "iptables.minSyncPeriod": "min_sync_period",
    "nodePortAddresses": "nodeport_addresses",
    "healthzBindAddress": "healthz_bind_address",
    "metricsBindAddress": "metrics_bind_address",
    "conntrack.maxPerCore": "conntrack_max_per_core",
    "conntrack.min": "conntrack_min",
    "conntrack.tcpBeLiberal": "conntrack_tcp_be_liberal",
    "conntrack.tcpEstablishedTimeout": "conntrack_tcp_timeout_established",
    "conntrack.tcpCloseWaitTimeout": "conntrack_tcp_timeout_close_wait",
    "conntrack.udpTimeout": "conntrack_udp_timeout",
    "conntrack.udpStreamTimeout": "conntrack_udp_timeout_stream",
}
# In mode nftables these fields take the place of the iptables section's.
_NFTABLES: Mapping[str, str] = {
    "nftables.masqueradeAll": "masquerade_all",
    "nftables.masqueradeBit": "iptables_masquerade_bit",
    "nftables.minSyncPeriod": "min_sync_period",
}
# Fields without effect here. A name includes all fields below it.
_WITHOUT_EFFECT = frozenset(
    {
        "apiVersion",
        "kind",
        "bindAddress",
        "bindAddressHardFail",
        "enableProfiling",
        "showHiddenMetricsForVersion",
        "featureGates",
        "logging",
        "configSyncPeriod",
        "oomScoreAdj",
        "portRange",
        "udpIdleTimeout",
        "ipvs",
        "winkernel",
        "windowsRunAsService",
        "iptables.syncPeriod",
        "nftables.syncPeriod",
        "clientConnection.acceptContentTypes",
        "clientConnection.contentType",
        "clientConnection.qps",
        "clientConnection.burst",
    }
)
# Fields that cannot be followed here, and why.
_REFUSED: Mapping[str, str] = {
    "iptables.snatNodeInternalIP": "masquerading takes the address that the route prefers",
}
_LISTS, _TRUTHS, _NUMBERS = (
    frozenset(names)
    for names in (
        {"nodePortAddresses"},
        {
            "iptables.masqueradeAll",
            "iptables.localhostNodePorts",
            "nftables.masqueradeAll",
            "conntrack.tcpBeLiberal",
            *_REFUSED,
        },
        {
            "iptables.masqueradeBit",
            "nftables.masqueradeBit",
            "conntrack.maxPerCore",
            "conntrack.min",
        },
    )
)
_POINTERS = frozenset(
    {
        "iptables.masqueradeBit",
        "iptables.localhostNodePorts",
        "nftables.masqueradeBit",
        "conntrack.maxPerCore",
        "conntrack.min",
        "conntrack.tcpEstablishedTimeout",
        "conntrack.tcpCloseWaitTimeout",
    }
)
_EXPECTED = frozenset({"apiVersion", "kind", "bindAddress"})  # in every file


def read(path: Path) -> dict[str, Any]:
    """Return the flags that the file sets.

    Raises BadFlagError, which names the file and the field.
    """
    try:
        wire = yaml.safe_load(path.read_text())
    except OSError as err:
        raise BadFlagError(f"--config {path}: {err.strerror}") from err
    except yaml.YAMLError as err:
        raise BadFlagError(f"--config {path} is not YAML: {' '.join(str(err).split())}") from err
    about = (wire.get("apiVersion"), wire.get("kind")) if isinstance(wire, dict) else ()
    if about != (_API_VERSION, _KIND):
        raise BadFlagError(f"--config {path}: is not a {_KIND} of {_API_VERSION}")
    return {**_listening(wire.get("bindAddress")), **_flags(path, wire)}


def _listening(bind: object) -> dict[str, str]:
    """Return the defaults of a file, which differ from those of flags.

    Load balancers may ask for health, only the node itself for metrics. An IPv6 ``bindAddress``
    means IPv6.
    """
    if isinstance(bind, str) and ":" in bind:
        return {"healthz_bind_address": "[::]:10256", "metrics_bind_address": "[::1]:10249"}
    return {"healthz_bind_address": "0.0.0.0:10256", "metrics_bind_address": "127.0.0.1:10249"}


def _flags(path: Path, wire: dict[str, Any]) -> dict[str, Any]:
    fields = _fields(wire.get("mode"))
    flags: dict[str, Any] = {}
    for field, value in _leaves("", wire):
        if not _is_known(field):
            raise BadFlagError(f"--config {path}: {field} is not a field of {_KIND}")
        if not _is_set(field, value) or field in _EXPECTED:
            continue
        if field in _REFUSED:
            raise BadFlagError(f"--config {path}: {field} is not supported: {_REFUSED[field]}")
        if field in fields:
            _check(path, field, value)
            flags[fields[field]] = ",".join(value) if isinstance(value, list) else value
        else:
            logger.warning("%s: %s has no effect here", path, field)
    return flags


def _check(path: Path, field: str, value: object) -> None:
    """Refuse a value of another type than the field's, as upstream's strict decoding does."""
    kind: type = str
    name = "a text"
    for fields, field_type, type_name in (
        (_LISTS, list, "a list of texts"),
        (_TRUTHS, bool, "true or false"),
        (_NUMBERS, int, "a number"),
    ):
        if field in fields:
            kind, name = field_type, type_name
    are_texts = not isinstance(value, list) or all(isinstance(item, str) for item in value)
    if type(value) is not kind or not are_texts:
        raise BadFlagError(f"--config {path}: {field} is not {name}: {str(value)[:80]!r}")


def _fields(mode: object) -> Mapping[str, str]:
    if mode != "nftables":
        return _FLAGS
    others = {field: flag for field, flag in _FLAGS.items() if flag not in _NFTABLES.values()}
    return {**others, **_NFTABLES}


def _leaves(prefix: str, wire: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in wire.items():
        if isinstance(value, dict):
            yield from _leaves(f"{prefix}{name}.", value)
        else:
            yield f"{prefix}{name}", value


def _is_known(field: str) -> bool:
    parts = field.split(".")
    above = {".".join(parts[:depth]) for depth in range(1, len(parts) + 1)}
    return bool(above & _WITHOUT_EFFECT) or field in {*_FLAGS, *_NFTABLES, *_REFUSED}


def _is_set(field: str, value: object) -> bool:
    """Return True if a field is set. Go writes zero for unset, or null if zero has a meaning."""
    return value is not None if field in _POINTERS else bool(value) and value != "0s"


def document(flags: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return flags as the KubeProxyConfiguration that means the same; the reverse of ``read``."""
    made: dict[str, Any] = {"apiVersion": _API_VERSION, "kind": _KIND}
    nftables = _NFTABLES if flags["proxy_mode"] == "nftables" else {}
    for path, flag in {**_FLAGS, **nftables}.items():
        value = flags[flag]
        if path in _LISTS:
            value = [word for word in str(value or "").split(",") if word]
        *outer, name = path.split(".")
        section = made
        for part in outer:
            section = section.setdefault(part, {})
        section[name] = "" if value is None else value
    return made
