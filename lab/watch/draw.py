"""Draws a picture of a lab for a terminal, as README draws one. Pure."""

from collections.abc import Iterator, Sequence

from rich import box
from rich.align import Align
from rich.columns import Columns
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from lab.spec import CONTROL_NAMES
from lab.watch.picture import MachineView, Picture, PodView, ServiceView, Traffic

_MARKS = {
    "ready": ("●", "green"),
    "starting": ("◌", "yellow"),
    "ending": ("○", "yellow"),
    "done": ("✓", "dim"),
    "wrong": ("✗", "red"),
    "unknown": ("·", "dim"),
}
_COLORS = {"up": "green", "stopped": "dim", "killed": "red", "not ready": "red"}
_CONTROL, _NODE = 56, 30  # columns of a control plane that is alone, and of a node
_BAR = 20  # columns of a Service's bar
_PALETTE = ("cyan", "magenta", "yellow", "green", "blue", "white")
_MOST_PODS = 12  # of a node, and _MOST_SERVICES of a lab: what a screen has room for
_MOST_SERVICES = 20
_UNITS = ("B", "kB", "MB", "GB")


def draw(picture: Picture) -> RenderableType:
    """Return the drawing: the control plane, the switch, the nodes, the Services."""
    controls = [each for each in picture.machines if each.name in CONTROL_NAMES]
    nodes = [each for each in picture.machines if each.name not in CONTROL_NAMES]
    parts: list[RenderableType] = [_title(picture)]
    if len(controls) == 1:
        parts.append(Align.center(_control(controls[0], _CONTROL)))
    elif controls:
        panels = [_control(each, _NODE) for each in controls]
        parts.append(Align.center(Columns(panels, padding=(0, 1))))
    parts.append(
        Text(f"switch {', '.join(picture.switch)}, the world outside", "bold", justify="center")
    )
    parts.append(Align.center(Columns([_node(each) for each in nodes], padding=(0, 1))))
    if picture.unplaced:
        parts.append(Panel(_pods(picture.unplaced), title="no node", border_style="red"))
    parts.append(_services(picture.services, [node.name for node in nodes]))
    parts += [Text(f"✗ {fault}", "red") for fault in picture.faults]
    return Group(*parts)


def _title(picture: Picture) -> Text:
    style = "green" if picture.state == "up" and not picture.faults else "red"
    title = Text.assemble((f"lab {picture.name}: ", "bold"), (picture.state, style))
    title.append(f"   Services by {picture.mode}, Pods by {picture.overlay}")
    return title


def _control(machine: MachineView, width: int) -> Panel:
    lines = Text(f"{', '.join(machine.addresses)}\n")
    lines.append("API server, scheduler, controllers, cloud, DNS")
    return _panel(machine, lines, width)


def _node(machine: MachineView) -> Panel:
    lines = Text(f"{', '.join([*machine.addresses, *machine.ranges])}\n", "dim")
    lines.append_text(_pods(machine.pods))
    lines.append_text(_traffic(machine.traffic))
    return _panel(machine, lines, width=_NODE)


def _panel(machine: MachineView, lines: Text, width: int) -> Panel:
    if machine.link:
        lines.append(f"\nits link {machine.link}", "red")
    for component in machine.down:
        lines.append(f"\n{component} is down", "red")
    style = "red" if machine.is_wrong else _COLORS[machine.state]
    state = "" if machine.state == "up" else f" {machine.state}"
    return Panel(lines, title=f"{machine.name}{state}", border_style=style, width=width)


def _pods(pods: Sequence[PodView]) -> Text:
    lines = Text()
    for pod in pods[:_MOST_PODS]:
        mark, style = _MARKS[pod.state]
        lines.append(f"{mark} ", style)
        lines.append(f"{pod.name}\n", "" if pod.state == "ready" else style)
    if len(pods) > _MOST_PODS:
        lines.append(f"… and {len(pods) - _MOST_PODS} more\n", "dim")
    return lines or Text("no Pod\n", "dim")


def _traffic(traffic: Traffic) -> Text:
    text = Text(f"↓ {rate(traffic.received)}  ↑ {rate(traffic.sent)}", "cyan")
    if traffic.dropped:
        text.append(f"\n✗ {traffic.dropped:.0f} drops/s", "red")
    return text


def rate(number: float) -> str:
    """Return bytes a second for people."""
    unit = 0
    while number >= 1000 and unit < len(_UNITS) - 1:
        number, unit = number / 1000, unit + 1
    return f"{number:.0f} {_UNITS[unit]}/s" if unit == 0 else f"{number:.1f} {_UNITS[unit]}/s"


def _services(services: Sequence[ServiceView], nodes: Sequence[str]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, expand=True)
    for name in ("SERVICE", "TYPE", "ADDRESS", "PORTS", "SHARES"):
        table.add_column(name, overflow="fold")
    for each in services[:_MOST_SERVICES]:
        table.add_row(
            f"{each.namespace}/{each.name}",
            each.type,
            "\n".join(each.addresses),
            "\n".join(each.ports),
            _shares(each, nodes),
            style="red" if each.is_wrong else "",
        )
    if len(services) > _MOST_SERVICES:
        table.add_row(f"… and {len(services) - _MOST_SERVICES} more")
    return table


def _shares(service: ServiceView, nodes: Sequence[str]) -> Text:
    if not service.shares:
        return Text("no ready endpoint" if service.is_wrong else "no endpoint", "dim")
    text = Text()
    for style, node, columns in _bars(service, nodes):
        text.append("█" * columns, style)
        text.append(f" {node} {service.shares[node]:.0%}  ")
    return text


def _bars(service: ServiceView, nodes: Sequence[str]) -> Iterator[tuple[str, str, int]]:
    """Yield color, node and columns of each part of a Service's bar."""
    for node, share in service.shares.items():
        place = nodes.index(node) if node in nodes else len(nodes)
        yield _PALETTE[place % len(_PALETTE)], node, max(1, round(share * _BAR))
