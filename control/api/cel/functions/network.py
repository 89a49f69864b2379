"""Kubernetes' addresses, networks and URLs.

Source: pkg/cel/library/{ip,cidr,urls}.go of k8s.io/apiserver.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_interface
from typing import Any, ClassVar
from urllib.parse import SplitResult, quote, unquote, unquote_plus, urlsplit

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.table import Overload, reads
from control.api.cel.meter import traversal

_LONGEST = 4096  # characters of a URL
_BAD_PORT = re.compile(r"(?<=[^:\]]):(?!\d*$)[^\]]*$|(?<=\]):(?!\d*$).*$", re.ASCII)
_BITS = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_BAD_ESCAPE = re.compile(r"%(?![0-9a-fA-F]{2}).{0,2}")
_PLAIN_PATH = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:@\[\]/%]*")


@dataclass(frozen=True, slots=True)
class Ip:
    """An address."""

    CEL: ClassVar[str] = "net.IP"
    address: IPv4Address | IPv6Address


@dataclass(frozen=True, slots=True)
class Cidr:
    """A network, with the address that its text has."""

    CEL: ClassVar[str] = "net.CIDR"
    address: IPv4Address | IPv6Address
    network: IPv4Network | IPv6Network


def read_ip(text: str) -> Ip:
    """Read an address; raises EvaluationError."""
    try:
        found = ip_address(text)
    except ValueError as err:
        why = f'IP Address "{text}" parse error during conversion from string:'
        raise EvaluationError(f'{why} ParseAddr("{text}"): unable to parse IP') from err
    if isinstance(found, IPv6Address) and found.scope_id is not None:
        raise EvaluationError(f'IP address "{text}" with zone value is not allowed')
    if isinstance(found, IPv6Address) and found.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Ip(found)


def read_cidr(text: str) -> Cidr:
    """Read a network; raises EvaluationError."""
    try:
        if not _BITS.fullmatch(text.rpartition("/")[2]) or "/" not in text:
            raise ValueError
        found = ip_interface(text)
    except ValueError as err:
        why = "network address parse error during conversion from string"
        raise EvaluationError(f'{why}: netip.ParsePrefix("{text}"): no such prefix') from err
    if isinstance(found.ip, IPv6Address) and found.ip.ipv4_mapped is not None:
        raise EvaluationError(f'IPv4-mapped IPv6 address "{text}" is not allowed')
    return Cidr(found.ip, found.network)


def _read(read: Callable[[str], Any], other: Any) -> Any:
    """Return an operand that may be a text; of one that cannot be read, upstream says no more."""
    try:
        return read(other) if isinstance(other, str) else other
    except EvaluationError as err:
        raise EvaluationError("no such overload") from err


def _contains_ip(cidr: Cidr, other: Any) -> bool:
    found = _read(read_ip, other)
    return found.address in cidr.network


def _contains_cidr(cidr: Cidr, other: Any) -> bool:
    found = _read(read_cidr, other)
    wide, narrow = cidr.network, found.network
    return narrow.network_address in wide and narrow.prefixlen >= wide.prefixlen


def _is_unicast(ip: Ip) -> bool:
    """Return what Go's IsGlobalUnicast does."""
    it = ip.address
    refused = it.is_unspecified, it.is_loopback, it.is_multicast, it.is_link_local
    return not any(refused) and str(it) != "255.255.255.255"


def _is_link_local_multicast(ip: Ip) -> bool:
    it = ip.address
    if isinstance(it, IPv4Address):
        return it in IPv4Network("224.0.0.0/24")
    return it.is_multicast and (it.packed[1] & 0xF) == 2


def _masked(cidr: Cidr) -> Cidr:
    return Cidr(cidr.network.network_address, cidr.network)


def _contained(_: Any, other: Any) -> int:
    return 4 + traversal(other) if isinstance(other, str) else 4


