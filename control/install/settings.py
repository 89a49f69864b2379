"""The settings of a control plane and of a node, as /etc/podwire keeps them, checked at the edge.

The fields that a lab has too have the names of the lab's file (docs/lab-file.md).
"""

import ipaddress
import re
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

import yaml
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)

from control.api.times import duration
from control.dns.names import parse
from control.dns.upstream.routes import read_routes
from control.install.layout import InstallError
from control.linux import whole

DNS_PLACE = 10  # of the Service kube-dns in each range of ClusterIPs, as in kubeadm
_MOST_BYTES = 64 * 1024
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?")
_LEAST_ADDRESSES = 16  # addresses that a range of ClusterIPs has at least: the DNS' is among them


def _name(text: str) -> str:
    lowered = text.lower()
    if not _NAME.fullmatch(lowered):
        raise ValueError(f"{text!r} is no name of a host: use letters, digits, '-' and '.'")
    return lowered


def _address(text: str) -> str:
    address = ipaddress.ip_address(text)
    if address.is_loopback or address.is_unspecified or address.is_multicast:
        raise ValueError(f"{text} is no address by which other machines reach this one")
    return str(address)


def _network(text: str) -> str:
    return str(ipaddress.ip_network(text))


def _host(text: str) -> str:
    """Return a name or an address; it stands in a certificate."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return _name(text)


def _endpoint(text: str) -> str:
    """Return HOST or HOST:PORT; an IPv6 address has brackets."""
    if not text:
        return text
    host, port = text.rpartition(":")[::2] if has_port(text) else (text, "")
    if port and not 0 < int(port) <= 65535:
        raise ValueError(f"{text}: want a port from 1 to 65535")
    bare = _host(host.removeprefix("[").removesuffix("]"))
    return f"{bracketed(bare)}:{port}" if port else bracketed(bare)


def _life(text: str) -> str:
    made = duration(text)
    if made is None or made < timedelta(seconds=1):
        raise ValueError(f"{text!r} is no time of a second or more, such as 30m or 1h0m0s")
    return text


Name = Annotated[str, AfterValidator(_name)]
Host = Annotated[str, AfterValidator(_host)]
Address = Annotated[str, AfterValidator(_address)]
Cidr = Annotated[str, AfterValidator(_network)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class NetworkSettings(_Part):
    """The ranges of Pods and Services, at most one of each family, and the way between nodes."""

    podCIDRs: tuple[Cidr, ...] = ("10.244.0.0/16",)  # noqa: N815  # as in the lab's file
    serviceCIDRs: tuple[Cidr, ...] = ("10.96.0.0/16",)  # noqa: N815
    overlay: Literal["routes", "vxlan"] = "routes"

    @field_validator("podCIDRs", "serviceCIDRs")
    @classmethod
    def _families(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        versions = [ipaddress.ip_network(each).version for each in value]
        if not versions or len(set(versions)) < len(versions):
            raise ValueError(f"{','.join(value)}: want one range, or one of IPv4 and one of IPv6")
        return value

    @model_validator(mode="after")
    def _apart(self) -> Self:
        pods = [ipaddress.ip_network(each) for each in self.podCIDRs]
        services = [ipaddress.ip_network(each) for each in self.serviceCIDRs]
        if [each.version for each in pods] != [each.version for each in services]:
            raise ValueError("Pods and Services need ranges of the same families")
        for pod, service in zip(pods, services, strict=True):
            if pod.overlaps(service):
                raise ValueError(f"the range {pod} of Pods overlaps {service} of Services")
            if service.num_addresses < _LEAST_ADDRESSES:
                raise ValueError(f"the range {service} of Services has no room for the DNS")
        return self


class ProxySettings(_Part):
    """How nodes balance Services."""

    mode: Literal["iptables", "nftables", "ebpf"] = "iptables"


class DnsSettings(_Part):
    """The cluster's names, and whom its DNS asks for others."""

    domain: Name = "cluster.local"
    upstreams: tuple[str, ...] = ()
    stubDomains: tuple[str, ...] = ()  # noqa: N815

    @model_validator(mode="after")
    def _read(self) -> Self:
        addresses = [each for each in self.upstreams if "/" not in each]  # others are files
        read_routes(addresses, self.stubDomains, parse(self.domain))
        return self


class ApiSettings(_Part):
    """Where the API is: the port, and what else clients may call it."""

    port: Annotated[int, Field(ge=1, le=65535)] = 6443
    endpoint: Annotated[str, AfterValidator(_endpoint)] = ""  # default: the node's address
    certSANs: tuple[Host, ...] = ()  # noqa: N815
    eventTTL: Annotated[str, AfterValidator(_life)] = "1h0m0s"  # noqa: N815


class EtcdSettings(_Part):
    """How this machine's member of etcd began."""

    # NAME=URL,... of the members that it joined; empty: it was the first.
    initialCluster: str = ""  # noqa: N815  # as etcd's option


