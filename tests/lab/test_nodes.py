"""Nodes that come and go: their names, numbers and files, and what a drain moves."""

import asyncio
import json
import os
from dataclasses import replace

import pytest
from click.testing import CliRunner

from control.api.meta import Status
from control.api.node import Node
from control.api.pod import Pod
from control.client import ApiError
from control.client.errors import Operation
from control.cloud.lab.instances import LabInstances
from control.linux.processes import start_ticks
from lab.cloud import write_machines, write_running
from lab.halt import report_silent
from lab.leave import movable
from lab.members import more_hollow, new_nodes, zoned
from lab.node_cli import node
from lab.parts import machines
from lab.spec import LabSpecError, NodeSpec, make_spec
from lab.state import Keeper, LabDir
from lab.supervise import fork


@pytest.fixture
def spec():
    return make_spec("a", nodes=3)


def without(spec, *names):
    nodes = tuple(node for node in spec.nodes if node.name not in names)
    return replace(spec, nodes=nodes)


def test_a_node_without_a_name_takes_the_lowest_free_number(spec):
    (node,) = new_nodes(without(spec, "node2"), ())
    assert (node.name, node.number) == ("node2", 2)


def test_other_nodes_keep_their_addresses_when_one_leaves(spec):
    rest = machines(without(spec, "node1"))
    assert {m.name: m.ips for m in rest[1:]} == {m.name: m.ips for m in machines(spec)[2:]}


def test_names_of_nodes_do_not_meet_numbers(spec):
    """A node called node4 has number 4, or no other has that name later."""
    named = without(spec, "node2", "node3")
    (odd,) = new_nodes(named, ["node3"])
    nodes = (*named.nodes, odd)
    for _ in range(4):
        (more,) = new_nodes(replace(spec, nodes=nodes), ())
        nodes = (*nodes, more)
    assert len({node.name for node in nodes}) == len({node.number for node in nodes}) == 6


def test_a_lab_gets_more_hollow_nodes_as_far_as_there_is_room(spec):
    assert more_hollow(spec, 5).hollow_names == tuple(f"hollow-{n}" for n in range(1, 6))
    assert more_hollow(more_hollow(spec, 5), 2).hollow == 7
    with pytest.raises(LabSpecError, match="each of 257 nodes needs a /24"):
        more_hollow(spec, 254)
    large = replace(spec, pod_cidrs=("10.128.0.0/14",))
    with pytest.raises(LabSpecError, match="lab a has 400, and may have 500"):
        more_hollow(more_hollow(large, 400), 101)


@pytest.mark.parametrize(
    "more", [["node7"], ["--zone=z1"], ["--label=a=b"], ["--taint=a:NoExecute"]]
)
def test_hollow_nodes_take_neither_names_nor_labels(more):
    done = CliRunner().invoke(node, ["add", "--hollow=2", *more])
    assert done.exit_code == 2 and "--hollow takes no NODE" in done.output


def test_labels_zone_and_taints_reach_the_agent(spec):
    added = new_nodes(spec, ["gpu1"], ["disk=fast"], ["gpu=:NoSchedule"], "z1")
    whole = replace(spec, nodes=(*spec.nodes, *added))
    (argv,) = (c.argv for c in machines(whole)[-1].components if c.name == "agent")
    assert "--node-labels=disk=fast" in argv
    assert "--register-with-taints=gpu=:NoSchedule" in argv
    assert "--cloud-provider=external" in argv


async def test_the_cloud_is_told_of_machines_and_zones(tmp_path, spec):
    lab = LabDir(tmp_path / "a")
    etc = lab.machine("control") / "etc"
    etc.mkdir(parents=True)
    write_machines(lab, zoned(spec, ["node2=z2"]))
    write_running(lab, spec, ["control", "node2"])
    cloud = LabInstances(etc)
    node = Node.parse({"metadata": {"name": "node2"}, "spec": {"providerID": "lab://a/node2"}})
    found = await cloud.metadata(node)
    assert (found.zone, found.region) == ("z2", "a")
    assert [it.address for it in found.addresses] == ["172.31.0.12", "node2"]
    assert not await cloud.shut_down(node)
    write_running(lab, spec, ["control"])
    assert await cloud.shut_down(node)
    write_machines(lab, without(spec, "node2"))
    assert not await cloud.exists(node)


@pytest.mark.parametrize("zone", ["node2", "node2=a b", "other=z"])
def test_a_zone_that_cannot_be_is_refused(spec, zone):
    with pytest.raises(LabSpecError, match=r"want NODE=ZONE|--zone node2=a b|no node other"):
        zoned(spec, [zone])