NETWORK = (
    Overload("ip", "(string) net.IP", read_ip, traversal),
    Overload("isIP", "(string) bool", reads(read_ip), traversal),
    Overload("string", "(net.IP) string", lambda a: str(a.address)),
    Overload("ip.isCanonical", "(string) bool", lambda a: str(read_ip(a).address) == a, traversal),
    Overload("family", "net.IP.() int", lambda a: a.address.version),
    Overload("isUnspecified", "net.IP.() bool", lambda a: a.address.is_unspecified),
    Overload("isLoopback", "net.IP.() bool", lambda a: a.address.is_loopback),
    Overload("isLinkLocalMulticast", "net.IP.() bool", _is_link_local_multicast),
    Overload("isLinkLocalUnicast", "net.IP.() bool", lambda a: a.address.is_link_local),
    Overload("isGlobalUnicast", "net.IP.() bool", _is_unicast),
    Overload("cidr", "(string) net.CIDR", read_cidr, traversal),
    Overload("isCIDR", "(string) bool", reads(read_cidr), traversal),
    Overload("string", "(net.CIDR) string", lambda a: f"{a.address}/{a.network.prefixlen}"),
    Overload("containsIP", "net.CIDR.(string) bool", _contains_ip, _contained),
    Overload("containsIP", "net.CIDR.(net.IP) bool", _contains_ip, _contained),
    Overload("containsCIDR", "net.CIDR.(string) bool", _contains_cidr, _contained),
    Overload("containsCIDR", "net.CIDR.(net.CIDR) bool", _contains_cidr, _contained),
    Overload("ip", "net.CIDR.() net.IP", lambda a: Ip(a.address)),
    Overload("masked", "net.CIDR.() net.CIDR", _masked),
    Overload("prefixLength", "net.CIDR.() int", lambda a: a.network.prefixlen),
)


@dataclass(frozen=True, slots=True)
class Url:
    """A URL."""

    CEL: ClassVar[str] = "kubernetes.URL"
    parts: SplitResult


def read_url(text: str) -> Url:
    """Read an absolute URL, or a path that begins with a slash; raises EvaluationError."""
    failed = "URL parse error during conversion from string"
    try:
        if not text or len(text) > _LONGEST or any(ord(sign) < 32 for sign in text):
            raise ValueError("invalid URI for request")
        parts = urlsplit(text)
        if " " in parts.netloc:
            raise ValueError('invalid character " " in host name')
        if wrong := _BAD_PORT.search(parts.netloc.rpartition("@")[2]):
            raise ValueError(f'invalid port "{wrong[0]}" after host')
        if text.startswith(":"):
            raise ValueError("missing protocol scheme")
        if wrong := _BAD_ESCAPE.search(parts.path):
            raise ValueError(f'invalid URL escape "{wrong[0]}"')
        if not parts.scheme and not text.startswith("/"):
            raise ValueError("invalid URI for request")
    except ValueError as err:
        raise EvaluationError(f'{failed}: parse "{text[:100]}": {err}') from err
    return Url(parts)


def _host(url: Url) -> str:
    return url.parts.netloc.rpartition("@")[2]


def _hostname(url: Url) -> str:
    host = _host(url)
    if host.startswith("["):
        return host[1:].partition("]")[0]
    return host.partition(":")[0]


def _port(url: Url) -> str:
    return _host(url).rpartition("]")[2].partition(":")[2]


def _query(url: Url) -> dict[str, list[str]]:
    """Return the parameters; those that Go does not read are left out."""
    found: dict[str, list[str]] = {}
    for pair in url.parts.query.split("&"):
        if pair and ";" not in pair and not _BAD_ESCAPE.search(pair):
            name, _, value = pair.partition("=")
            found.setdefault(unquote_plus(name), []).append(unquote_plus(value))
    return found


def _path(url: Url) -> str:
    """Return the path as it is given, if that is how one may be written."""
    path = url.parts.path
    if url.parts.scheme and not url.parts.netloc and not path.startswith("/"):
        return ""  # as of mailto:a@b
    return path if _PLAIN_PATH.fullmatch(path) else quote(unquote(path), safe="/:@$&+,;=~-_.")


_U = "kubernetes.URL"
URLS = (
    Overload("url", f"(string) {_U}", read_url, traversal),
    Overload("isURL", "(string) bool", reads(read_url), traversal),
    Overload("getScheme", f"{_U}.() string", lambda a: a.parts.scheme),
    Overload("getHost", f"{_U}.() string", _host),
    Overload("getHostname", f"{_U}.() string", _hostname),
    Overload("getPort", f"{_U}.() string", _port),
    Overload("getEscapedPath", f"{_U}.() string", _path),
    Overload("getQuery", f"{_U}.() map<string, list<string>>", _query),
)
