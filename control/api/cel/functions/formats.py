"""Kubernetes' named formats of texts. Source: pkg/cel/library/format.go of k8s.io/apiserver."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar

from control.api.cel.errors import EvaluationError
from control.api.cel.functions.network import read_url
from control.api.cel.functions.table import Overload
from control.api.cel.meter import matching
from control.api.cel.values import NONE, Optional
from control.api.custom import formats
from control.api.validation import text


@dataclass(frozen=True, slots=True)
class Format:
    """A format; ``size`` is the length of a regular expression that costs as much."""

    CEL: ClassVar[str] = "kubernetes.NamedFormat"
    name: str
    errors: Callable[[str], list[str]]
    size: int


def _prefix(check: Callable[[str], list[str]]) -> Callable[[str], list[str]]:
    """Return a check of the beginning of a name, which may end with a dash."""
    return lambda value: check(f"{value[:-1]}a" if value.endswith("-") else value)


def _known(name: str, why: str) -> Callable[[str], list[str]]:
    return lambda value: [] if formats.fits(name, value) else [why]


def _uri(value: str) -> list[str]:
    try:
        read_url(value)
    except EvaluationError as err:
        return [str(err).partition(": ")[2]]
    return []


FORMATS = {
    each.name: each
    for each in (
        Format("dns1123Label", text.dns_label, 30),
        Format("dns1123Subdomain", text.dns_subdomain, 60),
        Format("dns1035Label", text.dns_1035_label, 30),
        Format("qualifiedName", text.qualified_name, 60),
        Format("dns1123LabelPrefix", _prefix(text.dns_label), 30),
        Format("dns1123SubdomainPrefix", _prefix(text.dns_subdomain), 60),
        Format("dns1035LabelPrefix", _prefix(text.dns_1035_label), 30),
        Format("labelValue", text.label_value, 40),
        Format("uri", _uri, 1103),
        Format("uuid", _known("uuid", "does not match the UUID format"), 88),
        Format("byte", _known("byte", "invalid base64"), 84),
        Format("date", _known("date", "invalid date"), 117),
        Format("datetime", _known("datetime", "invalid datetime"), 117),
    )
}
_F = "kubernetes.NamedFormat"


def _named(name: str) -> Optional:
    return Optional(FORMATS[name]) if name in FORMATS else NONE


def _validate(known: Format, value: str) -> Optional:
    found = known.errors(value)
    return Optional(found) if found else NONE


def _cost(known: Format, value: str) -> int:
    return matching(len(value), known.size)


def _constant(known: Format) -> Callable[[], Any]:
    return lambda: known


NAMED_FORMATS = (
    Overload("format.named", f"(string) optional<{_F}>", _named),
    Overload("validate", f"{_F}.(string) optional<list<string>>", _validate, _cost),
    *(Overload(f"format.{name}", f"() {_F}", _constant(it)) for name, it in FORMATS.items()),
)
