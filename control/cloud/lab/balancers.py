"""The lab's load balancers: addresses of pools. Proxies balance them, speakers announce them."""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from control.api.node import Node
from control.api.service import LoadBalancerIngress, LoadBalancerStatus, Service
from control.client.cache import Key
from control.cloud.lab.claims import Claim, claim_of
from control.cloud.lab.instances import LabInstances
from control.cloud.lab.ledger import Ledger
from control.cloud.lab.pools import Address, Pool, PoolError, PoolFile
from control.cloud.lab.routes import LabRoutes
from control.cloud.provider import CloudError, Instances, LoadBalancers, Routes
from control.metrics import Registry

_LOOK_SECONDS = 0.5  # from one look at the file of pools to the next
logger = logging.getLogger(__name__)


class PoolBalancers:
    """Gives Services addresses of pools; implements LoadBalancers."""

    def __init__(self, pools: tuple[Pool, ...], file: PoolFile | None = None) -> None:
        """``pools`` are those of ``file``, which is followed."""
        self._ledger, self._file = Ledger(pools), file
        self._freed: list[Callable[[], None]] = []
        self._lost: list[Callable[[Key, str], None]] = []
        self._faults: list[Callable[[str], None]] = []

    async def run(self) -> None:
        """Follow the file of pools for ever."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            try:
                if self._file is not None and (pools := self._file.changed()) is not None:
                    self._replace(pools, self._file.path)
            except PoolError as err:
                logger.warning("%s", err)
                for callback in self._faults:
                    callback(str(err))

    def measure(self, registry: Registry) -> None:
        """Register the metrics of pools, by MetalLB's names."""
        registry.measured(
            "metallb_allocator_addresses_total",
            "Number of usable IP addresses, per pool.",
            "pool",
            read=lambda: {(pool.name,): pool.size for pool in self._ledger.pools},
        )
        registry.measured(
            "metallb_allocator_addresses_in_use_total",
            "Number of IP addresses in use, per pool.",
            "pool",
            read=lambda: {(name,): count for name, count in self._ledger.in_use().items()},
        )

    def _replace(self, pools: tuple[Pool, ...], path: Path) -> None:
        lost = self._ledger.replace(pools)
        logger.info("%s: %d pools; %d Services lose an address", path, len(pools), len(lost))
        for key, gone in lost.items():
            addresses = ", ".join(map(str, gone))
            text = f"{addresses} is in no pool for it since {path.name} changed; it gets another"
            for callback in self._lost:
                callback(key, text)
        self._call()

    async def get(self, cluster: str, service: Service) -> LoadBalancerStatus | None:
        """Return what a Service has, by this process or by its status."""
        del cluster
        found = self._ledger.given(service.key) or shown(service)
        return status(found) if found else None

    async def ensure(
        self, cluster: str, service: Service, nodes: Sequence[Node]
    ) -> LoadBalancerStatus:
        """Give a Service its addresses; raises CloudError."""
        del cluster, nodes
        return status(self._ledger.give(service.key, claim_of(service)))

    async def update(self, cluster: str, service: Service, nodes: Sequence[Node]) -> None:
        """Do nothing: the speakers see the nodes for themselves."""

    async def delete(self, cluster: str, service: Service) -> None:
        """Take a Service's addresses back."""
        del cluster
        if self._ledger.release(service.key):
            self._call()

    def on_freed(self, callback: Callable[[], None]) -> None:
        """Call back when an address became free."""
        self._freed.append(callback)

    def on_lost(self, callback: Callable[[Key, str], None]) -> None:
        """Call back with a Service whose address is in no pool any more."""
        self._lost.append(callback)

    def on_fault(self, callback: Callable[[str], None]) -> None:
        """Call back with what is wrong with a changed file of pools."""
        self._faults.append(callback)

    def observe(self, old: Service | None, new: Service | None) -> None:
        """Note the addresses that a Service shows, whoever gave them."""
        service = new or old
        if service is None:
            return
        addresses = shown(new) if new is not None else ()
        if self._ledger.show(service.key, _claim(service), addresses):
            self._call()

    def _call(self) -> None:
        for callback in self._freed:
            callback()


@dataclass(frozen=True, slots=True)
class Lab:
    """The cloud ``lab``; implements Provider."""

    pools: tuple[Pool, ...]
    machines: Path | None = None  # the folder of machines.json and running.json
    file: PoolFile | None = None  # of the pools
    name: str = "lab"

    def load_balancers(self) -> LoadBalancers | None:
        """Return the load balancers."""
        return PoolBalancers(self.pools, self.file)

    def instances(self) -> Instances | None:
        """Return the machines, if there are files of them."""
        return LabInstances(self.machines) if self.machines else None

    def routes(self) -> Routes | None:
        """Return the control machine's routes, if there are files of the machines."""
        return LabRoutes(LabInstances(self.machines)) if self.machines else None


def shown(service: Service) -> tuple[Address, ...]:
    """Return the addresses in a Service's status."""
    balancer = service.status.load_balancer
    if service.spec.type != "LoadBalancer" or balancer is None:
        return ()
    return tuple(ip_address(item.ip) for item in balancer.ingress if item.ip)


def status(addresses: Sequence[Address]) -> LoadBalancerStatus:
    """Return the status that shows addresses; nodes take packets to them: mode VIP."""
    ingress = [LoadBalancerIngress(ip=str(each), ip_mode="VIP") for each in addresses]
    return LoadBalancerStatus(ingress=ingress)


def _claim(service: Service) -> Claim:
    try:
        return claim_of(service)
    except CloudError:  # the Service hears of it when it is ensured; it shares with nobody
        return Claim(f"{service.metadata.namespace}/{service.metadata.name}", (4,))
