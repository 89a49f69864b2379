"""The Node object, admission of Pods, flags, and the counting of probes."""

import dataclasses

import pytest
from click.testing import CliRunner

from control.agent.admission import admit
from control.agent.cli import main
from control.agent.node import describe
from control.agent.node.describe import HostFacts, NodeIdentity, differs, status
from control.agent.pods.probes import ProbeResult, ProbeSchedule, ProbeTally
from control.api.container import Probe
from control.api.node import Node, NodeStatus
from control.api.types.conform import conform_message
from tests.support.control.pods import pod

ME = NodeIdentity("n1", ("172.31.0.11", "fd00::11"), (("zone", "a"),))
MACHINE = HostFacts(4, 8 * 1024**3, 4 * 1024**3, 100 * 1024**3, 50 * 1024**3, 32768, 100)


def report(machine=MACHINE, before=(), problem="", now=0.0, short=()):
    known, lacks = NodeStatus(conditions=list(before)), frozenset(short)
    return status(ME, machine, known, network_problem=problem, images=(), now=now, shortages=lacks)


def conditions(found):
    return {it.type: (it.status, it.reason) for it in found.conditions}


def test_a_ready_node():
    found = report()
    assert conditions(found) == {
        "MemoryPressure": ("False", "KubeletHasSufficientMemory"),
        "DiskPressure": ("False", "KubeletHasNoDiskPressure"),
        "PIDPressure": ("False", "KubeletHasSufficientPID"),
        "Ready": ("True", "KubeletReady"),
    }
    assert [(it.type, it.address) for it in found.addresses] == [
        ("InternalIP", "172.31.0.11"),
        ("InternalIP", "fd00::11"),
        ("Hostname", "n1"),
    ]
    assert found.allocatable["memory"] == "8388608Ki" and found.allocatable["pods"] == "110"


def test_what_is_reserved_is_not_allocatable():
    known = NodeStatus()
    found = status(
        *(ME, MACHINE, known),
        network_problem="",
        images=(),
        now=0.0,
        reserved={"memory": 100 * 1024**2},
    )
    assert found.capacity["memory"] == "8388608Ki"
    assert found.allocatable == found.capacity | {"memory": "8286208Ki"}


def test_a_node_under_pressure():
    tight = HostFacts(4, 8 * 1024**3, 50 * 1024**2, 100, 5, 1000, 990)
    found = conditions(report(tight, short=("MemoryPressure", "DiskPressure")))
    assert [found[name][0] for name in ("MemoryPressure", "DiskPressure", "PIDPressure")] == [
        "True"
    ] * 3


def test_without_a_network_it_is_not_ready_and_says_why():
    ready = next(it for it in report(problem="no networks found").conditions if it.type == "Ready")
    assert (ready.status, ready.reason) == ("False", "KubeletNotReady")
    assert "NetworkPluginNotReady message:no networks found" in ready.message


def test_transition_times_and_changes_worth_a_write():
    first = report(now=0.0)
    second = report(before=first.conditions, now=60.0)
    assert {it.last_transition_time for it in second.conditions} == {"1970-01-01T00:00:00Z"}
    assert {it.last_heartbeat_time for it in second.conditions} == {"1970-01-01T00:01:00Z"}
    assert not differs(first, second)
    less = dataclasses.replace(MACHINE, memory_available=3 * 1024**3)
    assert not differs(first, report(less))
    assert differs(first, report(problem="x"))
    stored = conform_message("core.NodeStatus", first.wire())[0]
    assert stored["capacity"]["memory"] == "8Gi"
    assert not differs(NodeStatus.parse(stored), first)


def test_a_node_declares_that_it_takes_the_clients_websockets():
    """kube-apiserver 1.36 and later speaks SPDY to a node that does not declare it."""
    first = report()
    assert first.wire()["declaredFeatures"] == [
        "ExtendWebSocketsToKubelet",
        "InPlacePodLevelResourcesVerticalScaling",
        "InPlacePodVerticalScalingInitContainers",
    ]
    older = first.model_copy(update={"declared_features": []})
    assert differs(older, first)


def test_labels():
    found = describe.labels(ME)
    assert found["kubernetes.io/hostname"] == "n1" and found["kubernetes.io/os"] == "linux"
    assert found["zone"] == "a"


def test_facts_of_the_host(tmp_path):
    seen = describe.look(tmp_path)
    assert seen.cpus > 0 and seen.memory > 0 and seen.disk > 0 and seen.kernel


ANNOTATION = "container.apparmor.security.beta.kubernetes.io"
NODE = Node.parse(
    {
        "metadata": {"name": "n1", "labels": {"disk": "ssd"}},
        "status": {"allocatable": {"cpu": "1", "memory": "1Gi", "pods": "3"}},
    }
)


