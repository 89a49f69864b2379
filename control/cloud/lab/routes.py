"""The lab's routes: those of the control machine's kernel, by which the API server reaches Pods.

The nodes' agents make the routes between nodes. A packet from the control machine goes to the node
that has the Pod, in each overlay: nodes and control machine are on one switch. Our routes have a
protocol number of their own; others are not touched.
"""

import asyncio
import errno
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import pyroute2
from pyroute2.netlink.exceptions import NetlinkError

from control.cloud.lab.instances import LabInstances
from control.cloud.provider import CloudError, Instance, Route
from control.node_network.kernel import dump

PROTOCOL = 88  # `ip route show proto 88`; the agents' is 87
_FAMILIES = {4: 2, 6: 10}  # AF_INET, AF_INET6
_GONE = (errno.ESRCH, errno.ENOENT, errno.ENODEV)


class LabRoutes:
    """Routes in the network of this process; implements Routes."""

    def __init__(self, machines: LabInstances) -> None:
        """``machines`` says at which addresses a node is reached."""
        self._machines = machines

    async def list(self, cluster: str) -> Sequence[Route]:
        """Return our routes; one whose gateway is no machine's has no node. Raises CloudError."""
        del cluster
        names = _names(self._machines.all())
        found = await asyncio.to_thread(_routes)
        return [Route(names.get(via, ""), cidr) for cidr, via in found]

    async def create(self, cluster: str, hint: str, route: Route) -> None:
        """Send the packets for a range to its node; raises CloudError."""
        del cluster, hint
        try:
            cidr = ip_network(route.destination)
        except ValueError as err:
            raise CloudError(f"Pod range of Node {route.node}: {err}") from err
        found = self._machines.all().get(route.node)
        if found is None:
            raise CloudError(f"the lab has no machine for Node {route.node}")
        addresses = (ip_address(a.address) for a in found.addresses if a.type == "InternalIP")
        via = next((each for each in addresses if each.version == cidr.version), None)
        if via is None:
            raise CloudError(
                f"machine {route.node} has no IPv{cidr.version} address for Pod range {cidr}; "
                "give nodes and Pods the same address families"
            )
        await asyncio.to_thread(_change, "add", str(cidr), str(via))

    async def delete(self, cluster: str, route: Route) -> None:
        """Remove a route, if it is there; raises CloudError."""
        del cluster
        await asyncio.to_thread(_change, "del", route.destination)


def _change(verb: str, cidr: str, via: str = "") -> None:
    """Add or delete a route, in a thread, because netlink blocks; raises CloudError."""
    family = _FAMILIES[ip_network(cidr).version]
    to = {"gateway": via} if via else {}
    try:
        with _netlink() as ip:
            ip.route(verb, dst=cidr, proto=PROTOCOL, family=family, **to)
    except (NetlinkError, OSError) as err:
        code = err.code if isinstance(err, NetlinkError) else err.errno
        if verb == "del" and code in _GONE:
            return
        hint = "; another program made it: remove it" if code == errno.EEXIST else ""
        raise CloudError(f"ip route {verb} {cidr} {via}: {err}{hint}") from err


def _netlink() -> Any:
    """Open a netlink socket; pyroute2 makes its methods at run time, where mypy cannot see them."""
    iproute: Any = pyroute2.IPRoute  # type: ignore[attr-defined]
    return iproute()


def _names(machines: Mapping[str, Instance]) -> dict[str, str]:
    return {
        address.address: name
        for name, machine in machines.items()
        for address in machine.addresses
        if address.type == "InternalIP"
    }


def _routes() -> list[tuple[str, str]]:
    """Return the range and the gateway of each route of ours; raises CloudError."""
    try:
        with _netlink() as ip:
            return [each for family in _FAMILIES.values() for each in _of_family(ip, family)]
    except (NetlinkError, OSError) as err:
        raise CloudError(f"routes cannot be listed: {err}") from err


def _of_family(ip: Any, family: int) -> Iterator[tuple[str, str]]:
    for item in dump(partial(ip.get_routes, family=family, proto=PROTOCOL)):
        to, via = item.get_attr("RTA_DST"), item.get_attr("RTA_GATEWAY")
        if item["proto"] == PROTOCOL and to and via:
            yield f"{to}/{item['dst_len']}", str(via)
