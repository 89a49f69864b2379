"""Writes totals in the Prometheus text format, and parses them: pure."""

import re
from collections.abc import Iterator, Mapping

from proxy.counters.totals import NOTHING, PortLabel, TrafficCount
from proxy.model.settings import CounterDetail

PREFIX = "podwire_service"
_FAMILIES: Mapping[str, tuple[str, str]] = {  # metric: the field of `TrafficCount`, and its help
    "connections": ("connections", "New connections and flows to the Service through this node"),
    "packets": ("packets", "Packets of the Service's connections, both ways"),
    "bytes": ("octets", "Bytes of these packets, with their IP headers"),
}
_LINE = re.compile(rf"{PREFIX}_(?P<name>[a-z]+)_total{{(?P<labels>.*)}} (?P<value>\d+)")
_PAIR = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')
_ESCAPES = {"\\": r"\\", '"': r"\"", "\n": r"\n"}
_MEANT = {written: meant for meant, written in _ESCAPES.items()}


def text(totals: Mapping[PortLabel, TrafficCount], detail: CounterDetail) -> str:
    """Return the exposition, without lines for Services that were never called.

    Most Services have no clients on most nodes, and 10,000 lines of zeros would be 10,000 series.
    """
    return "".join(f"{line}\n" for line in _lines(totals, detail))


def _lines(totals: Mapping[PortLabel, TrafficCount], detail: CounterDetail) -> Iterator[str]:
    shown = {CounterDetail.OFF: 0, CounterDetail.CONNECTIONS: 1, CounterDetail.PACKETS: 3}[detail]
    for name, (field, meaning) in [*_FAMILIES.items()][:shown]:
        yield f"# HELP {PREFIX}_{name}_total {meaning}."
        yield f"# TYPE {PREFIX}_{name}_total counter"
        for label, count in sorted(totals.items()):
            if value := getattr(count, field):
                yield f"{PREFIX}_{name}_total{{{_labels(label)}}} {value}"


def _labels(label: PortLabel) -> str:
    pairs = zip(PortLabel._fields, label, strict=True)
    return ",".join(f'{key}="{_escaped(str(value))}"' for key, value in pairs)


def _escaped(value: str) -> str:
    return "".join(_ESCAPES.get(letter, letter) for letter in value)


def parse(exposition: str) -> dict[PortLabel, TrafficCount]:
    """Parse the totals in a page of metrics; other lines are ignored."""
    found: dict[PortLabel, TrafficCount] = {}
    for line in exposition.split("\n"):
        match = _LINE.fullmatch(line)
        if match is None or match["name"] not in _FAMILIES:
            continue
        label = _label(dict(_PAIR.findall(match["labels"])))
        field, _ = _FAMILIES[match["name"]]
        found[label] = found.get(label, NOTHING)._replace(**{field: int(match["value"])})
    return found


def _label(values: Mapping[str, str]) -> PortLabel:
    plain = {key: _unescaped(value) for key, value in values.items()}
    port = int(plain["port"])
    return PortLabel(plain["namespace"], plain["service"], port, plain["protocol"])


def _unescaped(value: str) -> str:
    return re.sub(r"\\.", lambda found: _MEANT.get(found[0], found[0]), value)
