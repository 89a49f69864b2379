"""One sync's work in the kernel: rules, then flows, then what earlier runs left elsewhere."""

import logging

from proxy.backend import BACKENDS, Backend, open_backend
from proxy.cleaner import Cleaner
from proxy.desired import Desired
from proxy.metrics import Metrics
from proxy.model import NodeView
from proxy.settings import Settings

log = logging.getLogger("podwire.proxy")


class Kernel:
    """What a sync changes. Called from one thread at a time."""

    def __init__(self, mode: str, backend: Backend, settings: Settings, metrics: Metrics) -> None:
        self._mode = mode
        self._backend = backend
        self._settings = settings
        self._cleaner = Cleaner(settings)
        self._metrics = metrics
        self._alone = False  # whether no other backend's rules are left

    def apply(self, want: Desired, node: NodeView) -> None:
        """Bring the kernel to ``want``; raises ProxyError.

        Flows are looked at only once the rules send new ones aright, and other backends' rules go
        only once ours are in force: a change of backend interrupts nothing.
        """
        self._backend.apply(want, node)
        self._metrics.add("stale_conntrack_entries_deleted_total", self._cleaner.clean(want))
        if not self._alone:
            self._backend.remove(keep_own=True)
            for mode in BACKENDS.keys() - {self._mode}:
                open_backend(mode, self._settings, {}).remove()
            self._alone = True
