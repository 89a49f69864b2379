"""Applies a plan's operations, each with one message to the kernel, and reverts them.

``plan`` decides, this module only acts.
"""

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from cni_plugin.firewall.backends import Firewall
from cni_plugin.linux import uapi, vlans
from cni_plugin.linux.conntrack import forget_udp
from cni_plugin.linux.namespace import Namespace
from cni_plugin.linux.netlink import Attributes, NetlinkError, Value, pack, packed_mac
from cni_plugin.linux.shaping import lift_limit, limit_rate, pass_ingress, redirect_ingress
from cni_plugin.plan import ops
from cni_plugin.plan.ops import Op, Side
from cni_plugin.spec.errors import (
    CniError,
    InvalidConfigurationError,
    OperationRefusedError,
    TryAgainLaterError,
    UnsupportedFieldError,
)
from cni_plugin.spec.kernel_state import Link

_PATIENCE = 5.0  # seconds
_LONGEST_WITH_BROADCAST = 30  # RFC 3021: a /31 has two hosts and no broadcast
_FAMILY = {4: uapi.AF_INET, 6: uapi.AF_INET6}
# By default a veth has one queue for each possible CPU (veth_get_num_queues in drivers/net/veth.c),
# each with its objects in sysfs: 0.1 ms a CPU. Only XDP uses them.
_ONE_QUEUE: Attributes = {uapi.IFLA_NUM_TX_QUEUES: 1, uapi.IFLA_NUM_RX_QUEUES: 1}
_DEFAULT_METRIC = {4: 0, 6: 1024}  # IP6_RT_PRIO_USER in include/uapi/linux/ipv6_route.h
_MOST_ROUTES = 64  # to one destination in one container, each of another network
# operations whose objects belong to the attachment; others belong to the host, or vanish with them
REVERTED = (ops.CreateVeth, ops.CreateIfb, ops.LimitRate, ops.RedirectIngress, ops.AddRules)
_CREATE = uapi.NLM_F_CREATE | uapi.NLM_F_EXCL
_REPLACE = uapi.NLM_F_CREATE | uapi.NLM_F_REPLACE


