"""The texts of faults, with the names of the lab's nodes, Pods and Services in them. Pure."""

from collections.abc import Callable, Mapping

from debug.faults.acts.base import FaultError
from debug.faults.fault import Fault, Look
from debug.faults.scene import Scene, ipv4

_DNS = ("kube-system", "kube-dns")


def names(scene: Scene) -> dict[str, str]:
    """Return what stands in the braces of texts; what the lab does not have is in capitals."""
    peers = scene.pods_of
    found: dict[str, Callable[[], str]] = {
        "node": lambda: scene.node,
        "peer": lambda: scene.peer,
        "peer_ip": lambda: scene.address(scene.peer),
        "peer_range": lambda: str(scene.range(scene.peer)),
        "peer_pod_ip": lambda: next(map(ipv4, peers(scene.peer)), "PEER_POD_IP"),
        "pod": lambda: "/".join(scene.pod.key),
        "pod_args": lambda: _args(scene.pod.key),
        "pod_ip": lambda: ipv4(scene.pod),
        "service": lambda: "/".join(scene.service.key),
        "service_args": lambda: _args(scene.service.key),
        "dns_ip": lambda: _dns_ip(scene),
    }
    return {key: text for key, read in found.items() if (text := _known(read))}


def filled(text: str, words: Mapping[str, str], lab: str = "lab") -> str:
    """Return a text with names for what is in braces, and with the lab's name in commands."""
    for key in (part.partition("}")[0] for part in text.split("{")[1:]):
        text = text.replace(f"{{{key}}}", words.get(key) or key.upper())
    return (
        text if lab == "lab" else text.replace("podwire lab exec", f"podwire lab exec --name {lab}")
    )


def looks(fault: Fault, words: Mapping[str, str], lab: str) -> tuple[Look, ...]:
    """Return how a fault is found, with names."""
    return tuple(
        Look(filled(look.command, words, lab), filled(look.shows, words, lab))
        for look in fault.find
    )


def _args(key: tuple[str, str]) -> str:
    """Return a name as kubectl's arguments."""
    return key[1] if key[0] == "default" else f"-n {key[0]} {key[1]}"


def _dns_ip(scene: Scene) -> str:
    service = scene.cluster.service(_DNS)
    return (service.spec.cluster_ip if service else None) or ""


def _known(read: Callable[[], str]) -> str:
    try:
        return read()
    except FaultError:
        return ""
