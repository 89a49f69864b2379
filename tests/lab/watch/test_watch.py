"""The picture of a lab: what is seen of its objects, what is red, and the screenshot of docs."""

import os
from dataclasses import replace
from io import StringIO

import pytest
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console

from control.api.node import Node
from control.api.pod import Pod
from control.api.service import EndpointSlice, Service
from lab.parts import machines
from lab.spec import make_spec
from lab.status import ComponentStatus, LabStatus, MachineStatus
from lab.watch.draw import draw, rate
from lab.watch.gather import Counts, rates, read_devices, read_drops
from lab.watch.picture import Objects, Traffic, paint
from tests.support.e2e.harness import CHECKOUT

SCREENSHOT = CHECKOUT / "docs/lab-watch.svg"
SPEC = make_spec("lab", nodes=3, proxy="nftables")


def status(**pids):
    """The status of a lab; ``pids`` has the process of a machine, None for a killed one."""
    rows = [
        MachineStatus(
            machine.name,
            pids.get(machine.name, 7),
            machine.ips,
            tuple(ComponentStatus(each.name, 8, 1.0) for each in machine.components),
        )
        for machine in machines(SPEC)
    ]
    return LabStatus("degraded" if None in pids.values() else "up", 3, tuple(rows))


def node(number, ready="True"):
    condition = {"type": "Ready", "status": ready, "lastHeartbeatTime": "2026-11-29T12:00:00Z"}
    return Node.parse(
        {
            "metadata": {"name": f"node{number}"},
            "spec": {"podCIDRs": [f"10.244.{number - 1}.0/24"]},
            "status": {"conditions": [condition]},
        }
    )


def pod(name, on, phase="Running", *, ready=True, waiting=None, ending=False):
    container = {"name": "c", "state": {"waiting": {"reason": waiting}} if waiting else {}}
    stamp = {"deletionTimestamp": "2026-11-29T12:00:00Z"} if ending else {}
    return Pod.parse(
        {
            "metadata": {"name": name, "namespace": "default", **stamp},
            "spec": {"nodeName": on, "containers": []},
            "status": {
                "phase": phase,
                "conditions": [{"type": "Ready", "status": str(ready)}],
                "containerStatuses": [container],
            },
        }
    )


def service(name, address, port=80):
    ports = [{"port": port, "protocol": "TCP"}]
    spec = {"type": "ClusterIP", "clusterIPs": [address], "ports": ports}
    return Service.parse({"metadata": {"name": name, "namespace": "default"}, "spec": spec})


def slice_of(name, *endpoints):
    """A slice with endpoints (address, node or None, ready)."""
    rows = [
        {"addresses": [address], "nodeName": on, "conditions": {"ready": ready}}
        for address, on, ready in endpoints
    ]
    labels = {"kubernetes.io/service-name": name}
    meta = {"name": f"{name}-1", "namespace": "default", "labels": labels}
    return EndpointSlice.parse({"metadata": meta, "addressType": "IPv4", "endpoints": rows})


OBJECTS = Objects(
    nodes=(node(1), node(2), node(3)),
    pods=(
        pod("web-1", "node1"),
        pod("web-2", "node2"),
        pod("web-3", "node2"),
        pod("web-4", "node3", "Pending", ready=False),
        pod("web-0", "node3", ending=True),
    ),
    services=(service("kubernetes", "10.96.0.1", 443), service("web", "10.96.12.7")),
    slices=(
        slice_of("kubernetes", ("172.31.0.10", None, True)),
        slice_of(
            "web",
            ("10.244.0.2", "node1", True),
            ("10.244.1.2", "node2", True),
            ("10.244.1.3", "node2", True),
            ("10.244.2.2", "node3", False),
        ),
    ),
)
TRAFFIC = {
    "node1": Traffic(1234.0, 98765.0),
    "node2": Traffic(2.5e6, 3.1e6),
    "node3": Traffic(0.0, 12.0),
}


def painted(objects=OBJECTS, seen=None, traffic=TRAFFIC):
    return paint(SPEC, seen or status(), objects, traffic)


def test_a_service_has_the_shares_of_its_ready_endpoints():
    kubernetes, web = painted().services
    assert {name: round(share, 2) for name, share in web.shares.items()} == {
        "node1": 0.33,
        "node2": 0.67,
    }
    assert (web.not_ready, web.is_wrong) == (1, False)
    assert kubernetes.shares == {"control": 1.0}


@pytest.mark.parametrize(
    ("made", "state"),
    [
        (pod("a", "node1"), "ready"),
        (pod("a", "node1", "Pending", ready=False), "starting"),
        (pod("a", "node1", ready=False, waiting="CrashLoopBackOff"), "wrong"),
        (pod("a", "node1", "Pending", ready=False, waiting="ErrImagePull"), "wrong"),
        (pod("a", "node1", "Pending", ready=False, waiting="ContainerCreating"), "starting"),
        (pod("a", "node1", "Failed", ready=False), "wrong"),
        (pod("a", "node1", "Succeeded", ready=False), "done"),
        (pod("a", "node1", ending=True), "ending"),
    ],
)
def test_states_of_a_pod(made, state):
    (view,) = painted(replace(OBJECTS, pods=(made,))).machines[1].pods
    assert view.state == state


