"""``podwire proxy top``: the most called Services, by the counters of this node's proxy."""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence

import click
from msgspec import Struct
from msgspec.structs import asdict

from proxy.counters.exposition import PREFIX, parse
from proxy.counters.totals import NOTHING, PortLabel, TrafficCount, grown

_HEADER = ("SERVICE", "PORT", "CONNECTIONS", "NEW/S", "PACKETS/S", "KB/S")


class TopRow(Struct, frozen=True):
    """A Service port with its totals, and their growth in a second."""

    namespace: str
    service: str
    port: int
    protocol: str
    connections: int
    packets: int
    bytes: int
    connections_per_second: float
    packets_per_second: float
    bytes_per_second: float

    @property
    def rank(self) -> tuple[float, float, int]:
        """The sort key; the greatest comes first."""
        return self.connections_per_second, self.bytes_per_second, self.connections

    @property
    def cells(self) -> Sequence[str]:
        """The cells of a table's line."""
        rates = (self.connections_per_second, self.packets_per_second, self.bytes_per_second / 1000)
        where = (f"{self.namespace}/{self.service}", f"{self.port}/{self.protocol}")
        return *where, str(self.connections), *(f"{rate:.1f}" for rate in rates)


def rows(
    before: Mapping[PortLabel, TrafficCount],
    after: Mapping[PortLabel, TrafficCount],
    seconds: float,
) -> list[TopRow]:
    """Return the rows of two readings, ``seconds`` apart."""
    made = []
    for label, now in after.items():
        more = grown(before.get(label, NOTHING), now)
        made.append(TopRow(*label, *now, *(count / seconds for count in more)))
    return sorted(made, key=lambda row: row.rank, reverse=True)


def table(shown: Sequence[TopRow]) -> Iterator[str]:
    """Yield lines with columns as wide as needed: names at the left, numbers at the right."""
    lines = [_HEADER, *(row.cells for row in shown)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    for cells in lines:
        aligned = [
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(cells, widths, strict=True))
        ]
        yield "   ".join(aligned).rstrip()


@click.command()
@click.option("--url", default="http://127.0.0.1:10249/metrics", show_default=True)
@click.option(
    "--interval",
    type=click.FloatRange(0.1, 3600),
    default=1.0,
    show_default=True,
    help="Seconds between the two readings that rates are computed from.",
)
@click.option("-n", "--lines", type=click.IntRange(1), default=20, show_default=True)
@click.option("-o", "--output", type=click.Choice(["table", "json"]), default="table")
def top(url: str, interval: float, lines: int, output: str) -> None:
    """Show which Services are called most on this node.

    The node's proxy has to count them: run podwire proxy with --service-counters connections, or
    packets.
    """
    from proxy.counters.reading import UnansweredError, read_twice  # with aiohttp

    try:
        first, second = read_twice(url, interval)
    except UnansweredError as err:
        sys.exit(
            f"podwire proxy top: no proxy answers at {url}: {err}; "
            "run this on a node, where podwire proxy runs"
        )
    if f"# TYPE {PREFIX}" not in second:
        sys.exit(
            f"podwire proxy top: the proxy at {url} does not count Services; "
            "run it with --service-counters connections, or packets; in a lab: "
            "podwire lab set counters connections"
        )
    found = rows(parse(first), parse(second), interval)
    if output == "json":
        click.echo(json.dumps([asdict(row) for row in found], indent=2))
    else:
        click.echo("\n".join(table(found[:lines])))
