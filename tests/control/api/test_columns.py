"""Table columns: STATUS of Pods, ages, and a row of every kind."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from control.api.columns.base import human
from control.api.columns.pod import COLUMNS, status_word
from control.api.columns.table import columns_of
from control.api.kinds import KINDS, Kind
from tests.support.control.objects import VALID, of

NOW = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (-5, "<invalid>"),
        (-1, "0s"),
        (0, "0s"),
        (119, "119s"),
        (120, "2m"),
        (150, "2m30s"),
        (600, "10m"),
        (10799, "179m"),
        (10800, "3h"),
        (11400, "3h10m"),
        (28800, "8h"),
        (172799, "47h"),
        (172800, "2d"),
        (180000, "2d2h"),
        (691200, "8d"),
        (63071999, "729d"),
        (63072000, "2y"),
        (63072000 + 86400, "2y1d"),
        (8 * 365 * 86400, "8y"),
    ],
)
def test_ages(seconds: int, text: str):
    assert human(seconds) == text


def pod(status: dict[str, Any], **metadata: Any) -> dict[str, Any]:
    spec = {
        "initContainers": [{"name": "i"}, {"name": "s", "restartPolicy": "Always"}],
        "containers": [{"name": "a"}, {"name": "b"}],
    }
    return {"metadata": {"name": "p"} | metadata, "spec": spec, "status": status}


def container(name: str, state: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "state": state, "ready": False, "restartCount": 0} | more


RUNNING: dict[str, Any] = {"running": {}}
DONE = {"terminated": {"exitCode": 0, "reason": "Completed"}}
FAILED = {"terminated": {"exitCode": 3}}
KILLED = {"terminated": {"exitCode": 137, "signal": 9}}
BACKOFF = {"waiting": {"reason": "CrashLoopBackOff"}}
INIT_DONE = [container("i", DONE), container("s", RUNNING, started=True)]
READY = {"conditions": [{"type": "Ready", "status": "True"}]}


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({}, "Unknown"),
        ({"phase": "Pending"}, "Pending"),
        ({"phase": "Failed", "reason": "Evicted"}, "Evicted"),
        ({"phase": "Pending", "initContainerStatuses": [container("i", RUNNING)]}, "Init:0/2"),
        (
            {"phase": "Pending", "initContainerStatuses": [container("i", FAILED)]},
            "Init:ExitCode:3",
        ),
        (
            {"phase": "Pending", "initContainerStatuses": [container("i", BACKOFF)]},
            "Init:CrashLoopBackOff",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": [container("i", DONE), container("s", RUNNING)],
            },
            "Init:1/2",
        ),
        (
            {
                "phase": "Pending",
                "initContainerStatuses": INIT_DONE,
                "containerStatuses": [container("a", {"waiting": {"reason": "ContainerCreating"}})],
            },
            "ContainerCreating",
        ),
        ({"phase": "Running", "containerStatuses": [container("a", RUNNING)]}, "Running"),
        ({"phase": "Running", "containerStatuses": [container("a", BACKOFF)]}, "CrashLoopBackOff"),
        ({"phase": "Succeeded", "containerStatuses": [container("a", DONE)]}, "Completed"),
        ({"phase": "Failed", "containerStatuses": [container("a", KILLED)]}, "Signal:9"),
        (
            {
                "phase": "Running",
                "containerStatuses": [container("a", DONE), container("b", RUNNING, ready=True)],
            },
            "NotReady",
        ),
        (
            {
                "phase": "Running",
                "containerStatuses": [container("a", DONE), container("b", RUNNING, ready=True)],
            }
            | READY,
            "Running",
        ),
        (
            {
                "phase": "Pending",
                "conditions": [
                    {"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}
                ],
            },
            "SchedulingGated",
        ),
    ],
)
def test_status(status: dict[str, Any], word: str):
    assert status_word(pod(status)) == word


@pytest.mark.parametrize(
    ("status", "word"),
    [
        ({"phase": "Running", "containerStatuses": [container("a", RUNNING)]}, "Terminating"),
        ({"phase": "Pending"}, "Terminating"),
        ({"phase": "Running", "reason": "NodeLost"}, "Unknown"),
        ({"phase": "Succeeded", "containerStatuses": [container("a", DONE)]}, "Completed"),
    ],
)
def test_status_of_a_pod_that_is_being_deleted(status: dict[str, Any], word: str):
    assert status_word(pod(status, deletionTimestamp="2026-01-01T00:00:00Z")) == word


def test_a_row_of_a_pod():
    died = (NOW - timedelta(minutes=5)).isoformat()
    statuses = [
        container(
            "a",
            RUNNING,
            ready=True,
            restartCount=2,
            lastState={"terminated": {"exitCode": 1, "finishedAt": died}},
        ),
        container("b", BACKOFF, restartCount=1),
    ]
    wire = pod(
        {
            "phase": "Running",
            "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}],
            "initContainerStatuses": INIT_DONE,
            "containerStatuses": statuses,
        },
        creationTimestamp="2025-12-31T23:50:00Z",
    )
    wire["spec"]["nodeName"] = "n1"
    assert list(COLUMNS.cells(wire, NOW)) == [
        "p",
        "1/3",
        "CrashLoopBackOff",
        "3 (5m ago)",
        "10m",
        "10.0.0.1",
        "n1",
        "<none>",
        "<none>",
    ]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_every_kind_has_a_row_even_with_few_fields(kind: Kind):
    columns = columns_of(kind)
    for wire in (of(kind), of(kind, **VALID.get(kind.name, {}))):
        cells = columns.cells(wire, NOW)
        assert len(cells) == len(columns.columns)
        assert cells[[c.format for c in columns.columns].index("name")] == wire["metadata"]["name"]
        assert all(isinstance(cell, str | int) for cell in cells)