def down(seen, name, component):
    """The same status, but a component of a machine is down."""
    rows = tuple(
        replace(
            row,
            components=tuple(
                replace(part, pid=None) if (row.name, part.name) == (name, component) else part
                for part in row.components
            ),
        )
        for row in seen.machines
    )
    return replace(seen, machines=rows)


@pytest.mark.parametrize(
    ("objects", "seen", "fault"),
    [
        (OBJECTS, status(node2=None), "node2 is killed"),
        (replace(OBJECTS, nodes=(node(1, "Unknown"),)), status(), "node1 is not ready"),
        (OBJECTS, down(status(), "node3", "proxy"), "proxy on node3 is down"),
        (replace(OBJECTS, pods=(pod("a", None),)), status(), "Pod default/a has no node"),
        (
            replace(OBJECTS, pods=(pod("a", "node1", "Failed", ready=False),)),
            status(),
            "Pod default/a fails",
        ),
        (
            replace(OBJECTS, slices=(slice_of("web", ("10.244.0.2", "node1", False)),)),
            status(),
            "Service default/web has no ready endpoint",
        ),
        (Objects(fault="no answer"), status(), "Pods and Services are not known: no answer"),
    ],
)
def test_what_is_wrong_is_said_and_red(objects, seen, fault):
    picture = painted(objects, seen)
    assert picture.faults == (fault,)
    assert f"\x1b[31m✗ {fault}" in shown(picture)


def shown(picture, width=100):
    console = Console(
        file=StringIO(), width=width, force_terminal=True, color_system="standard", _environ={}
    )
    console.print(draw(picture), highlight=False)
    return console.file.getvalue()


def test_nothing_is_wrong_with_a_good_lab():
    assert painted().faults == ()
    assert "\x1b[31m" not in shown(painted())


def test_a_machine_that_ended_says_nothing_of_its_pods():
    picture = painted(OBJECTS, status(node2=None))
    assert {pod.state for pod in picture.machines[2].pods} == {"unknown"}


@pytest.mark.parametrize("width", [30, 80, 200])
def test_a_drawing_is_as_wide_as_the_terminal(width):
    console = Console(file=StringIO(), width=width)
    console.print(draw(painted()))
    assert max(map(len, console.file.getvalue().splitlines())) <= width


def test_rates_are_differences_and_a_new_machine_begins_at_none():
    before = {"a": Counts(100, 50, 1), "b": Counts(9, 9, 9)}
    after = {"a": Counts(300, 150, 5), "b": Counts(0, 0, 0), "c": Counts(1, 1, 1)}
    assert rates(before, after, 2.0) == {"a": Traffic(100, 50, 2), "b": Traffic(0, 0, 0)}
    assert (rate(999), rate(1500), rate(2e12)) == ("999 B/s", "1.5 kB/s", "2000.0 GB/s")


def test_counts_of_devices_and_of_policies():
    head = "Inter-|   Receive\n face |bytes\n"
    eth0 = "  eth0: 10 2 0 3 0 0 0 0 20 4 0 5 0 0 0 0\n"
    veth = "vethab: 70 1 0 1 0 0 0 0 80 1 0 2 0 0 0 0\n"
    assert read_devices(head + eth0 + veth) == Counts(10, 20, 11)
    name = "kubeproxy_network_policy_dropped_packets_total"
    labels = '{direction="ingress",namespace="a",policies="b"}'
    assert read_drops(f"{name}{labels} 3\n{name}{labels} 4.0\nother 9\n".encode()) == 7


def screenshot():
    """The drawing as docs has it: with the reader's own fonts, which nothing fetches."""
    pods = (*OBJECTS.pods[:-1], pod("shop-1", "node3", ready=False, waiting="CrashLoopBackOff"))
    drops = TRAFFIC | {"node3": Traffic(4100.0, 5200.0, 12.0)}
    picture = painted(replace(OBJECTS, pods=pods), down(status(), "node2", "proxy"), drops)
    console = Console(
        file=StringIO(), width=100, record=True, force_terminal=True, color_system="truecolor",
        _environ={},
    )  # fmt: skip
    console.print(draw(picture), highlight=False)
    fonts = CONSOLE_SVG_FORMAT.index("@font-face"), CONSOLE_SVG_FORMAT.index(".{unique_id}-matrix")
    plain = CONSOLE_SVG_FORMAT[: fonts[0]] + CONSOLE_SVG_FORMAT[fonts[1] :]
    return console.export_svg(title="podwire lab watch", code_format=plain, unique_id="watch")


def test_the_screenshot_in_docs_is_what_is_drawn():
    """After a change of the drawing: PODWIRE_SCREENSHOTS=write bin/test --sealed tests/lab/watch"""
    drawn = "\n".join(line.rstrip() for line in screenshot().splitlines()) + "\n"
    if os.environ.get("PODWIRE_SCREENSHOTS") == "write":
        SCREENSHOT.write_text(drawn)
    assert SCREENSHOT.read_text() == drawn
    assert "url(http" not in drawn
