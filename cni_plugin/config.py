"""The network configuration as a runtime hands it over; names and meanings are the reference's.

Unknown fields survive (a delegate may need them), null means absent, and keys are matched
without regard to case, because Go's decoder does so and containerd 1.6 relies on it.
Source: CNI specification 1.1.0 section 1, its CONVENTIONS.md, and the documentation of the
reference plugins bridge and host-local (containernetworking/plugins).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from ipaddress import ip_address, ip_interface, ip_network
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StrictBool,
    StrictInt,
    StrictStr,
    model_validator,
)
from pydantic.alias_generators import to_camel

from cni_plugin.ipam.ranges import Range, RangeSet, make_range
from cni_plugin.names import is_link_name, is_mac
from cni_plugin.result import Address, Cidr, Dns, Network, Route

Mtu = Annotated[StrictInt, Field(ge=0, le=65535)]
Port = Annotated[StrictInt, Field(ge=1, le=65535)]
VlanId = Annotated[StrictInt, Field(ge=1, le=4094)]
Rate = Annotated[StrictInt, Field(ge=0, lt=1 << 64)]
Mode = Literal["bridge", "ptp", "loopback", "chained"]
Policy = Literal["open", "same-bridge", "isolated"]


def _checked(right: Callable[[str], bool], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not right(value):
            raise ValueError(f"{value!r} is no {what}")
        return value

    return AfterValidator(check)


Mac = Annotated[StrictStr, _checked(lambda text: not text or is_mac(text), "MAC address")]
LinkName = Annotated[StrictStr, _checked(is_link_name, "interface name")]


def _text(parse: Callable[[str], Any]) -> BeforeValidator:
    def read(value: Any) -> Any:
        if not isinstance(value, str):
            raise ValueError(f"{value!r} is not a string")
        return parse(value.strip())

    return BeforeValidator(read)


IPAddress = Annotated[Address, _text(ip_address)]
# runtimes write a requested address with or without its prefix length
IPOrCidr = Annotated[Cidr, _text(ip_interface)]
IPNetwork = Annotated[Network, _text(ip_network)]
LooseNetwork = Annotated[Network, _text(lambda text: ip_network(text, strict=False))]


class Section(BaseModel):
    """A JSON object: immutable, unknown fields kept, keys in any case."""

    model_config = ConfigDict(frozen=True, extra="allow", alias_generator=to_camel)

    @model_validator(mode="before")
    @classmethod
    def _fold(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            raise ValueError(f"{value!r} is not an object")
        known = {field.alias: field.alias for field in cls.model_fields.values()}
        folded = {str(alias).casefold(): alias for alias in known}
        return {
            (key if key in known else folded.get(str(key).casefold(), key)): item
            for key, item in value.items()
            if item is not None
        }


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
    mtu: StrictInt | None = None
    advmss: StrictInt | None = None
    priority: StrictInt | None = None
    table: StrictInt | None = None
    scope: StrictInt | None = None

    def made(self) -> Route:
        """The route as a value."""
        return Route(**{name: getattr(self, name) for name in type(self).model_fields})


class Ipam(Section):
    """The ``ipam`` section as host-local understands it."""

    type: StrictStr = ""
    ranges: tuple[tuple[RangeConf, ...], ...] = ()
    subnet: IPNetwork | None = None
    range_start: IPAddress | None = None
    range_end: IPAddress | None = None
    gateway: IPAddress | None = None
    routes: tuple[RouteConf, ...] = ()
    data_dir: StrictStr = ""
    resolv_conf: StrictStr = ""

    def sets(self) -> tuple[RangeSet, ...]:
        """The range sets; a single range of the old style comes first."""
        sets = tuple(tuple(item.made() for item in ranges) for ranges in self.ranges)
        if self.subnet is None:
            return sets
        single = make_range(self.subnet, self.range_start, self.range_end, self.gateway)
        return ((single,), *sets)


class DnsConf(Section):
    """The ``dns`` section of the configuration."""

    nameservers: tuple[StrictStr, ...] = ()
    domain: StrictStr = ""
    search: tuple[StrictStr, ...] = ()
    options: tuple[StrictStr, ...] = ()

    def made(self) -> Dns:
        """The section as a value."""
        return Dns(**{name: getattr(self, name) for name in type(self).model_fields})


class PortMapping(Section):
    """A port of the host that leads to a port of the container."""

    host_port: Port
    container_port: Port
    protocol: StrictStr = "tcp"
    host_ip: Annotated[StrictStr, Field(alias="hostIP")] = ""


class VlanTrunk(Section):
    """A VLAN, or the VLANs from one to another."""

    id: VlanId | None = None
    min_id: Annotated[VlanId | None, Field(alias="minID")] = None
    max_id: Annotated[VlanId | None, Field(alias="maxID")] = None

    @model_validator(mode="after")
    def _whole(self) -> Self:
        if (self.min_id is None) != (self.max_id is None):
            raise ValueError("minID and maxID need each other")
        if self.min_id is not None and self.max_id is not None and self.min_id > self.max_id:
            raise ValueError("minID is above maxID")
        return self


class Bandwidth(Section):
    """Limits in bits per second, bursts in bits; ingress is what the container receives."""

    ingress_rate: Rate = 0
    ingress_burst: Rate = 0
    egress_rate: Rate = 0
    egress_burst: Rate = 0


class RuntimeDns(Section):
    """Name resolution as the runtime writes it, with words of its own."""

    servers: tuple[StrictStr, ...] = ()
    searches: tuple[StrictStr, ...] = ()
    options: tuple[StrictStr, ...] = ()

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

    cni_version: StrictStr = "0.1.0"
    name: StrictStr = ""
    type: StrictStr = ""
    mode: Mode | None = None
    ipam: Ipam = Ipam()
    dns: DnsConf = DnsConf()
    prev_result: dict[str, Any] | None = None
    capabilities: dict[str, bool] = {}
    runtime_config: RuntimeConfig = RuntimeConfig()
    args: Args = Args()

    # bridge, ptp
    bridge: LinkName = "cni0"
    is_gateway: StrictBool = False
    is_default_gateway: StrictBool = False
    force_address: StrictBool = False
    ip_masq: StrictBool = False
    ip_masq_backend: StrictStr = ""
    mtu: Mtu = 0
    hairpin_mode: StrictBool = False
    promisc_mode: StrictBool = False
    port_isolation: StrictBool = False
    macspoofchk: StrictBool = False
    vlan: Annotated[StrictInt, Field(ge=0, le=4094)] = 0
    vlan_trunk: tuple[VlanTrunk, ...] = ()
    enabledad: StrictBool = False
    disable_container_interface: StrictBool = False

    # portmap
    snat: StrictBool = True
    masq_all: StrictBool = False
    backend: StrictStr = ""
    conditions_v4: Annotated[tuple[StrictStr, ...], Field(alias="conditionsV4")] = ()
    conditions_v6: Annotated[tuple[StrictStr, ...], Field(alias="conditionsV6")] = ()
    external_set_mark_chain: StrictStr = ""
    mark_masq_bit: Annotated[StrictInt | None, Field(ge=0, le=31)] = None

    # tuning
    sysctl: dict[StrictStr, StrictStr] = {}
    mac: Mac = ""
    promisc: StrictBool = False
    allmulti: StrictBool | None = None
    tx_q_len: Annotated[StrictInt | None, Field(alias="txQLen", ge=0)] = None

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
