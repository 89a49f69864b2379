"""Draws a Service's map for a terminal. Pure."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from debug.map.service import EndpointView, PortView, ServiceMap

_STATES = {"ready": "green", "terminating": "yellow", "not ready": "red"}


def draw(service: ServiceMap) -> RenderableType:
    """Return the drawing: the Service's ports, and the endpoints of each with their shares."""
    title = Text(f"Service {service.namespace}/{service.name}", "bold")
    title.append(f"  {service.type}", "not bold")
    notes = [Text(f"! {note}", "yellow") for note in service.notes]
    unread = [Text(f"? not read: {text}", "blue") for text in service.unread]
    return Group(title, *notes, *(part for port in service.ports for part in _port(port)), *unread)


def _port(port: PortView) -> Iterator[RenderableType]:
    name = f" {port.name}" if port.name else ""
    yield Text(f"{port.port}/{port.protocol}{name}  {', '.join(port.addresses)}", "bold")
    nodes = list(port.endpoints[0].shares) if port.endpoints else []
    if port.endpoints:
        yield _table(port.endpoints, nodes)
    for node, how in port.refused.items():
        where = f" from {node}" if node else ""
        yield Text(f"✗ connections{where} are {how}: no endpoint is for them", "red")
    if port.narrowed:
        yield Text(f"! topology hints keep endpoints out on {', '.join(port.narrowed)}", "yellow")


def _table(endpoints: Sequence[EndpointView], nodes: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    outside = any(one.outside for one in endpoints)
    counted = any(one.connections for one in endpoints)
    titles = ["ENDPOINT", "POD", "NODE", "STATE", *(f"FROM {node}" for node in nodes)]
    titles += [f"OUTSIDE AT {node}" for node in nodes if outside]
    for title in [*titles, *(["CONNECTIONS"] if counted else [])]:
        table.add_column(title, no_wrap=True)
    for one in endpoints:
        cells = [one.address, one.pod, one.node]
        shares = [_percent(one.shares[node]) for node in nodes]
        shares += [_percent(one.outside.get(node, 0.0)) for node in nodes if outside]
        state = Text(one.state, _STATES[one.state])
        table.add_row(*cells, state, *shares, *([_counts(one)] if counted else []))
    return table


def _percent(share: float) -> str:
    return f"{share:.0%}" if share else "0"


def _counts(endpoint: EndpointView) -> str:
    """Return the sum of the nodes' counts, and each of them that is not 0."""
    some = [f"{node} {count}" for node, count in endpoint.connections.items() if count]
    total = sum(endpoint.connections.values())
    return f"{total} ({', '.join(some)})" if len(some) > 1 else " ".join(some) or "0"
