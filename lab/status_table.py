"""The table of ``podwire lab status``."""

from collections.abc import Iterator, Mapping, Sequence

import click

from lab.nodes import NodeReport
from lab.report import columns
from lab.status import ComponentStatus, LabStatus, MachineStatus

_HEADER = ("MACHINE", "READY", "PODS", "ADDRESSES", "COMPONENT", "PID", "UP")
# What a narrow terminal does without, in this order.
_LEFT_OUT = ("ADDRESSES", "UP", "PODS")
_READY = {True: "yes", False: "no"}


def status_table(state: LabStatus, reports: Mapping[str, NodeReport], width: int) -> str:
    """Return a line for each component. Columns are left out while lines would be over ``width``.

    Lines of components that are down, and of nodes that are not ready, are red.
    """
    rows = [row for machine in state.machines for row in _rows(machine, reports)]
    lines = _fitting([_HEADER, *rows], width)
    bad = [False, *("down" in row or "no" in row for row in rows)]
    return "\n".join(
        click.style(line, fg="red") if red else line for line, red in zip(lines, bad, strict=True)
    )


def _fitting(table: Sequence[Sequence[str]], width: int) -> list[str]:
    """Return the lines of a table, which may be over ``width`` without what can be left out."""
    lines = columns(table[0], table[1:]).splitlines()
    for name in _LEFT_OUT:
        if max(map(len, lines)) <= width:
            break
        place = table[0].index(name)
        table = [[*row[:place], *row[place + 1 :]] for row in table]
        lines = columns(table[0], table[1:]).splitlines()
    return lines


def _rows(machine: MachineStatus, reports: Mapping[str, NodeReport]) -> Iterator[tuple[str, ...]]:
    report = reports.get(machine.name)
    ready, pods = ("", "") if report is None else (_READY[report.ready], str(report.pods))
    first = (machine.name, ready, pods, ", ".join(machine.addresses))
    for component in machine.components:
        yield (*first, *_component(component))
        first = ("", "", "", "")


def _component(component: ComponentStatus) -> tuple[str, str, str]:
    up_for = "" if component.seconds is None else f"{component.seconds:.0f} s"
    return component.name, str(component.pid or "down"), up_for
