"""Faults as values: their texts, their plans, their record, and the page about them."""

import re
import signal
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from msgspec.structs import replace

from debug.cluster import ClusterState
from debug.faults import carry, journal
from debug.faults.acts.base import FaultError, Spot, Stage
from debug.faults.acts.flows import _many
from debug.faults.acts.kernel import Setting
from debug.faults.acts.node import Paused
from debug.faults.acts.objects import Changed, inverse
from debug.faults.cli import break_, heal, lesson
from debug.faults.commands import parse_time
from debug.faults.fault import source_url
from debug.faults.scene import Scene, Wish
from debug.faults.table import FAULTS, find
from debug.faults.words import filled, names
from debug.places import Ground
from proxy.objects.wire import EndpointSlice, Node, Service
from proxy.policy.wire import Pod
from tests.support.e2e.harness import CHECKOUT

LIMITS = {
    "overlay": ("routes", "--overlay vxlan", {"strict-rp-filter", "overlay-filtered"}),
    "mode": (
        *("ebpf", "mode"),
        {"bridge-filter-off", "rules-wiped", "stale-udp", "nodeport-loopback"},
    ),
}
POSSIBLE = [fault for fault in FAULTS.values() if fault.plan]


def node(number: int) -> Node:
    return Node.read(
        {
            "metadata": {"name": f"node{number}"},
            "spec": {"podCIDRs": ["fd00::/64", f"10.244.{number}.0/24"]},
            "status": {"addresses": [{"type": "InternalIP", "address": f"172.31.0.1{number}"}]},
        }
    )


def pod(name: str, number: int, ip: str) -> Pod:
    return Pod.read(
        {
            "metadata": {"name": name, "namespace": "default", "labels": {"app": "web"}},
            "spec": {"nodeName": f"node{number}"},
            "status": {"phase": "Running", "podIP": ip, "podIPs": [{"ip": ip}]},
        }
    )


def service(namespace: str, name: str, ip: str) -> Service:
    spec = {"selector": {"app": "web"}, "clusterIP": ip, "ports": [{"port": 80, "nodePort": 30080}]}
    return Service.read({"metadata": {"name": name, "namespace": namespace}, "spec": spec})


def endpoints() -> EndpointSlice:
    labels = {"kubernetes.io/service-name": "web"}
    metadata = {"name": "web-1", "namespace": "default", "labels": labels}
    return EndpointSlice.read({"metadata": metadata, "ports": [{"port": 8080, "protocol": "TCP"}]})


CLUSTER = ClusterState(
    pods=(pod("a", 1, "10.244.1.2"), pod("b", 1, "10.244.1.3"), pod("c", 2, "10.244.2.2")),
    services=(
        service("kube-system", "kube-dns", "10.96.0.10"),
        service("default", "web", "10.96.0.1"),
    ),
    slices=(endpoints(),),
    nodes=(node(1), node(2)),
)


def scene(**changes: Any) -> Scene:
    base: dict[str, Any] = {"mode": "iptables", "overlay": "vxlan", "ports": {"node1": ("veth1",)}}
    return Scene(CLUSTER, ("node1", "node2"), **{**base, **changes})


@pytest.mark.parametrize(
    "fault", [one for one in FAULTS.values() if one.plan], ids=lambda f: f.name
)
def test_a_plan_is_recorded_whole(fault: Any, tmp_path: Path) -> None:
    acts = tuple(fault.plan(scene()))
    assert acts and fault.find and fault.does and fault.symptom and fault.cause and fault.heal
    broken = journal.Broken(fault.name, "node1", 1.5, acts, journal.Timer(1, 2))
    journal.store(tmp_path, (broken,))
    assert journal.load(tmp_path) == (broken,)
    keys = [act.key for act in acts if act.key]
    assert len(keys) == len(set(keys)), "a fault does not stand in its own way"
    for text in (fault.does, fault.symptom, *(look.command for look in fault.find)):
        assert "{" not in filled(text, names(scene()))


@pytest.mark.parametrize("field", LIMITS)
def test_a_fault_says_which_labs_it_needs(field: str) -> None:
    value, said, want = LIMITS[field]
    refused = set()
    for fault in FAULTS.values():
        try:
            tuple(fault.plan(scene(**{field: value})) if fault.plan else ())
        except FaultError as err:
            assert said in str(err)
            refused.add(fault.name)
    assert refused == want


def test_what_is_not_there_is_named() -> None:
    alone = replace(CLUSTER, pods=CLUSTER.pods[:1], services=(), slices=())
    for name, said in (
        ("duplicate-node-ip", "two nodes"),
        ("hairpin-off", "no Pods on its bridge"),
        ("stale-udp", "no Service kube-system/kube-dns"),
        ("wrong-selector", "examples/web.yaml"),
    ):
        with pytest.raises(FaultError, match=said):
            tuple(find(name).plan(Scene(alone, ("node1",))))  # type: ignore[misc]
    with pytest.raises(FaultError, match="two Pods on node2"):
        tuple(find("duplicate-mac").plan(scene(wish=Wish(pod="c"))))  # type: ignore[misc]
    with pytest.raises(FaultError, match="no Pod default/x that runs"):
        scene(wish=Wish(pod="default/x")).pod  # noqa: B018
    with pytest.raises(FaultError, match="no node node9 runs"):
        scene(wish=Wish(node="node9")).node  # noqa: B018
    with pytest.raises(FaultError, match="no fault 'x'"):
        find("x")


