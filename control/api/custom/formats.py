"""The formats of text that a schema may require. Pure, and linear in the text.

Source: k8s.io/kube-openapi/pkg/validation/strfmt, and formats.go of k8s.io/apiextensions-apiserver.
A format that is not here is not checked, as upstream does with those that it does not know; of
upstream's, these are isbn, isbn10, isbn13, creditcard, ssn, rgbcolor, bsonobjectid.
"""

import base64
import binascii
import ipaddress
import re
from collections.abc import Callable
from datetime import date, datetime
from urllib.parse import urlsplit

from control.api.validation import text

_LONGEST = 4096  # no text of a format but byte and password is longer
_HEX = "[0-9a-fA-F]"
_MAC = re.compile(f"{_HEX}{{2}}([:-]{_HEX}{{2}}){{5,7}}|{_HEX}{{4}}(\\.{_HEX}{{4}}){{2,3}}")
_COLOR = re.compile(f"#?({_HEX}{{3}}|{_HEX}{{6}})")
_MOMENT = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt][0-9]{2}:[0-9]{2}:[0-9]{2}([.,][0-9]{1,9})?"
    r"([Zz]|[+-][0-9]{2}:?[0-9]{2})?"
)
_DAY = re.compile("[0-9]{4}-[0-9]{2}-[0-9]{2}")
_DURATION = re.compile(
    r"[+-]?([0-9]{1,20}(\.[0-9]{0,20})?(ns|us|µs|ms|s|m|h))+|0"
    r"|[0-9]{1,20} ?(d|day|days|h|hour|hours|m|min|minute|minutes|s|sec|second|seconds"
    r"|ms|milli|millis|millisecond|milliseconds|µs|us|micro|microsecond|microseconds"
    r"|ns|nano|nanos|nanosecond|nanoseconds|w|week|weeks)"
)
_ADDRESS = re.compile(r"[^@\s<>\"]{1,64}@[A-Za-z0-9.-]{1,253}")


def _uuid(version: str = "") -> Callable[[str], bool]:
    third = f"{version}{_HEX}{{3}}" if version else f"{_HEX}{{4}}"
    fourth = f"[89abAB]{_HEX}{{3}}" if version in ("4", "5") else f"{_HEX}{{4}}"
    pattern = re.compile(f"{_HEX}{{8}}-?{_HEX}{{4}}-?{third}-?{fourth}-?{_HEX}{{12}}")
    return lambda value: pattern.fullmatch(value) is not None


def _parsed(parse: Callable[[str], object]) -> Callable[[str], bool]:
    def check(value: str) -> bool:
        try:
            parse(value)
        except ValueError:
            return False
        return True

    return check


def _network(value: str) -> None:
    if "/" not in value:
        raise ValueError(value)
    ipaddress.ip_interface(value)


def _day(value: str) -> bool:
    return _DAY.fullmatch(value) is not None and _parsed(date.fromisoformat)(value)


def _moment(value: str) -> bool:
    if not _MOMENT.fullmatch(value):
        return False
    return _parsed(datetime.fromisoformat)(value.upper())


def _bytes(value: str) -> bool:
    try:
        base64.b64decode(value.replace("\n", "").replace("\r", ""), validate=True)
    except (ValueError, binascii.Error):
        return False
    return True


def _uri(value: str) -> bool:
    """Return True for what Go's url.ParseRequestURI takes: an absolute URI or path."""
    if any(sign <= " " or sign == "\x7f" for sign in value):
        return False
    try:
        parts = urlsplit(value)
    except ValueError:
        return False
    return bool(parts.scheme) or value.startswith("/")


def _host(value: str) -> bool:
    return not text.dns_subdomain(value.lower().removesuffix("."))


FORMATS: dict[str, Callable[[str], bool]] = {
    "byte": _bytes,
    "cidr": _parsed(_network),
    "date": _day,
    "datetime": _moment,
    "duration": lambda value: _DURATION.fullmatch(value) is not None,
    "email": lambda value: _ADDRESS.fullmatch(value) is not None,
    "hexcolor": lambda value: _COLOR.fullmatch(value) is not None,
    "hostname": _host,
    "ipv4": _parsed(ipaddress.IPv4Address),
    "ipv6": _parsed(ipaddress.IPv6Address),
    "k8slongname": lambda value: not text.dns_subdomain(value),
    "k8sshortname": lambda value: not text.dns_label(value),
    "mac": lambda value: _MAC.fullmatch(value) is not None,
    "password": lambda _: True,
    "uri": _uri,
    "uuid": _uuid(),
    "uuid3": _uuid("3"),
    "uuid4": _uuid("4"),
    "uuid5": _uuid("5"),
}
_UNBOUNDED = ("byte", "password", "uri")


def known(name: str) -> str:
    """Return the name of a format as it is in ``FORMATS``; empty if it is not checked."""
    plain = name.replace("-", "")
    return plain if plain in FORMATS else ""


def fits(name: str, value: str) -> bool:
    """Return True if text has a format of ``FORMATS``."""
    return (name in _UNBOUNDED or len(value) <= _LONGEST) and FORMATS[name](value)
