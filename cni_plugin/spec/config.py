"""The network configuration that a runtime passes, with the reference plugins' names and meanings.

Unknown fields are ignored; an IPAM plugin gets the configuration as it came. Null means absent.
Upper and lower case in keys do not matter: Go's decoder works so, and containerd 1.6 relies on it.
Source: CNI specification 1.1.0 section 1, its CONVENTIONS.md, and the documentation of the
reference plugins bridge and host-local (containernetworking/plugins).
"""

from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Any, Literal, Self

from cni_plugin.spec.errors import InvalidConfigurationError
from cni_plugin.spec.names import is_link_name, is_mac
from cni_plugin.spec.ranges import Range, RangeSet, make_range
from cni_plugin.spec.result import Address, Cidr, Dns, Network, Route
from cni_plugin.spec.section import Checked, Parsed, Section, Within

# configurations in a cache: a runtime sends the same one for each Pod, and its value is immutable
CACHED_CONFS = 32

Mtu = Annotated[int, Within(0, 65535)]
PortNumber = Annotated[int, Within(1, 65535)]
VlanId = Annotated[int, Within(1, 4094)]
QueueLength = Annotated[int, Within(0, (1 << 32) - 1)]
Rate = Annotated[int, Within(0, (1 << 64) - 1)]
Mode = Literal["bridge", "ptp", "loopback", "chained"]
Policy = Literal["open", "same-bridge", "isolated"]
Mac = Annotated[str, Checked(lambda text: not text or is_mac(text), "MAC address")]
LinkName = Annotated[str, Checked(is_link_name, "interface name")]
IPAddress = Annotated[Address, Parsed(ip_address)]
# a requested address may come with or without its prefix length
IPOrCidr = Annotated[Cidr, Parsed(ip_interface)]
IPNetwork = Annotated[Network, Parsed(ip_network)]
LooseNetwork = Annotated[Network, Parsed(lambda text: ip_network(text, strict=False))]


class RangeConf(Section):
    """A range of addresses."""

    subnet: IPNetwork
    range_start: IPAddress | None = None
    range_end: IPAddress | None = None
    gateway: IPAddress | None = None

    def made(self) -> Range:
        """The range, with its defaults. Raises InvalidConfigurationError."""
        return make_range(self.subnet, self.range_start, self.range_end, self.gateway)


class RouteConf(Section):
    """A route of the container."""

    dst: LooseNetwork
    gw: IPAddress | None = None
    mtu: int | None = None
    advmss: int | None = None
    priority: int | None = None
    table: int | None = None
    scope: int | None = None

    def check(self) -> None:
        """Raise ValueError for a gateway of the other IP version."""
        if self.gw is not None and self.gw.version != self.dst.version:
            raise ValueError(f"gw {self.gw} is of another IP version than dst {self.dst}")

    def made(self) -> Route:
        """The route as a value."""
        return Route(**{name: getattr(self, name) for name in self.names()})


class IpamConf(Section):
    """The section ``ipam``, with the fields of host-local."""

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
        """The range sets. The single range of the old form comes first."""
        sets = tuple(tuple(item.made() for item in ranges) for ranges in self.ranges)
        if self.subnet is None:
            return sets
        single = make_range(self.subnet, self.range_start, self.range_end, self.gateway)
        return ((single,), *sets)


class DnsConf(Section):
    """The section ``dns``. A list that is there counts also when it is empty."""

    nameservers: tuple[str, ...] | None = None
    domain: str = ""
    search: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None

    def made(self) -> Dns | None:
        """The section as a value; None if it says nothing."""
        lists = (self.nameservers, self.search, self.options)
        if not self.domain and all(item is None for item in lists):
            return None
        return Dns(self.nameservers or (), self.domain, self.search or (), self.options or ())


class PortMapping(Section):
    """A port of the host that is mapped to a port of the container."""

    host_port: PortNumber
    container_port: PortNumber
    protocol: str = "tcp"
    host_ip: str = ""


class VlanTrunk(Section):
    """A VLAN, or a range of VLANs."""

    id: VlanId | None = None
    min_id: VlanId | None = None
    max_id: VlanId | None = None

    def check(self) -> None:
        """Raise ValueError unless a range has both ends, in their order."""
        if (self.min_id is None) != (self.max_id is None):
            raise ValueError("minID and maxID need each other")
        if self.min_id is not None and self.max_id is not None and self.min_id > self.max_id:
            raise ValueError("minID is above maxID")

    def ids(self) -> frozenset[int]:
        """The VLANs of the ID and of the range; both may be given."""
        low, high = self.min_id or 1, self.max_id or 0
        return frozenset(range(low, high + 1)) | ({self.id} if self.id else frozenset())


class Bandwidth(Section):
    """Limits in bits per second, bursts in bits. The container receives ingress, sends egress."""

    ingress_rate: Rate = 0
    ingress_burst: Rate = 0
    egress_rate: Rate = 0
    egress_burst: Rate = 0