def asks(cpu, **more):
    return pod(container={"resources": {"requests": {"cpu": cpu}}}, **more)


def test_admission():
    assert admit(asks("500m"), [asks("500m")], NODE) is None
    refusal = admit(asks("600m"), [asks("500m")], NODE)
    assert refusal.reason == "OutOfcpu"
    assert refusal.message == (
        "Node didn't have enough resource: cpu, requested: 600, used: 500, capacity: 1000"
    )
    assert admit(pod(), [pod()] * 3, NODE).reason == "OutOfpods"
    assert admit(pod(nodeSelector={"disk": "ssd"}), [], NODE) is None
    assert admit(pod(nodeSelector={"disk": "hdd"}), [], NODE).reason == "NodeAffinity"


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("net.ipv4.tcp_syncookies", None),
        ("net/ipv4/tcp_syncookies", None),
        ("kernel.panic", "SysctlForbidden"),
        ("net.ipv4.ip_forward", "SysctlForbidden"),
        ("net.ipv4.../../kernel/panic", "SysctlForbidden"),
    ],
)
def test_sysctls(name, reason):
    item = pod(securityContext={"sysctls": [{"name": name, "value": "1"}]})
    found = admit(item, [], NODE)
    assert (found.reason if found else None) == reason


@pytest.mark.parametrize(
    ("changes", "refused"),
    [
        ({}, False),
        ({"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}, False),
        ({"securityContext": {"appArmorProfile": {"type": "RuntimeDefault"}}}, True),
        ({"container": {"securityContext": {"appArmorProfile": {"type": "Localhost"}}}}, True),
        ({"meta": {"annotations": {f"{ANNOTATION}/main": "runtime/default"}}}, True),
        ({"meta": {"annotations": {f"{ANNOTATION}/main": "unconfined"}}}, False),
    ],
)
def test_a_pod_that_asks_for_app_armor_is_refused(changes, refused):
    found = admit(pod(**changes), [], NODE)
    assert (found.reason if found else None) == ("AppArmor" if refused else None)


@pytest.mark.parametrize(
    ("answers", "result"),
    [
        ("F", "U"),
        ("FF", "U"),
        ("FFF", "F"),
        ("FFSFF", "S"),
        ("FFFS", "S"),
        ("FUFUF", "F"),
        ("S", "S"),
    ],
)
def test_thresholds(answers, result):
    kinds = {"F": ProbeResult.FAILURE, "S": ProbeResult.SUCCESS, "U": ProbeResult.UNKNOWN}
    tally = ProbeTally(ProbeResult.UNKNOWN)
    for answer in answers:
        tally = tally.count(kinds[answer], Probe())
    assert tally.result is kinds[result]


def test_a_success_threshold():
    tally = ProbeTally(ProbeResult.FAILURE)
    probe = Probe(success_threshold=2)
    tally = tally.count(ProbeResult.SUCCESS, probe)
    assert tally.result is ProbeResult.FAILURE
    assert tally.count(ProbeResult.SUCCESS, probe).result is ProbeResult.SUCCESS


def test_readiness_probes_early_until_the_first_success():
    schedule, probe = (
        ProbeSchedule(Probe(period_seconds=5), ProbeResult.FAILURE, eager=True),
        Probe(),
    )
    tally = ProbeTally(ProbeResult.FAILURE)
    assert [round(schedule.pause(tally, tries), 1) for tries in range(8)] == [
        0.1,
        0.2,
        0.4,
        0.8,
        1.6,
        3.2,
        5,
        5,
    ]
    assert schedule.pause(tally.count(ProbeResult.SUCCESS, probe), 0) == 5


@pytest.mark.parametrize(
    ("flags", "text"),
    [
        (["--node-ip", "x"], "--node-ip: 'x' does not appear to be an IPv4 or IPv6 address"),
        (["--node-ip", "1.1.1.1,2.2.2.2"], "at most one IPv4 and one IPv6"),
        (["--cluster-cidr", "10.0.0.1/8"], "--cluster-cidr: 10.0.0.1/8 has host bits set"),
        (["--node-labels", "x"], "--node-labels: 'x' is not KEY=VALUE"),
        (["--tls-cert", "/x"], "go together"),
        (["--overlay", "x"], "Invalid value for '--overlay'"),
        ([], "Missing option '--kubeconfig'"),
    ],
)
def test_an_invalid_flag_gives_one_clear_line(flags, text):
    done = CliRunner().invoke(main, flags)
    assert done.exit_code == 2 and text in done.output
    assert "Traceback" not in done.output
