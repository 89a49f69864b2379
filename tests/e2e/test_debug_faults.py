"""Faults in a whole lab: what is broken on purpose is seen by packets, and healed.

The lab is not that of tests/e2e/test_debug.py: it has a tunnel, which two faults need.
"""

import os
import signal
import subprocess
from collections.abc import Iterator

import pytest

from debug.faults import journal
from debug.faults.carry import break_, heal
from debug.faults.scene import Wish
from debug.faults.table import FAULTS, find
from debug.places import of_lab
from lab.state import lab_dir
from tests.support.debug.diagnosis import diagnosed, read_rows, traced, wrong
from tests.support.debug.symptoms import SYMPTOMS, World, manifests, picture, pod, service
from tests.support.e2e.harness import CHECKOUT, Lab, eventually, made_lab, podwire, run

ROWS = read_rows(CHECKOUT / "docs/debug/faults.md")
ELSEWHERE = {"dead-affinity", "ipam-leak", "proxy-hung"}  # not in SYMPTOMS


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """A lab of two nodes, with Pods on both."""
    options = ("--nodes", "2", "--overlay", "vxlan")
    with made_lab(f"f{os.getpid()}", tmp_path_factory.mktemp("kube"), options) as made:
        made.kubectl("apply", "-f", "-", stdin=manifests())
        made.kubectl("wait", "--for=condition=Ready", "pod", "--all", "--timeout=60s")
        yield made


@pytest.fixture(scope="module")
def world(lab: Lab) -> World:
    return World.of(of_lab(lab.name))


@pytest.fixture(scope="module")
def whole(world: World) -> dict[str, object]:
    """What the lab is like when nothing is broken."""
    eventually(lambda: world.http("client", world.cluster_ip("far")))
    eventually(lambda: wrong(world) == [])
    return picture(world.ground)


@pytest.fixture
def broken(lab: Lab, whole: dict[str, object]) -> Iterator[object]:  # whole: before all faults
    """Break something; afterwards nothing is recorded as broken."""
    folder = lab_dir(lab.name)
    spec = folder.spec()
    assert spec

    def make(name: str, hold: bool = True, **wish: str) -> None:
        break_(folder, spec, find(name), Wish(**wish), 120, hold)

    yield make
    assert heal(folder).problems == ()
    assert journal.load(folder.path) == ()


@pytest.mark.parametrize("name", SYMPTOMS)
def test_a_fault_is_seen_and_healed(lab: Lab, world: World, broken, name: str) -> None:
    symptom = SYMPTOMS[name]
    eventually(lambda: symptom.works(world), 15)
    broken(name, **dict(symptom.wish))
    eventually(lambda: not symptom.works(world), 10)
    assert symptom.still(world)
    assert ROWS[name] == (diagnosed(world, name), traced(world, symptom))
    (healed,) = heal(lab_dir(lab.name), name).faults
    assert healed.startswith(name)
    eventually(lambda: symptom.works(world), 15)


def test_every_fault_that_can_be_made_is_tried() -> None:
    assert {name for name, one in FAULTS.items() if one.plan} == {*SYMPTOMS, *ELSEWHERE} == {*ROWS}


@pytest.mark.parametrize("name", ["rules-wiped", "bridge-filter-off"])
def test_podwire_repairs_what_nobody_holds(world: World, broken, name: str) -> None:
    assert FAULTS[name].repaired
    broken(name, hold=False)
    eventually(lambda: SYMPTOMS[name].works(world), 3)


def test_affinity_pins_a_client_to_a_deaf_pod(world: World, broken) -> None:
    both = world.cluster_ip("both")
    pinned = world.answer("client", both)
    assert {world.answer("client", both) for _ in range(4)} == {pinned}
    broken("dead-affinity", service="both", pod=pinned)
    assert {world.answer("client", both) for _ in range(3)} == {""}
    assert diagnosed(world, "dead-affinity") == ROWS["dead-affinity"][0]
    other = {"near": "far", "far": "near"}[pinned]
    assert world.answer("client", world.ip(other), 8080) == other
    slices = [*World.of(world.ground).cluster.slices_of(("default", "both"))]
    assert [end.conditions.ready for one in slices for end in one.endpoints] == [True, True]


def test_a_range_that_is_used_up(lab: Lab, world: World, broken) -> None:
    broken("ipam-leak", node="node1")
    lab.kubectl("apply", "-f", "-", stdin=pod("late", "node1"))
    try:
        eventually(lambda: "no free address" in lab.kubectl("get", "events"))
        assert diagnosed(world, "ipam-leak") == ROWS["ipam-leak"][0]
        heal(lab_dir(lab.name), "ipam-leak")
        lab.kubectl("wait", "--for=condition=Ready", "pod/late", "--timeout=60s")
    finally:
        lab.kubectl("delete", "pod", "late", "--now")


def test_a_proxy_that_hangs_learns_of_nothing_new(lab: Lab, world: World, broken) -> None:
    broken("proxy-hung", node="node1")
    lab.kubectl("apply", "-f", "-", stdin=service("fresh", "app", "far"))
    try:
        address = World.of(world.ground).cluster_ip("fresh")
        eventually(lambda: world.http("node2", address))
        assert not world.http("client", address)
        assert diagnosed(world, "proxy-hung") == ROWS["proxy-hung"][0]
        heal(lab_dir(lab.name), "proxy-hung")
        eventually(lambda: world.http("client", address))
    finally:
        lab.kubectl("delete", "service", "fresh")


def test_the_timer_heals_and_a_killed_break_can_be_healed(lab: Lab, world: World, broken) -> None:
    record = lab_dir(lab.name).path / journal.FILE
    argv = [CHECKOUT / "bin/podwire", "break", "forwarding-off", "--name", lab.name]
    with subprocess.Popen([*argv, "--for", "1h"]) as process:
        eventually(record.exists)
        process.send_signal(signal.SIGKILL)
    podwire("heal", "--all", "--name", lab.name)
    assert world.pod_to_pod() and not record.exists()
    broken("forwarding-off")
    podwire("break", "forwarding-off", "--name", lab.name, "--for", "1s")  # anew, and for less
    eventually(lambda: not record.exists() and world.pod_to_pod())


def test_a_lesson_goes_from_the_symptom_to_the_cause_and_heals(lab: Lab, world: World) -> None:
    argv = [str(CHECKOUT / "bin/podwire"), "lesson", "dns-down", "--name", lab.name]
    done = run(*argv, input="\nc\n")
    assert done.returncode == 0, done.stdout + done.stderr
    parts = ("Symptom: On node1", "Hint 1: ", "DNS does not answer.", "Cause: ", "is healed")
    places = [done.stdout.index(part) for part in parts]
    assert places == sorted(places)
    assert "Hint 2" not in done.stdout
    assert world.resolves("client")


def _is_same(found: dict[str, object], whole: dict[str, object]) -> bool:
    assert {key: found[key] for key in whole if found[key] != whole[key]} == {}
    return True


def test_nothing_is_left_of_all_faults(world: World, whole: dict[str, object]) -> None:
    eventually(lambda: _is_same(picture(world.ground), whole), 15)
