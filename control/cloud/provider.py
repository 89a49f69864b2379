"""What a cloud can do for a cluster, as upstream's interface ``cloudprovider.Interface``.

A controller asks for the part that it needs, and does not run if the cloud has none. Source:
k8s.io/cloud-provider/cloud.go.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from control.api.node import Node, NodeAddress
from control.api.service import LoadBalancerStatus, Service
from control.metrics import Registry

if TYPE_CHECKING:  # a lab describes its machines without a client of the API
    from control.client.cache import Key


class CloudError(Exception):
    """The cloud refuses an operation; the text names the object, the reason and the remedy."""


class BalancerLostError(CloudError):
    """A Service has lost what it had, and the cloud has nothing else for it."""


class LoadBalancers(Protocol):
    """The load balancers of a cloud; each belongs to one Service. Calls may be repeated."""

    async def run(self) -> None:
        """Follow changes of the cloud's own for ever."""

    def measure(self, registry: Registry) -> None:
        """Register metrics of the cloud's own."""

    async def get(self, cluster: str, service: Service) -> LoadBalancerStatus | None:
        """Return the status of a Service's load balancer; None if it has none."""

    async def ensure(
        self, cluster: str, service: Service, nodes: Sequence[Node]
    ) -> LoadBalancerStatus:
        """Create or correct a load balancer; raises CloudError."""

    async def update(self, cluster: str, service: Service, nodes: Sequence[Node]) -> None:
        """Send a load balancer's traffic to these nodes from now on; raises CloudError."""

    async def delete(self, cluster: str, service: Service) -> None:
        """Remove a load balancer, if there is one; raises CloudError."""

    def on_freed(self, callback: Callable[[], None]) -> None:
        """Call back when something was freed, for which refused Services may wait."""

    def on_lost(self, callback: "Callable[[Key, str], None]") -> None:
        """Call back with a Service that loses what it has, and why: it is ensured anew."""

    def on_fault(self, callback: Callable[[str], None]) -> None:
        """Call back with what is wrong with the cloud's own settings."""

    def observe(self, old: Service | None, new: Service | None) -> None:
        """Take a change of a Service; all Services come before the first call of ``ensure``."""


@dataclass(frozen=True, slots=True)
class Instance:
    """What a cloud knows of a Node's machine, as upstream's InstanceMetadata; "" is unknown."""

    provider_id: str
    addresses: tuple[NodeAddress, ...]
    type: str = ""
    zone: str = ""
    region: str = ""


class Instances(Protocol):
    """The machines of a cloud, and their zones, as upstream's InstancesV2."""

    async def exists(self, node: Node) -> bool:
        """True if the cloud has a Node's machine; raises CloudError if it does not know."""

    async def shut_down(self, node: Node) -> bool:
        """True if a Node's machine is off; raises CloudError if the cloud does not know."""

    async def metadata(self, node: Node) -> Instance:
        """Return what the cloud knows of a Node's machine; raises CloudError if it has none."""


@dataclass(frozen=True, slots=True, order=True)
class Route:
    """A route of a cloud: packets for a range of Pods, as CIDR, go to a Node's machine.

    ``node`` is "" if the cloud does not know whose machine it is.
    """

    node: str
    destination: str


class Routes(Protocol):
    """The routes of a cloud, as upstream's Routes. Calls may be repeated."""

    async def list(self, cluster: str) -> Sequence[Route]:
        """Return the routes that this cluster made; raises CloudError."""

    async def create(self, cluster: str, hint: str, route: Route) -> None:
        """Make a route; ``hint`` may become part of its name. Raises CloudError."""

    async def delete(self, cluster: str, route: Route) -> None:
        """Remove a route, as ``list`` has returned it; raises CloudError."""


class Provider(Protocol):
    """A cloud. A part that it does not have is None."""

    @property
    def name(self) -> str:
        """The name in ``--cloud-provider`` and before ``://`` in a node's providerID."""

    def load_balancers(self) -> LoadBalancers | None:
        """Return the cloud's load balancers."""

    def instances(self) -> Instances | None:
        """Return the cloud's machines."""

    def routes(self) -> Routes | None:
        """Return the cloud's routes."""
