"""Resolves names of a lab as one of its Pods does: the search list, then the name itself."""

from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import ip_address

import dns.exception
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype

from lab.dns import ask
from lab.spec import CLUSTER_DOMAIN, LabSpec
from lab.state import LabDir

_DOTS = 5  # ndots of Pods: a name with fewer is first looked for below the search list


class NoSuchNameError(Exception):
    """The cluster DNS does not know a name, or no record of the type; the text says which."""


@dataclass(frozen=True, slots=True)
class Record:
    """A resource record, as text; ``ttl`` in seconds."""

    name: str
    ttl: int
    type: str
    value: str


def resolve(
    lab: LabDir, spec: LabSpec, asked: str, namespace: str = "default", kind: str | None = None
) -> list[Record]:
    """Return the records of a name; raises NoSuchNameError, NotAnsweredError."""
    kinds, names = _question(spec, asked, namespace, kind)
    verdict = "NXDOMAIN"
    for name in names:
        answers = [ask(lab, spec, name, each) for each in kinds]
        records = list(dict.fromkeys(r for answer in answers for r in _records(answer)))
        if records:
            return records
        rcodes = {answer.rcode() for answer in answers}
        if rcodes - {dns.rcode.NXDOMAIN, dns.rcode.NOERROR}:
            verdict = " ".join(sorted(map(dns.rcode.to_text, rcodes)))
        elif dns.rcode.NOERROR in rcodes:
            verdict = f"the name exists, but has no {' or '.join(kinds)}"
    raise NoSuchNameError(f"{asked}: {verdict}; asked for: {', '.join(names)}")


def _question(
    spec: LabSpec, asked: str, namespace: str, kind: str | None
) -> tuple[Sequence[str], Sequence[str]]:
    """Return the record types to ask for, and the absolute names in their order."""
    try:
        pointer = ip_address(asked).reverse_pointer
    except ValueError:
        usual = tuple("A" if family == 4 else "AAAA" for family in spec.families)
        return ((kind,) if kind else usual), candidates(asked, namespace)
    return (kind or "PTR",), (f"{pointer}.",)


def candidates(asked: str, namespace: str) -> list[str]:
    """Return the absolute names that a Pod's resolver tries; raises NoSuchNameError."""
    try:
        dns.name.from_text(asked)
    except (dns.exception.DNSException, UnicodeError) as err:
        raise NoSuchNameError(f"{asked} is not a DNS name: {err}") from err
    if asked.endswith("."):
        return [asked]
    inside = f"svc.{CLUSTER_DOMAIN}"
    searched = [f"{asked}.{each}." for each in (f"{namespace}.{inside}", inside, CLUSTER_DOMAIN)]
    return [*searched, f"{asked}."] if asked.count(".") < _DOTS else [f"{asked}.", *searched]


def _records(answer: dns.message.Message) -> list[Record]:
    return [
        Record(rrset.name.to_text(), rrset.ttl, dns.rdatatype.to_text(rrset.rdtype), str(rdata))
        for rrset in answer.answer
        for rdata in rrset
    ]
