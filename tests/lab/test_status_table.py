"""The table of ``podwire lab status``."""

import click
import pytest

from lab.nodes import NodeReport
from lab.status import ComponentStatus, LabStatus, MachineStatus
from lab.status_table import status_table


@pytest.fixture
def state():
    agent, proxy = ComponentStatus("agent", 11, 4.6), ComponentStatus("proxy", 12, 4.2)
    return LabStatus(
        "up",
        2,
        (
            MachineStatus("control", 10, ("172.31.0.10",), (ComponentStatus("apiserver", 9, 5.0),)),
            MachineStatus("node1", 10, ("172.31.0.11", "fd00::11"), (agent, proxy)),
            MachineStatus("node2", 20, ("172.31.0.12",), (ComponentStatus("agent", None, None),)),
        ),
    )


def words(text):
    return [line.split() for line in click.unstyle(text).splitlines()]


def test_machines_components_and_what_the_api_server_says_of_nodes(state):
    reports = {"node1": NodeReport(ready=True, pods=3), "node2": NodeReport(ready=False, pods=0)}
    text = status_table(state, reports, 200)
    assert words(text) == [
        ["MACHINE", "READY", "PODS", "ADDRESSES", "COMPONENT", "PID", "UP"],
        ["control", "172.31.0.10", "apiserver", "9", "5", "s"],
        ["node1", "yes", "3", "172.31.0.11,", "fd00::11", "agent", "11", "5", "s"],
        ["proxy", "12", "4", "s"],
        ["node2", "no", "0", "172.31.0.12", "agent", "down"],
    ]
    red = [line for line in text.splitlines() if line != click.unstyle(line)]
    assert words("\n".join(red)) == [["node2", "no", "0", "172.31.0.12", "agent", "down"]]


@pytest.mark.parametrize(
    ("width", "header", "control"),
    [
        (50, "MACHINE READY PODS COMPONENT PID UP", "control apiserver 9 5 s"),
        (45, "MACHINE READY PODS COMPONENT PID", "control apiserver 9"),
        (40, "MACHINE READY COMPONENT PID", "control apiserver 9"),
    ],
)
def test_a_narrow_terminal_leaves_columns_out(state, width, header, control):
    text = click.unstyle(status_table(state, {}, width))
    assert [" ".join(line) for line in words(text)[:2]] == [header, control]
    assert ["node2", "agent", "down"] in words(text)
    assert all(len(line) <= width for line in text.splitlines())
