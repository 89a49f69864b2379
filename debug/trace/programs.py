"""What the maps of podwire's eBPF programs say about a packet that was seen.

The programs tell of no packet themselves: what they did is in conntrack's entries and in their
maps, which are read once the packet has passed. So they cost no more while somebody traces, and
programs that an older release has loaded are told of too.
"""

from collections.abc import Mapping
from ipaddress import ip_address

from debug.cluster import Names
from debug.machine.programs import frontends, has_programs, serving
from debug.output import with_port
from debug.places import Place, PlaceError
from debug.trace.packet import Flow
from proxy.backends.ebpf.installed.maps import flow_sent_on
from proxy.backends.ebpf.mounts import MAPS
from proxy.backends.installed import Installed
from proxy.desired.portals import Frontend
from proxy.model.errors import KernelRefusedError

_PROTOCOLS = ("tcp", "udp")


class MapPrograms:
    """The programs of nodes, whose maps are read when they are asked for."""

    def __init__(self, names: Names) -> None:
        self._names = names
        self._known: dict[Place, Mapping[Frontend, Installed]] = {}

    def serves(self, place: Place, flow: Flow) -> str | None:
        """Return the name of the Service that a program serves to a flow; None if none does."""
        if flow.protocol not in _PROTOCOLS or flow.destination_port is None or place.pod:
            return None
        to = ip_address(flow.destination), flow.destination_port, flow.protocol
        found = serving(self._served(place), *to, of_node=True)
        return found.name if found else None

    def sent_on(self, place: Place, flow: Flow) -> str | None:
        """Return the endpoint on another node to which a program sends a flow as it is."""
        if self.serves(place, flow) is None or flow.source_port is None:
            return None
        ends = (flow.source, flow.source_port), (flow.destination, flow.destination_port or 0)
        try:
            found = flow_sent_on(place.root / MAPS.relative_to("/"), flow.protocol.upper(), *ends)
        except KernelRefusedError:
            return None  # a proxy that starts replaces the map
        if found is None:
            return None
        return with_port(self._names.shown(str(found[0])), found[1])

    def _served(self, place: Place) -> Mapping[Frontend, Installed]:
        if place not in self._known:
            try:
                self._known[place] = frontends(place) if has_programs(place) else {}
            except (KernelRefusedError, PlaceError):
                self._known[place] = {}
        return self._known[place]
