"""The /etc/hosts of a Pod's containers. It reads the node's for a Pod in the node's network."""

from contextlib import suppress
from pathlib import Path

from control.runtime.base import SandboxConfig


def render(config: SandboxConfig, addresses: tuple[str, ...]) -> str:
    """Return a Pod's /etc/hosts, as kubelet writes it."""
    if config.host_network:
        with suppress(OSError):
            return Path("/etc/hosts").read_text() + config.hosts
    lines = [
        "# Kubernetes-managed hosts file.",
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "fe00::0\tip6-localnet",
        "fe00::0\tip6-mcastprefix",
        "fe00::1\tip6-allnodes",
        "fe00::2\tip6-allrouters",
    ]
    names = f"{config.domain}\t{config.hostname}" if config.domain else config.hostname
    lines += [f"{address}\t{names}" for address in addresses]
    return "\n".join(lines) + "\n" + config.hosts