class Applier:
    """Applies operations in the host's namespace and in one container's."""

    def __init__(
        self, host_ns: Namespace, pod_ns: Namespace, firewall: Firewall, bridge: Link | None = None
    ) -> None:
        self._firewall = firewall
        self._namespaces = {Side.HOST: host_ns, Side.POD: pod_ns}
        self._indexes = {(Side.HOST, bridge.name): bridge.index} if bridge else {}
        self._methods: dict[type[Op], Callable[[Any], None]] = {
            ops.CreateBridge: self._create_bridge,
            ops.CreateVeth: self._create_veth,
            ops.CreateIfb: self._create_ifb,
            ops.SetPort: self._set_port,
            ops.FilterVlans: self._filter_vlans,
            ops.LeaveVlans: self._leave_vlans,
            ops.JoinVlans: self._join_vlans,
            ops.CreateVlan: self._create_vlan,
            ops.KnowSender: self._know_sender,
            ops.SetUp: self._set_up,
            ops.SetLink: self._set_link,
            ops.AddAddress: self._add_address,
            ops.RemoveAddress: self._remove_address,
            ops.AddRoute: self._add_route,
            ops.ForgetNeighbor: self._forget_neighbor,
            ops.WriteSysctl: self._write_sysctl,
            ops.AwaitForwarding: self._await_forwarding,
            ops.AwaitRunning: self._await_running,
            ops.AwaitAddresses: self._await_addresses,
            ops.ForgetFlows: self._forget_flows,
            ops.LimitRate: self._limit_rate,
            ops.RedirectIngress: self._redirect_ingress,
            ops.AddRules: self._add_rules,
        }

    def apply(self, op: Op) -> None:
        """Apply one operation.

        Raises OperationRefusedError, UnsupportedFieldError or TryAgainLaterError.
        """
        try:
            self._methods[type(op)](op)
        except OSError as err:
            raise _explained(op, err) from err

    def revert(self, op: Op) -> None:
        """Revert an operation of one of the types in ``REVERTED``."""
        try:
            if isinstance(op, ops.CreateVeth):
                self._namespaces[Side.HOST].remove_link(op.host)
            elif isinstance(op, ops.CreateIfb):
                self._namespaces[Side.HOST].remove_link(op.name)
            elif isinstance(op, ops.LimitRate):  # of a link that may be another plugin's
                lift_limit(self._index(Side.HOST, op.name))
            elif isinstance(op, ops.RedirectIngress):
                pass_ingress(self._index(Side.HOST, op.name))
            elif isinstance(op, ops.AddRules):
                self._firewall.remove(op.rules.owner)
        except OSError as err:
            raise _explained(op, err) from err

    def _index(self, side: Side, name: str) -> int:
        """The index of a link that must exist. It is kept, for it does not change during a plan."""
        found = self._indexes.get((side, name))
        if found is None:
            found = self._namespaces[side].index(name)
            if not found:
                raise NetlinkError(errno.ENODEV, f"no link {name}")
            self._indexes[side, name] = found
        return found

    def _link(self, side: Side, attributes: Attributes, on: int = 0, flags: int = 0) -> None:
        body = uapi.IFINFOMSG.pack(0, 0, 0, on, on) + pack(attributes)
        self._namespaces[side].socket.change(uapi.RTM_NEWLINK, body, flags)

    def _create_bridge(self, op: ops.CreateBridge) -> None:
        attributes: Attributes = {
            uapi.IFLA_IFNAME: op.name,
            uapi.IFLA_ADDRESS: packed_mac(op.mac),
            uapi.IFLA_MTU: op.mtu,
            uapi.IFLA_LINKINFO: {uapi.IFLA_INFO_KIND: "bridge"},
        }
        try:
            self._link(Side.HOST, attributes, uapi.IFF_UP, _CREATE)
        except NetlinkError as err:
            # another ADD was faster; if its link is no bridge, the next operation fails
            if err.errno != errno.EEXIST:
                raise

    def _create_veth(self, op: ops.CreateVeth) -> None:
        peer: Attributes = {
            uapi.IFLA_IFNAME: op.pod,
            uapi.IFLA_ADDRESS: packed_mac(op.pod_mac),
            uapi.IFLA_MTU: op.mtu,
            uapi.IFLA_NET_NS_FD: self._namespaces[Side.POD].fd,
            **_ONE_QUEUE,
        }
        data = {uapi.VETH_INFO_PEER: uapi.IFINFOMSG.pack(0, 0, 0, 0, 0) + pack(peer)}
        attributes: Attributes = {
            uapi.IFLA_IFNAME: op.host,
            uapi.IFLA_ADDRESS: packed_mac(op.host_mac),
            uapi.IFLA_MTU: op.mtu,
            uapi.IFLA_MASTER: self._index(Side.HOST, op.bridge) if op.bridge else None,
            uapi.IFLA_LINKINFO: {uapi.IFLA_INFO_KIND: "veth", uapi.IFLA_INFO_DATA: data},
            **_ONE_QUEUE,
        }
        try:
            self._link(Side.HOST, attributes, uapi.IFF_UP, _CREATE)
        except NetlinkError as err:
            if err.errno == errno.EEXIST:
                raise InvalidConfigurationError(f"{op.pod} or {op.host} already exists") from err
            raise

    def _create_ifb(self, op: ops.CreateIfb) -> None:
        attributes: Attributes = {
            uapi.IFLA_IFNAME: op.name,
            uapi.IFLA_MTU: op.mtu or None,
            uapi.IFLA_LINKINFO: {uapi.IFLA_INFO_KIND: "ifb"},
        }
        self._link(Side.HOST, attributes, uapi.IFF_UP, _CREATE)

    def _set_port(self, op: ops.SetPort) -> None:
        port: Attributes = {
            uapi.IFLA_BRPORT_MODE: bytes([op.hairpin]),
            uapi.IFLA_BRPORT_ISOLATED: bytes([op.isolated]),
            uapi.IFLA_BRPORT_LOCKED: bytes([op.locked]),
        }
        info: Attributes = {
            uapi.IFLA_INFO_SLAVE_KIND: "bridge",
            uapi.IFLA_INFO_SLAVE_DATA: port,
        }
        self._link(
            Side.HOST,
            {
                uapi.IFLA_IFNAME: op.name,
                uapi.IFLA_IFALIAS: op.alias,
                uapi.IFLA_LINKINFO: info,
            },
        )

    def _filter_vlans(self, op: ops.FilterVlans) -> None:
        vlans.filter_vlans(self._namespaces[Side.HOST].socket, op.name)

    def _leave_vlans(self, op: ops.LeaveVlans) -> None:
        vlans.leave_all(self._namespaces[Side.HOST].socket, self._index(Side.HOST, op.name))

    def _join_vlans(self, op: ops.JoinVlans) -> None:
        index = self._index(Side.HOST, op.name)
        vlans.join(self._namespaces[Side.HOST].socket, index, op.vlans, own=op.own)

    def _create_vlan(self, op: ops.CreateVlan) -> None:
        bridge = self._index(Side.HOST, op.bridge)
        vlans.create_link(self._namespaces[Side.HOST].socket, op.name, bridge, op.vlan)

    def _know_sender(self, op: ops.KnowSender) -> None:
        link = self._namespaces[Side.HOST].link(op.name)
        if link is None or not link.locked:  # an old kernel ignores unknown attributes
            raise UnsupportedFieldError("macspoofchk needs bridge ports that lock: Linux 5.18")
        head = uapi.NDMSG.pack(uapi.AF_BRIDGE, link.index, uapi.NUD_NOARP, uapi.NTF_MASTER, 0)
        body = head + pack({uapi.NDA_LLADDR: packed_mac(op.mac)})
        self._namespaces[Side.HOST].socket.change(uapi.RTM_NEWNEIGH, body, _REPLACE)

    def _set_up(self, op: ops.SetUp) -> None:
        # sets the sysctl arp_notify without entering the namespace
        conf: Attributes = {uapi.IFLA_INET_CONF: {uapi.IPV4_DEVCONF_ARP_NOTIFY: 1}}
        attributes: Attributes = {
            uapi.IFLA_IFNAME: op.name,
            uapi.IFLA_AF_SPEC: {uapi.AF_INET: conf} if op.announces else None,
        }
        self._link(op.side, attributes, uapi.IFF_UP)

    def _set_link(self, op: ops.SetLink) -> None:
        attributes: Attributes = {
            uapi.IFLA_IFNAME: op.name,
            uapi.IFLA_ADDRESS: packed_mac(op.mac) if op.mac else None,
            uapi.IFLA_MTU: op.mtu or None,
            uapi.IFLA_TXQLEN: op.queue_length,
            uapi.IFLA_IFALIAS: op.alias or None,
        }
        on = uapi.IFF_PROMISC if op.promiscuous else 0
        change = on | (0 if op.all_multicast is None else uapi.IFF_ALLMULTI)
        on |= uapi.IFF_ALLMULTI if op.all_multicast else 0
        body = uapi.IFINFOMSG.pack(0, 0, 0, on, change) + pack(attributes)
        self._namespaces[op.side].socket.change(uapi.RTM_NEWLINK, body)

    def _add_address(self, op: ops.AddAddress) -> None:
        flags = (0 if op.dad else uapi.IFA_F_NODAD) | (
            0 if op.on_link else uapi.IFA_F_NOPREFIXROUTE
        )
        body = self._address(op, {uapi.IFA_FLAGS: flags})
        self._namespaces[op.side].socket.change(uapi.RTM_NEWADDR, body, _REPLACE)

    def _remove_address(self, op: ops.RemoveAddress) -> None:
        with _absence_ignored():
            self._namespaces[op.side].socket.change(uapi.RTM_DELADDR, self._address(op, {}))

    def _address(self, op: ops.AddAddress | ops.RemoveAddress, more: Attributes) -> bytes:
        network, index = op.address.network, self._index(op.side, op.name)
        head = uapi.IFADDRMSG.pack(_FAMILY[network.version], network.prefixlen, 0, 0, index)
        attributes: dict[int, Value] = {
            uapi.IFA_ADDRESS: op.address.packed,
            uapi.IFA_LOCAL: op.address.packed,
        }
        if network.version == 4 and network.prefixlen <= _LONGEST_WITH_BROADCAST:
            attributes[uapi.IFA_BROADCAST] = network.broadcast_address.packed
        return head + pack(attributes | dict(more))

    def _add_route(self, op: ops.AddRoute) -> None:
        """Add a route. On the host it replaces the route that a deleted container left.

        In a container the route of the first network stays in use, as with the reference plugins.
        The same route of a later network gets a higher metric, and is used when the first is gone.
        """
        if op.side is Side.HOST:
            self._route(op, op.route.priority, _REPLACE)
            return
        first = op.route.priority or _DEFAULT_METRIC[op.route.dst.version]
        for metric in range(first, first + _MOST_ROUTES):
            try:
                self._route(op, metric or None, _CREATE)
                return
            except NetlinkError as err:
                if err.errno != errno.EEXIST:
                    raise
                if self._has_route(op):
                    return
        raise OperationRefusedError(
            f"route to {op.route.dst}: {_MOST_ROUTES} others are there already"
        )

    def _has_route(self, op: ops.AddRoute) -> bool:
        index = self._index(op.side, op.name)
        wanted = (op.route.dst, op.route.gw, index)
        routes = self._namespaces[op.side].routes()
        return any((item.dst, item.gw, item.link) == wanted for item in routes)

    def _route(self, op: ops.AddRoute, metric: int | None, flags: int) -> None:
        route = op.route
        metrics: Attributes = {uapi.RTAX_MTU: route.mtu, uapi.RTAX_ADVMSS: route.advmss}
        attributes: Attributes = {
            uapi.RTA_DST: route.dst.network_address.packed if route.dst.prefixlen else None,
            uapi.RTA_GATEWAY: None if route.gw is None else route.gw.packed,
            uapi.RTA_OIF: self._index(op.side, op.name),
            uapi.RTA_PRIORITY: metric,
            uapi.RTA_TABLE: uapi.RT_TABLE_MAIN if route.table is None else route.table,
            uapi.RTA_METRICS: metrics if route.mtu or route.advmss else None,
        }
        scope = uapi.RT_SCOPE_LINK if route.gw is None else uapi.RT_SCOPE_UNIVERSE
        head = uapi.RTMSG.pack(
            _FAMILY[route.dst.version],
            route.dst.prefixlen,
            0,
            0,
            uapi.RT_TABLE_COMPAT,
            uapi.RTPROT_STATIC,
            scope if route.scope is None else route.scope,
            uapi.RTN_UNICAST,
            0,
        )
        self._namespaces[op.side].socket.change(uapi.RTM_NEWROUTE, head + pack(attributes), flags)

    def _forget_neighbor(self, op: ops.ForgetNeighbor) -> None:
        index = self._index(Side.HOST, op.name)
        head = uapi.NDMSG.pack(_FAMILY[op.address.version], index, 0, 0, 0)
        with _absence_ignored():
            body = head + pack({uapi.NDA_DST: op.address.packed})
            self._namespaces[Side.HOST].socket.change(uapi.RTM_DELNEIGH, body)

    def _write_sysctl(self, op: ops.WriteSysctl) -> None:
        try:
            self._namespaces[op.side].write_sysctl(op.key, op.value)
        except FileNotFoundError:
            if not op.optional:
                raise

    def _await_forwarding(self, op: ops.AwaitForwarding) -> None:
        if not _becomes_true(self._link_test(op.name, lambda link: bool(link.forwarding))):
            raise TryAgainLaterError(f"bridge port {op.name} does not forward after 5 s")

    def _await_running(self, op: ops.AwaitRunning) -> None:
        if not _becomes_true(self._link_test(op.name, lambda link: link.running)):
            raise TryAgainLaterError(f"link {op.name} does not run after 5 s")

    def _await_addresses(self, op: ops.AwaitAddresses) -> None:
        namespace, index = self._namespaces[Side.POD], self._index(Side.POD, op.name)
        if not _becomes_true(lambda: set(op.addresses) <= set(namespace.addresses(index))):
            missing = set(op.addresses) - set(namespace.addresses(index))
            raise OperationRefusedError(
                f"{op.name} cannot use {', '.join(map(str, sorted(missing)))} after 5 s",
                "duplicate address detection (enabledad): another host may have it",
            )

    def _link_test(self, name: str, test: Callable[[Link], bool]) -> Callable[[], bool]:
        """A function that is true when a link of the host exists and passes a test."""
        namespace = self._namespaces[Side.HOST]
        return lambda: (link := namespace.link(name)) is not None and test(link)

    def _forget_flows(self, op: ops.ForgetFlows) -> None:
        forget_udp(op.ports)

    def _limit_rate(self, op: ops.LimitRate) -> None:
        limit_rate(self._index(Side.HOST, op.name), op.rate, op.burst)

    def _redirect_ingress(self, op: ops.RedirectIngress) -> None:
        redirect_ingress(self._index(Side.HOST, op.name), self._index(Side.HOST, op.to))

    def _add_rules(self, op: ops.AddRules) -> None:
        self._firewall.add(op.rules)


def _becomes_true(test: Callable[[], bool]) -> bool:
    """Call a test until it is true. Return false if it is not within ``_PATIENCE``."""
    deadline = time.monotonic() + _PATIENCE
    pause = 0.0002
    while not test():
        if time.monotonic() > deadline:
            return False
        time.sleep(pause)
        pause = min(pause * 2, 0.05)
    return True


@contextmanager
def _absence_ignored() -> Iterator[None]:
    try:
        yield
    except NetlinkError as err:
        if not err.absent:
            raise


def _explained(op: Op, err: OSError) -> CniError:
    """The kernel's error as one that names the operation."""
    operation = f"{type(op).__name__} {getattr(op, 'name', None) or getattr(op, 'host', '')}"
    if err.errno == errno.EOPNOTSUPP:
        return UnsupportedFieldError(f"the kernel cannot do {operation}", str(err))
    return OperationRefusedError(f"the kernel refused {operation}: {err}", repr(op))
