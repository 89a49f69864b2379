"""The network configuration as a runtime hands it over; names and meanings are the reference's.

Unknown fields are passed over: a delegate gets the configuration as it came. Null means absent,
and keys are matched without regard to case, because Go's decoder does so and containerd 1.6 relies
on it.
Source: CNI specification 1.1.0 section 1, its CONVENTIONS.md, and the documentation of the
reference plugins bridge and host-local (containernetworking/plugins).
"""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Any, Literal

from cni_plugin.spec.names import is_link_name, is_mac
from cni_plugin.spec.ranges import Range, RangeSet, make_range
from cni_plugin.spec.result import Address, Cidr, Dns, Network, Route
from cni_plugin.spec.section import Checked, Parsed, Section, Within

# a runtime sends the same configuration for one Pod after the other; nobody changes what is read
REMEMBERED = 32

Mtu = Annotated[int, Within(0, 65535)]
Port = Annotated[int, Within(1, 65535)]
VlanId = Annotated[int, Within(1, 4094)]
Rate = Annotated[int, Within(0, (1 << 64) - 1)]
Mode = Literal["bridge", "ptp", "loopback", "chained"]
Policy = Literal["open", "same-bridge", "isolated"]
Mac = Annotated[str, Checked(lambda text: not text or is_mac(text), "MAC address")]
LinkName = Annotated[str, Checked(is_link_name, "interface name")]
IPAddress = Annotated[Address, Parsed(ip_address)]
# runtimes write a requested address with or without its prefix length
IPOrCidr = Annotated[Cidr, Parsed(ip_interface)]
IPNetwork = Annotated[Network, Parsed(ip_network)]
LooseNetwork = Annotated[Network, Parsed(lambda text: ip_network(text, strict=False))]


class RangeConf(Section):
    """One range of addresses."""

    subnet: IPNetwork
    range_start: IPAddress | None = None
    range_end: IPAddress | None = None
    gateway: IPAddress | None = None

    def made(self) -> Range:
        """The range with its defaults filled in."""
        return make_range(self.subnet, self.range_start, self.range_end, self.gateway)


class RouteConf(Section):
    """A route that the container gets."""

    dst: LooseNetwork
    gw: IPAddress | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None

    def made(self) -> Route:
        """The route as a value."""
        return Route(**{name: getattr(self, name) for name in self.names()})


class Ipam(Section):
    """The ``ipam`` section as host-local understands it."""

    type: str = ""
    ranges: tuple[tuple[RangeConf, ...], ...] = ()
    subnet: IPNetwork | None = None
    range_start: IPAddress | None = None
    range_end: IPAddress | None = None
    gateway: IPAddress | None = None
    routes: tuple[RouteConf, ...] = ()
    data_dir: str = ""
    resolv_conf: str = ""

    def sets(self) -> tuple[RangeSet, ...]:
        """The range sets; a single range of the old style comes first."""
        sets = tuple(tuple(item.made() for item in ranges) for ranges in self.ranges)
        if self.subnet is None:
            return sets
        single = make_range(self.subnet, self.range_start, self.range_end, self.gateway)
        return ((single,), *sets)


class DnsConf(Section):
    """The ``dns`` section of the configuration."""

    nameservers: tuple[str, ...] = ()
    domain: str = ""
    search: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def made(self) -> Dns:
        """The section as a value."""
        return Dns(**{name: getattr(self, name) for name in self.names()})


class PortMapping(Section):
    """A port of the host that leads to a port of the container."""

    host_port: Port
    container_port: Port
    protocol: str = "tcp"
    host_ip: str = ""


class VlanTrunk(Section):
    """A VLAN, or the VLANs from one to another."""

    id: VlanId | None = None
    min_id: VlanId | None = None
    max_id: VlanId | None = None

    def check(self) -> None:
        """Raise ValueError for half a range, or one that is upside down."""
        if (self.min_id is None) != (self.max_id is None):
            raise ValueError("minID and maxID need each other")
        if self.min_id is not None and self.max_id is not None and self.min_id > self.max_id:
            raise ValueError("minID is above maxID")

    def ids(self) -> frozenset[int]:
        """The VLANs that it names; a range and an ID may stand together."""
        low, high = self.min_id or 1, self.max_id or 0
        return frozenset(range(low, high + 1)) | ({self.id} if self.id else frozenset())