class ClusterSettings(_Part):
    """What every node of a cluster has in common; nodes read it as they join."""

    version: Literal[1] = 1
    balancer: bool = False  # each node balances over the API servers, by itself
    network: NetworkSettings = NetworkSettings()
    proxy: ProxySettings = ProxySettings()
    dns: DnsSettings = DnsSettings()

    @property
    def dns_ips(self) -> tuple[str, ...]:
        """The ClusterIPs of the Service ``kube-dns``."""
        networks = map(ipaddress.ip_network, self.network.serviceCIDRs)
        return tuple(str(network[DNS_PLACE]) for network in networks)

    @property
    def pods(self) -> str:
        """The Pods' ranges, with commas."""
        return ",".join(self.network.podCIDRs)

    @property
    def services(self) -> str:
        """The Services' ranges, with commas."""
        return ",".join(self.network.serviceCIDRs)


class MachineSettings(_Part):
    """This machine: its name, and its addresses, one of a family."""

    name: Name
    ips: Annotated[tuple[Address, ...], Field(min_length=1, max_length=2)]

    @field_validator("ips")
    @classmethod
    def _families(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if len({ipaddress.ip_address(each).version for each in value}) < len(value):
            raise ValueError(f"{','.join(value)}: want one address, or one of each family")
        return value


class ControlPlaneSettings(ClusterSettings):
    """/etc/podwire/config.yaml."""

    node: MachineSettings
    api: ApiSettings = ApiSettings()
    store: Literal["sqlite", "etcd"] = "sqlite"
    etcd: EtcdSettings = EtcdSettings()

    @property
    def endpoint(self) -> str:
        """HOST:PORT by which nodes and users reach the API."""
        given = self.api.endpoint or bracketed(self.node.ips[0])
        return given if has_port(given) else f"{given}:{self.api.port}"

    @property
    def url(self) -> str:
        """The URL of the API."""
        return f"https://{self.endpoint}"

    @property
    def own_url(self) -> str:
        """The URL of the API server on this machine."""
        return f"https://{bracketed(self.node.ips[0])}:{self.api.port}"

    @property
    def has_etcd(self) -> bool:
        """True if the objects are in etcd, which other control planes can share."""
        return self.store == "etcd"

    def shared(self) -> ClusterSettings:
        """Return what nodes are to know."""
        known = self.model_dump(include=set(ClusterSettings.model_fields))
        balancer = self.has_etcd and not self.api.endpoint
        return ClusterSettings.model_validate(known | {"balancer": balancer})


class NodeSettings(_Part):
    """/etc/podwire/node.yaml."""

    version: Literal[1] = 1
    node: MachineSettings
    server: str
    servers: tuple[str, ...] = ()  # HOST:PORT of the API servers that its balancer began with
    runtime: str = ""  # the socket of a CRI runtime; "" is the agent's own
    cluster: ClusterSettings
    labels: str = ""
    taints: str = ""


def has_port(text: str) -> bool:
    """Return True for HOST:PORT, also with an IPv6 address in brackets."""
    return bool(re.search(r"(^[^:]+|\]):\d+$", text))


def bracketed(address: str) -> str:
    """Return an address as a URL has it."""
    return f"[{address}]" if ":" in address else address


T = TypeVar("T", bound=BaseModel)


def check(model: type[T], data: Any, where: str) -> T:
    """Return settings; raises InstallError, which names the field."""
    try:
        return model.model_validate(data)
    except ValidationError as err:
        first = err.errors()[0]
        field = ".".join(map(str, first["loc"]))
        raise InstallError(f"{where}: {field or 'settings'}: {first['msg']}") from err


def read(path: Path) -> dict[str, Any]:
    """Read a file of settings; raises InstallError."""
    try:
        with path.open("rb") as file:
            text = file.read(_MOST_BYTES + 1)
        if len(text) > _MOST_BYTES:
            raise InstallError(f"{path}: a file of settings has at most {_MOST_BYTES} bytes")
        data = yaml.load(text, Loader=yaml.CSafeLoader)  # it makes plain values
    except OSError as err:
        raise InstallError(f"{path}: {err.strerror}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise InstallError(f"{path}: is not YAML: {' '.join(str(err).split())}") from err
    if not isinstance(data, dict):
        raise InstallError(f"{path}: want a mapping, with fields such as network and proxy")
    return data


def merged(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Return settings in which those of ``over`` win, field by field."""
    made = dict(base)
    for key, value in over.items():
        inner = made.get(key)
        made[key] = (
            merged(inner, value) if isinstance(inner, dict) and isinstance(value, dict) else value
        )
    return made


def text_of(settings: BaseModel) -> str:
    """Return settings as YAML."""
    return yaml.dump(settings.model_dump(mode="json"), Dumper=yaml.CSafeDumper, sort_keys=False)


def write(path: Path, settings: BaseModel) -> None:
    """Write a file of settings; raises OSError."""
    path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
    whole.write(path, text_of(settings), 0o644)