class RuntimeDns(Section):
    """The runtime's settings of name resolution; their keys differ from those of ``dns``."""

    servers: tuple[str, ...] | None = None
    searches: tuple[str, ...] | None = None
    options: tuple[str, ...] | None = None

    def made(self) -> Dns | None:
        """The section as a value; None if it says nothing."""
        same = DnsConf(nameservers=self.servers, search=self.searches, options=self.options)
        return same.made()


class RuntimeConfig(Section):
    """The runtime's values for the capabilities that the configuration declares."""

    port_mappings: tuple[PortMapping, ...] = ()
    ip_ranges: tuple[tuple[RangeConf, ...], ...] = ()
    ips: tuple[IPOrCidr, ...] = ()
    mac: Mac = ""
    bandwidth: Bandwidth = Bandwidth()
    dns: RuntimeDns = RuntimeDns()

    def sets(self) -> tuple[RangeSet, ...]:
        """The range sets that the runtime requests. They come before the configured ones."""
        return tuple(tuple(item.made() for item in ranges) for ranges in self.ip_ranges)


class ArgsCniConf(Section):
    """``args.cni``: the operator's requests, in the configuration instead of in CNI_ARGS.

    Those of the reference's tuning plugin come before the same options of the configuration.
    """

    ips: tuple[IPOrCidr, ...] = ()
    mac: Mac = ""
    sysctl: dict[str, str] = {}
    promisc: bool | None = None
    allmulti: bool | None = None
    mtu: Mtu | None = None
    tx_q_len: QueueLength | None = None

    def replaces(self) -> dict[str, Any]:
        """The options that replace those of the configuration; its sysctls are added to those."""
        names = ("promisc", "allmulti", "mtu", "tx_q_len")
        given = {name: getattr(self, name) for name in names}
        return {name: value for name, value in given.items() if value is not None}


class ArgsConf(Section):
    """``args``; other members than ``cni`` are of other programs."""

    cni: ArgsCniConf = ArgsCniConf()


class NetConf(Bandwidth):
    """The configuration of this plugin.

    It has the fields of the reference's bridge, ptp, portmap, bandwidth, tuning and firewall
    plugins. ``mode`` is podwire's own.
    """

    cni_version: str = "0.1.0"
    name: str = ""
    type: str = ""
    mode: Mode | None = None
    ipam: IpamConf = IpamConf()
    dns: DnsConf = DnsConf()
    prev_result: Any = None  # parsed with the request: its form depends on its version
    capabilities: dict[str, bool] = {}
    runtime_config: RuntimeConfig = RuntimeConfig()
    args: ArgsConf = ArgsConf()

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
    tx_q_len: QueueLength | None = None
    data_dir: str = ""

    # firewall
    ingress_policy: Policy = "open"

    def called(self, program: str) -> Self:
        """The configuration for a program of that name.

        A reference plugin's name says what to do, as it does with the reference: those plugins do
        not read ``type``, which for an IPAM plugin is that of the plugin that executes it. Raises
        InvalidConfigurationError for one whose work is not done here.
        """
        if program in _OTHER_PLUGINS:
            raise InvalidConfigurationError(
                f"podwire-cni cannot do the work of the plugin {program!r}",
                f"install the reference's {program}, or name one of {sorted(_REFERENCE_PLUGINS)}",
            )
        if program == self.type or program not in _REFERENCE_PLUGINS:
            return self
        return type(self)(**{**vars(self), "type": program})

    def with_args(self) -> Self:
        """The configuration as ``args.cni`` changes it."""
        args = self.args.cni
        changes = args.replaces()
        if args.sysctl:
            changes["sysctl"] = {**self.sysctl, **args.sysctl}
        return type(self)(**{**vars(self), **changes}) if changes else self

    @property
    def wiring(self) -> Mode:
        """The configured mode, or that of the plugin whose name this program has."""
        return self.mode or _MODE_OF_TYPE.get(self.type, "bridge")

    @property
    def takes_args(self) -> bool:
        """False for a plugin without arguments of its own: the reference's does not read them."""
        return self.wiring != "loopback" and self.type not in _WITHOUT_ARGS

    @property
    def isolates_ports(self) -> bool:
        """True if the bridge passes no frames between its containers."""
        return self.port_isolation or self.ingress_policy == "isolated"

    @property
    def limits(self) -> Bandwidth:
        """The configured limits, or if there are none the runtime's."""
        configured = any(
            (self.ingress_rate, self.ingress_burst, self.egress_rate, self.egress_burst)
        )
        return self if configured else self.runtime_config.bandwidth


_REFERENCE_PLUGINS = frozenset(
    {
        *("bridge", "ptp", "loopback", "host-local"),
        *("portmap", "bandwidth", "tuning", "firewall"),
    }
)
_OTHER_PLUGINS = frozenset(
    {
        *("dhcp", "dummy", "host-device", "ipvlan", "macvlan", "sbr"),
        *("static", "tap", "vlan", "vrf"),
    }
)
_WITHOUT_ARGS = frozenset({"portmap", "bandwidth", "firewall"})
_MODE_OF_TYPE: dict[str, Mode] = {
    "ptp": "ptp",
    "loopback": "loopback",
    "portmap": "chained",
    "bandwidth": "chained",
    "tuning": "chained",
    "firewall": "chained",
}
