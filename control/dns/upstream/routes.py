"""Which resolvers are asked for a name: those of its stub domain, else the upstreams. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import ip_address

from control.dns.names import ROOT, BadNameError, Name, parse, show, suffixes

PORT = 53
MOST_SERVERS = 15  # of one domain, as in CoreDNS


class RouteError(ValueError):
    """A resolver or stub domain is not written as it has to be; the text says how."""


@dataclass(frozen=True, slots=True)
class Server:
    """A resolver's address and port."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Route:
    """The resolvers of the names below a domain, and of its own name."""

    domain: Name
    servers: tuple[Server, ...]


class Routes:
    """All routes; the longest domain that a name is below decides."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self._routes: Mapping[Name, Route] = {route.domain: route for route in routes}

    def find(self, name: Name) -> Route | None:
        """Return the route of a name; None if nobody is to be asked."""
        for suffix in suffixes(name):
            if route := self._routes.get(suffix):
                return route
        return None


def read_routes(upstreams: Iterable[str], stubs: Iterable[str], cluster: Name) -> list[Route]:
    """Return the routes for flags, with the contents of files in their place; raises RouteError.

    ``upstreams`` are ADDRESS[:PORT]; ``stubs`` are DOMAIN=ADDRESS[:PORT][,...]. A stub domain may
    be given several times.
    """
    found: dict[Name, dict[Server, None]] = {}
    for text in upstreams:
        found.setdefault(ROOT, {})[read_server(text)] = None
    for text in stubs:
        domain, servers = _read_stub(text, cluster)
        found.setdefault(domain, {}).update(dict.fromkeys(servers))
    for domain, each in found.items():
        if len(each) > MOST_SERVERS:
            raise RouteError(f"{show(domain)} has {len(each)} resolvers: want {MOST_SERVERS}")
    return [Route(domain, tuple(each)) for domain, each in found.items()]


def _read_stub(text: str, cluster: Name) -> tuple[Name, list[Server]]:
    domain, equals, servers = text.partition("=")
    form = "write it as corp.example=10.0.0.53 or corp.example=10.0.0.53:5353,[fd00::53]:53"
    if not equals or not servers:
        raise RouteError(f"{text}: {form}")
    try:
        name = parse(domain)
    except BadNameError as err:
        raise RouteError(f"{text}: {err}; {form}") from err
    if name == ROOT:
        raise RouteError(f"{text}: the root is no stub domain; use --upstream")
    if cluster in suffixes(name):
        raise RouteError(f"{text}: the names below {show(cluster)} are the cluster's own")
    return name, [read_server(each) for each in servers.split(",")]


def read_server(text: str) -> Server:
    """Parse ADDRESS, ADDRESS:PORT, ADDRESS6 or [ADDRESS6]:PORT; raises RouteError."""
    host, port = text, str(PORT)
    if text.startswith("[") or text.count(":") == 1:
        host, _, port = text.rpartition(":") if not text.endswith("]") else (text, "", port)
        host = host.removeprefix("[").removesuffix("]")
    try:
        address, number = ip_address(host), int(port)
    except ValueError as err:
        form = "write it as 10.0.0.53, 10.0.0.53:5353 or [fd00::53]:5353"
        raise RouteError(f"{text}: {err}; {form}") from err
    if not 0 < number <= 65535:
        raise RouteError(f"{text}: want a port from 1 to 65535")
    return Server(str(address), number)


def nameservers(text: str) -> list[str]:
    """Return the addresses of a resolv.conf's nameservers (resolv.conf(5)), in their order."""
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]
