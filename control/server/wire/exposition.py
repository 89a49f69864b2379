"""Read samples from text for Prometheus. Pure.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/#text-based-format
"""

import re
from collections.abc import Iterator

from msgspec import Struct, field

_LINE = re.compile(r"(?P<name>[a-zA-Z_:][\w:]*)(?:\{(?P<labels>[^}]*)\})? (?P<rest>\S+(?: -?\d+)?)")
_LABEL = re.compile(r'(\w+)="([^"\\]*)",?')


class MetricSample(Struct, frozen=True):
    """One sample; ``at`` is in seconds since the epoch, if it says so."""

    name: str
    value: float
    at: float | None = None
    labels: dict[str, str] = field(default_factory=dict)


def samples(text: str) -> Iterator[MetricSample]:
    """Yield the samples of a text; raises ValueError for a line that is none."""
    for line in text.splitlines():
        if line and not line.startswith("#"):
            yield _sample(line)


def _sample(line: str) -> MetricSample:
    found = _LINE.fullmatch(line)
    if found is None:
        raise ValueError(f"{line[:100]!r} is no sample of a metric")
    value, _, at = found["rest"].partition(" ")
    labels = dict(_LABEL.findall(found["labels"] or ""))
    return MetricSample(found["name"], float(value), int(at) / 1000 if at else None, labels)
