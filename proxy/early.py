"""What the proxy begins before it has imported the rest, and before it asks the API server."""

from typing import NamedTuple

from proxy.backends.base import Backend, open_backend
from proxy.config import ProxyConfig
from proxy.model.settings import ProxySettings
from proxy.sysctl import prepare


class EarlyStart(NamedTuple):
    """The settings, completed by what the kernel supports, and a backend that has begun to load.

    ``backend`` is None if its settings wait for the Node.
    """

    settings: ProxySettings
    backend: Backend | None


def begin(config: ProxyConfig) -> EarlyStart:
    """Write sysctls, and have a backend begin in a thread of its own."""
    settings = prepare(config.settings, config.tracking)
    if config.pods_by_node or config.node_ports_by_node:
        return EarlyStart(settings, None)
    backend = open_backend(config.mode, settings, config.backend_options)
    backend.load_early()
    return EarlyStart(settings, backend)
