"""Computes the desired state from changes of objects, a changed Service at a time."""

from collections.abc import Mapping, Sequence

from msgspec import structs
from msgspec.structs import replace

from proxy.desired.desired import Desired, Portals
from proxy.desired.portals import portals
from proxy.model.values import Endpoint, Family, Key, Network, NodeView, PortKey, Service, Slice


class Tracker:
    """Holds the present objects, and computes the desired state when asked.

    The same objects give the same state, in whatever order changes come, squashed or repeated.
    """

    def __init__(self, node: NodeView, families: tuple[Family, ...]) -> None:
        self._node = node
        self._families = frozenset(families)
        self._services: dict[Key, Service] = {}
        self._slices: dict[Key, Slice] = {}
        self._slices_of: dict[Key, dict[Key, Slice]] = {}
        self._stale: set[Key] = set()
        self._ahead: set[Key] | None = set()  # computed before the first ``desired``; None then
        self._portals: dict[Key, Portals] = {}
        self._latest = Desired()

    @property
    def node(self) -> NodeView:
        """This node, as last set."""
        return self._node

    def set_service_ranges(self, ranges: tuple[Network, ...]) -> None:
        """Set the ranges of ClusterIPs, which the node's view holds too."""
        self._node = replace(self._node, service_ranges=ranges)

    def set_node(self, node: NodeView) -> None:
        """Set the node's view without the ranges. Services depend on its name and zone only."""
        if (node.name, node.zone) != (self._node.name, self._node.zone):
            self._stale.update(self._services)
        self._node = replace(node, service_ranges=self._node.service_ranges)

    def set_service(self, key: Key, service: Service | None) -> None:
        """Set a Service; None if it is gone or not ours."""
        if self._services.get(key) == service:
            return
        self._stale.add(key)
        if service is None:
            del self._services[key]
        else:
            self._services[key] = service
            self._work_ahead(key)

    def set_slice(self, key: Key, new: Slice | None) -> None:
        """Set an EndpointSlice; None if it is gone or belongs to no Service."""
        old = self._slices.pop(key, None)
        if new is not None:
            self._slices[key] = new
        if old == new:
            return
        if old is not None:
            self._forget(old.service, key)
        if new is not None:
            self._slices_of.setdefault(new.service, {})[key] = new
            self._stale.add(new.service)
            self._work_ahead(new.service)

    def _forget(self, service: Key, key: Key) -> None:
        self._stale.add(service)
        slices = self._slices_of[service]
        del slices[key]
        if not slices:
            del self._slices_of[service]

    def desired(self) -> Desired:
        """Return the present desired state.

        Portals of untouched Services are the same objects as before.
        """
        changed = [*(self._ahead or ()), *(key for key in self._stale if self._recompute(key))]
        self._ahead = None
        self._stale.clear()
        if changed:
            self._latest = Desired(self._portals, self._latest, changed)
        return self._latest

    def _work_ahead(self, key: Key) -> None:
        """Compute a Service's portals before the first ``desired``, if it has endpoints by now.

        Objects are listed then, and the server takes its time.
        """
        if self._ahead is not None and key in self._services and key in self._slices_of:
            self._recompute(key)
            self._stale.discard(key)
            self._ahead.add(key)

    def _recompute(self, key: Key) -> bool:
        """Compute a Service's portals; return True if they changed."""
        new = self._portals_for(key)
        if new == self._portals.get(key):
            return False
        if new is None:
            del self._portals[key]
        else:
            self._portals[key] = new
        return True

    def _portals_for(self, key: Key) -> Portals | None:
        service = self._services.get(key)
        if service is None:
            return None
        ours = tuple([ip for ip in service.cluster_ips if ip.version in self._families])
        if ours != service.cluster_ips:
            service = structs.replace(service, cluster_ips=ours)
        return portals(service, self._endpoints(key), self._node)

    def _endpoints(self, key: Key) -> Mapping[PortKey, Sequence[Endpoint]]:
        parts = self._slices_of.get(key, {}).values()
        if len(parts) == 1:  # of most Services
            (only,) = parts
            return only.endpoints
        found: dict[PortKey, list[Endpoint]] = {}
        for part in parts:
            for port, endpoints in part.endpoints.items():
                found.setdefault(port, []).extend(endpoints)
        return found
