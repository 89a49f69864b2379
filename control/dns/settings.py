"""The DNS server's settings, parsed from flags."""

import socket
from dataclasses import dataclass, field
from ipaddress import ip_address

from control.dns.names import Name
from control.dns.upstream.routes import Route


class FlagError(ValueError):
    """A flag has an invalid value; the text names the flag and a valid form."""


@dataclass(frozen=True, slots=True)
class Bind:
    """An address and port; an empty host is every address."""

    host: str
    port: int


@dataclass(frozen=True, slots=True)
class UpstreamSettings:
    """Who is asked for names outside the cluster, in which order, and the most seconds to keep."""

    routes: tuple[Route, ...] = ()
    policy: str = "random"
    cache_seconds: int = 30


@dataclass(frozen=True, slots=True)
class Settings:
    """One server's settings. ``descriptors`` are inherited sockets, UDP or listening TCP."""

    domain: Name
    ttl: int
    listen: tuple[Bind, ...]
    descriptors: tuple[int, ...]
    pages: dict[str, Bind]
    log_answers: bool = False
    pods: str = "insecure"
    endpoint_pod_names: bool = False
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)


def bind(flag: str, text: str) -> Bind:
    """Parse ADDRESS:PORT, [ADDRESS6]:PORT or :PORT; raises FlagError."""
    host, colon, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        number = int(port)
        if host:
            ip_address(host)
    except ValueError as err:
        raise FlagError(f"{flag} {text}: {err}; write it as 10.0.0.1:53 or [fd00::1]:53") from err
    if not colon or not 0 <= number <= 65535:
        raise FlagError(f"{flag} {text}: want ADDRESS:PORT with a port of at most 65535")
    return Bind(host, number)


def open_sockets(settings: Settings) -> list[socket.socket]:
    """Open a UDP and a TCP socket for each address, and take the inherited ones; raises OSError."""
    found = [socket.socket(fileno=fd) for fd in settings.descriptors]
    for place in settings.listen:
        family = socket.AF_INET6 if ":" in place.host or not place.host else socket.AF_INET
        udp = socket.socket(family, socket.SOCK_DGRAM)
        found.append(udp)
        if not place.host:
            udp.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        udp.bind((place.host, place.port))
        port = udp.getsockname()[1]
        dual = not place.host
        found.append(socket.create_server((place.host, port), family=family, dualstack_ipv6=dual))
    return found