@pytest.mark.parametrize(
    ("names", "labels", "taints", "says"),
    [
        (["node1"], (), (), "has a node of this name already"),
        (["x", "x"], (), (), "has a node of this name already"),
        (["control"], (), (), "are taken"),
        (["switch"], (), (), "are taken"),
        (["a" * 16], (), (), "1 to 15 lower-case letters"),
        (["../x"], (), (), "1 to 15 lower-case letters"),
        (["X"], (), (), "1 to 15 lower-case letters"),
        (["a-b"], (), (), "1 to 15 lower-case letters"),
        (["n"], ["a"], (), "want KEY=VALUE"),
        (["n"], ["a=b,c=d"], (), "--label a=b,c=d"),
        (["n"], ["node-role.kubernetes.io/x="], (), "kubectl label node"),
        (["n"], (), ["a"], "KEY"),
        (["n"], (), ["a:Never"], "NoSchedule, PreferNoSchedule, NoExecute"),
        (["n"], (), ["a=b,c:NoSchedule"], "--taint"),
        ([f"n{i}" for i in range(98)], (), (), "1 to 100 nodes"),
    ],
)
def test_a_node_that_cannot_be_is_refused(spec, names, labels, taints, says):
    with pytest.raises(LabSpecError, match=says):
        new_nodes(spec, names, labels, taints)


def test_pod_ranges_limit_the_number_of_nodes():
    small = make_spec("a", nodes=2, pod_cidr="10.9.0.0/23")
    with pytest.raises(LabSpecError, match="too small"):
        new_nodes(small, ())


def test_a_spec_survives_its_file(tmp_path, spec):
    lab = LabDir(tmp_path / "a")
    lab.create(spec)
    assert lab.spec() == spec
    stopped = NodeSpec("x", 9, (("a", "b"),), ("k:NoExecute",), stopped=True)
    more = replace(spec, nodes=(*spec.nodes, stopped), stopped=True)
    lab.write_spec(more)
    assert lab.spec() == more


def test_a_keeper_of_another_boot_is_not_alive():
    """After a reboot another process may have its ID, and even its start time."""
    pid = os.getpid()
    ticks = start_ticks(pid)
    assert Keeper(pid, ticks).alive
    assert not Keeper(pid, ticks, "of-yesterday").alive


def test_a_lab_with_a_number_of_nodes_is_read(tmp_path, spec):
    lab = LabDir(tmp_path / "a")
    lab.create(spec)
    document = {"name": "a", "nodes": 3, "proxy": "iptables", "overlay": "routes"}
    document |= {"store": "sqlite", "counters": "off"}
    document |= {"pod_cidrs": ["10.244.0.0/16"], "service_cidrs": ["10.96.0.0/16"]}
    lab.write("lab.json", document)
    assert lab.spec() == spec


def test_a_lab_of_a_newer_podwire_is_read(tmp_path, spec):
    """``lab list`` and ``lab down`` work for it."""
    lab = LabDir(tmp_path / "a")
    lab.create(spec)
    document = json.loads((lab.path / "lab.json").read_text()) | {"of-tomorrow": [1]}
    document["nodes"][0]["of-tomorrow"] = True
    lab.write("lab.json", document)
    assert lab.spec() == spec


def pod(name, phase="Running", owner=None):
    owners = [{"apiVersion": "v1", "kind": owner, "name": "o", "uid": "u"}] if owner else []
    return Pod.parse(
        {
            "metadata": {"name": name, "namespace": "default", "ownerReferences": owners},
            "status": {"phase": phase},
        }
    )


def test_a_drain_leaves_daemons_and_what_is_done():
    pods = [pod("a", owner="ReplicaSet"), pod("b"), pod("c", owner="DaemonSet")]
    pods += [pod("d", "Succeeded", "Job"), pod("e", "Failed")]
    assert [item.metadata.name for item in movable(pods)] == ["a", "b"]


def test_a_change_waits_for_another(tmp_path, spec):
    """The lock is the lab's: a second command finds the first one's nodes."""
    lab = LabDir(tmp_path / "a")
    lab.create(spec)
    ready, began = os.pipe()

    def other():
        os.write(began, b"x")
        with lab.changing():
            os._exit(0 if (lab.spec() or spec).stopped else 1)

    with lab.changing():
        pid = fork(other)
        assert os.read(ready, 1) == b"x"
        lab.write_spec(replace(spec, stopped=True))
    assert os.waitpid(pid, 0)[1] == 0


def test_a_node_that_another_part_writes_is_reported_silent_all_the_same():
    """The cloud initializes a new Node while it is stopped or removed."""
    written = []

    class Api:
        def __init__(self):
            self.version = 1

        async def get(self, *_):
            conditions = [{"type": "Ready", "status": "True"}]
            meta = {"name": "n", "resourceVersion": str(self.version)}
            return Node.model_validate({"metadata": meta, "status": {"conditions": conditions}})

        async def update_status(self, _, node):
            if self.version == 1:
                self.version = 2
                conflict = Status(code=409, reason="Conflict")
                raise ApiError(Operation("update", "Node", name="n"), conflict)
            written.append((node.metadata.resource_version, node.status.conditions[0].status))

    asyncio.run(report_silent(Api(), "n"))
    assert written == [("2", "Unknown")]