class Bandwidth(Section):
    """Limits in bits per second, bursts in bits; ingress is what the container receives."""

    ingress_rate: Rate = 0
    ingress_burst: Rate = 0
    egress_rate: Rate = 0
    egress_burst: Rate = 0


class RuntimeDns(Section):
    """Name resolution as the runtime writes it, with words of its own."""

    servers: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()
    options: tuple[str, ...] = ()

    def made(self) -> Dns:
        """The section as a value."""
        return Dns(nameservers=self.servers, search=self.searches, options=self.options)


class RuntimeConfig(Section):
    """What the runtime fills in for the capabilities that the configuration declares."""

    port_mappings: tuple[PortMapping, ...] = ()
    ip_ranges: tuple[tuple[RangeConf, ...], ...] = ()
    ips: tuple[IPOrCidr, ...] = ()
    mac: Mac = ""
    bandwidth: Bandwidth = Bandwidth()
    dns: RuntimeDns = RuntimeDns()

    def sets(self) -> tuple[RangeSet, ...]:
        """The range sets that the runtime asks for; they come before the configured ones."""
        return tuple(tuple(item.made() for item in ranges) for ranges in self.ip_ranges)


class CniArgs(Section):
    """``args.cni``: what the operator wrote in the place of CNI_ARGS."""

    ips: tuple[IPOrCidr, ...] = ()
    mac: Mac = ""


class Args(Section):
    """``args``: of its members only ``cni`` is ours."""

    cni: CniArgs = CniArgs()


class NetConf(Bandwidth):
    """A plugin's configuration: what the reference's bridge, ptp, portmap, bandwidth, tuning and
    firewall plugins take, in one; ``mode`` is ours.
    """

    cni_version: str = "0.1.0"
    name: str = ""
    type: str = ""
    mode: Mode | None = None
    ipam: Ipam = Ipam()
    dns: DnsConf = DnsConf()
    prev_result: Any = None  # read by the version that wrote it; whether at all, the verb says
    capabilities: dict[str, bool] = {}
    runtime_config: RuntimeConfig = RuntimeConfig()
    args: Args = Args()

    # bridge, ptp
    bridge: LinkName = "cni0"
    is_gateway: bool = False
    is_default_gateway: bool = False
    force_address: bool = False
    ip_masq: bool = False
    ip_masq_backend: str = ""
    mtu: Mtu = 0
    hairpin_mode: bool = False
    promisc_mode: bool = False
    port_isolation: bool = False
    macspoofchk: bool = False
    vlan: Annotated[int, Within(0, 4094)] = 0
    vlan_trunk: tuple[VlanTrunk, ...] = ()
    preserve_default_vlan: bool = False
    enabledad: bool = False
    disable_container_interface: bool = False

    # portmap
    snat: bool = True
    masq_all: bool = False
    backend: str = ""
    conditions_v4: tuple[str, ...] = ()
    conditions_v6: tuple[str, ...] = ()
    external_set_mark_chain: str = ""
    mark_masq_bit: Annotated[int, Within(0, 31)] | None = None

    # tuning
    sysctl: dict[str, str] = {}
    mac: Mac = ""
    promisc: bool = False
    allmulti: bool | None = None
    tx_q_len: Annotated[int, Within(0, (1 << 32) - 1)] | None = None
    data_dir: str = ""

    # firewall
    ingress_policy: Policy = "open"

    @property
    def wiring(self) -> Mode:
        """The mode; a runtime's link to us under another plugin's name says it too."""
        return self.mode or _MODE_OF_TYPE.get(self.type, "bridge")

    @property
    def isolates_ports(self) -> bool:
        """Whether the bridge keeps its containers apart."""
        return self.port_isolation or self.ingress_policy == "isolated"

    @property
    def limits(self) -> Bandwidth:
        """The bandwidth: the configuration's, or else the runtime's."""
        own = any((self.ingress_rate, self.ingress_burst, self.egress_rate, self.egress_burst))
        return self if own else self.runtime_config.bandwidth


_MODE_OF_TYPE: dict[str, Mode] = {
    "ptp": "ptp",
    "loopback": "loopback",
    "portmap": "chained",
    "bandwidth": "chained",
    "tuning": "chained",
    "firewall": "chained",
}