def test_the_wish_decides() -> None:
    assert scene(wish=Wish(pod="c")).node == "node2"
    assert scene(wish=Wish(node="node2", service="web")).pod.key == ("default", "c")
    assert scene().service.key == ("default", "web"), "the cluster's own are left alone"
    held = tuple(find("rules-wiped").plan(scene()))  # type: ignore[misc]
    free = tuple(find("rules-wiped").plan(scene(hold=False)))  # type: ignore[misc]
    assert [type(act).__name__ for act in held] == ["Paused", "Wiped"]
    assert [type(act).__name__ for act in free] == ["Wiped"]


def test_a_patch_is_undone_by_its_inverse() -> None:
    whole = {"spec": {"selector": {"app": "web"}, "ports": [{"port": 80}], "type": "ClusterIP"}}
    patch = {"spec": {"selector": {"x": "y"}, "ports": [], "affinity": "ClientIP"}}
    want = {"spec": {"selector": {"x": None}, "ports": [{"port": 80}], "affinity": None}}
    assert inverse(patch, whole) == want


def test_entries_of_a_full_table_all_differ() -> None:
    made = [*_many(70_000)]
    assert len(set(made)) == 70_000
    assert len({len(one) for one in made}) == 1


def test_two_faults_of_one_thing_are_refused() -> None:
    act = Setting(spot=Spot("n", cookie=1), name="net/x", value="0", before="1")
    first, other = (journal.Broken(name, "n", 0.0, (act,)) for name in ("one", "two"))
    with pytest.raises(FaultError, match=r"heal that first: podwire heal one"):
        carry._refuse_overlap(other, (first,))
    pause = Paused(node="n", component="proxy", pid=1, started=1)
    both = [journal.Broken(name, "n", 0.0, (pause,)) for name in ("one", "two")]
    carry._refuse_overlap(both[1], both[:1])


def test_a_process_is_paused_only_if_it_is_the_one(tmp_path: Path, monkeypatch: Any) -> None:
    sent: list[signal.Signals] = []
    monkeypatch.setattr("debug.faults.acts.node.os.kill", lambda _, number: sent.append(number))
    stage = Stage(Ground(()), tmp_path, lambda *_: 1)
    act = Paused(node="n", component="proxy").prepared(stage)
    act.do(stage)
    act.undo(stage)
    assert sent == [signal.SIGSTOP, signal.SIGCONT]
    replace(act, started=act.started + 1).undo(stage)
    assert len(sent) == 2
    with pytest.raises(FaultError, match="n runs no proxy"):
        Paused(node="n", component="proxy").prepared(Stage(Ground(()), tmp_path))


def test_the_record_of_another_time_is_refused(tmp_path: Path) -> None:
    assert journal.load(tmp_path) == ()
    (tmp_path / journal.FILE).write_text('[{"fault": 1}]')
    with pytest.raises(FaultError, match="make the lab anew"):
        journal.load(tmp_path)
    journal.store(tmp_path, ())
    journal.store(tmp_path, ())
    assert journal.load(tmp_path) == ()


def test_the_objects_that_change_are_a_services() -> None:
    (act,) = find("wrong-target-port").plan(scene())  # type: ignore[misc]
    assert isinstance(act, Changed)
    port = {"port": 80, "protocol": "TCP", "targetPort": 1, "nodePort": 30080}
    assert act.patch == {"spec": {"ports": [port]}}


@pytest.mark.parametrize(("text", "seconds"), [("30s", 30), ("10m", 600), ("2h", 7200)])
def test_times(text: str, seconds: float) -> None:
    assert parse_time(text) == seconds
    for wrong in ("", "0s", "5", "-1m", "1d", "999999h", "1m\n"):
        with pytest.raises(FaultError, match="want 1s"):
            parse_time(wrong)


def test_the_page_lists_every_fault_in_order() -> None:
    page = (CHECKOUT / "docs/debug/faults.md").read_text()
    assert re.findall(r'^\| <a id="([a-z0-9-]+)"></a>`\1` \|', page, re.MULTILINE) == [*FAULTS]
    for fault in FAULTS.values():
        assert bool(fault.plan) != bool(fault.why_not)
        assert all(source_url(one).startswith("https://") for one in fault.sources)
    assert source_url("k/k#76") == "https://github.com/kubernetes/kubernetes/issues/76"


def test_commands_without_a_lab() -> None:
    def run(command: Any, *argv: str) -> tuple[int, str]:
        done = CliRunner().invoke(command, [*argv])
        return done.exit_code, done.output

    code, text = run(break_, "--list", "--name", "no-such-lab")
    assert code == 0 and "neighbor-overflow" in text and "Cannot be made here" in text
    code, text = run(lesson, "mtu-black-hole", "--show")
    assert code == 0 and "Hint 2" in text and "Cause:" in text and "{" not in text
    code, text = run(lesson)
    assert code == 0 and "vxlan-checksum" not in text
    code, text = run(break_)
    assert code == 2 and "--list" in text
    code, text = run(break_, "nothing")
    assert code == 1 and "no fault 'nothing'" in text and "Traceback" not in text
    code, text = run(break_, "dns-down", "--name", "no-such-lab")
    assert code == 1 and "no lab no-such-lab is up" in text
    code, text = run(heal, "dns-down", "--all")
    assert code == 2
