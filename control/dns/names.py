"""Names in wire format, in lower case: what the zone is keyed by.

A length byte is at most 63, below "A": so ``bytes.lower`` changes letters only (RFC 1035, 3.1).
"""

import ipaddress
from collections.abc import Iterator

import dns.exception
import dns.name

Name = bytes
MOST_BYTES = 255  # of a name (RFC 1035, 2.3.4)
ROOT: Name = b"\0"


class BadNameError(ValueError):
    """A text is no name; the text of the error says which, and why."""


def parse(text: str) -> Name:
    """Return a name, which needs no final dot; raises BadNameError."""
    try:
        return dns.name.from_text(text).to_wire().lower()  # type: ignore[union-attr]  # no file
    except (dns.exception.DNSException, UnicodeError) as err:
        raise BadNameError(f"{text!r} is not a DNS name: {err}") from err


def show(name: Name) -> str:
    """Return a name as text, with its final dot."""
    return dns.name.from_wire(name, 0)[0].to_text()


def below(parent: Name, *labels: str) -> Name:
    """Return the name of ``labels`` below a parent; the last label is the parent's neighbor.

    Labels come from validated objects. A label or name that is too long raises BadNameError.
    """
    parts = [label.lower().encode() for label in labels]
    name = b"".join(bytes([len(part)]) + part for part in parts if 0 < len(part) < 64) + parent
    if len(name) > MOST_BYTES or not all(0 < len(part) < 64 for part in parts):
        raise BadNameError(f"{'.'.join(labels)}: too long for a DNS name below {show(parent)}")
    return name


def suffixes(name: Name) -> Iterator[Name]:
    """Yield a name, then its parents up to the root."""
    start = 0
    while name[start]:
        yield name[start:]
        start += name[start] + 1
    yield ROOT


def labels(name: Name) -> list[bytes]:
    """Return the labels of a name, without the root's."""
    return [suffix[1 : suffix[0] + 1] for suffix in suffixes(name) if suffix[0]]


def reverse(address: str) -> Name:
    """Return the name below in-addr.arpa or ip6.arpa of an address."""
    return parse(ipaddress.ip_address(address).reverse_pointer)


def dashed(address: str) -> str:
    """Return the label that stands for an address, as CoreDNS writes it: 10-0-0-1, fd00--1."""
    label = address.replace(".", "-").replace(":", "-")
    return f"{label}0" if label.endswith("-") else label


def undashed(label: str) -> str:
    """Return the address that a label stands for, or "" if it stands for none."""
    old = label.count("-") == 3 and "--" not in label
    try:
        return str(ipaddress.ip_address(label.replace("-", "." if old else ":")))
    except ValueError:
        return ""
