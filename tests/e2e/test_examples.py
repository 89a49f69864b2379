"""The manifests of examples/, applied together to one lab, have their effect on packets."""

import os

import pytest

from tests.support.e2e.harness import CHECKOUT, Lab, eventually, made_lab, run

EXAMPLES = CHECKOUT / "examples"
NODES = {"node1": "172.31.0.11", "node2": "172.31.0.12"}
COUNT = 60
MANY = 400
TIMED_OUT = 28  # of curl


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """A lab with all examples, whose Pods are ready."""
    options = ("--dual-stack", f"--nodes={len(NODES)}")
    with made_lab(f"x{os.getpid()}", tmp_path_factory.mktemp("kube"), options) as made:
        made.kubectl("apply", "-f", str(EXAMPLES))
        for name in ("web", "shop-stable", "shop-canary"):
            made.kubectl("rollout", "status", f"deployment/{name}", "--timeout=60s")
        yield made


def names(lab: Lab, selector: str) -> set[str]:
    return {pod["metadata"]["name"] for pod in lab.pods(selector)}


def addresses(lab: Lab, service: str) -> list[str]:
    return lab.get("service", service)["spec"]["clusterIPs"]


def settled(lab: Lab, machine: str, address: str, port: int = 80) -> None:
    """Wait until requests reach every Pod of web.yaml."""
    expected = names(lab, "app=web")
    eventually(lambda: set(lab.ask_from_node(machine, address, port, COUNT)) == expected)


def is_dropped(lab: Lab, machine: str, address: str) -> bool:
    """True if a request gets no answer, not even a refusal."""
    done = run(*lab.exec_argv(machine, "curl", "--silent", "--max-time", "1", f"http://{address}"))
    assert done.returncode in {0, TIMED_OUT}, done.stderr
    return done.returncode == TIMED_OUT


def test_dual_stack(lab):
    found = addresses(lab, "web-dual")
    assert [":" in address for address in found] == [False, True]
    pod = min(names(lab, "app=web"))
    for address in found:
        settled(lab, "node1", address)
        assert set(lab.ask_from_pod(pod, address, 80, 5)) <= names(lab, "app=web")


def test_session_affinity(lab):
    (sticky,), (plain,) = addresses(lab, "web-sticky"), addresses(lab, "web")
    settled(lab, "node1", plain)  # its rules come with those of the other Service
    assert len(lab.ask_from_node("node1", sticky, 80, COUNT)) == 1
    web = names(lab, "app=web")
    for pod in web:
        answers = lab.ask_from_pod(pod, sticky, 80, 10)
        assert set(answers) < web
        assert list(answers.values()) == [10]


def test_node_ports(lab):
    settled(lab, "switch", NODES["node1"], 30080)
    settled(lab, "switch", NODES["node2"], 30081)


def test_source_ranges(lab):
    wait = "--for=jsonpath={.status.loadBalancer.ingress}"
    lab.kubectl("wait", "service/web-outside", wait, "--timeout=60s")
    status = lab.get("service", "web-outside")["status"]
    balancer = status["loadBalancer"]["ingress"][0]["ip"]
    settled(lab, "switch", balancer)
    assert is_dropped(lab, "control", balancer)
    assert not is_dropped(lab, "control", f"{NODES['node1']}:30081")
    ranges = '{"spec": {"loadBalancerSourceRanges": ["172.31.0.10/32"]}}'
    lab.kubectl("patch", "service", "web-outside", "-p", ranges)
    eventually(lambda: not is_dropped(lab, "control", balancer))
    assert is_dropped(lab, "switch", balancer)


def test_weights(lab):
    (address,) = addresses(lab, "shop")
    (stable,), (canary,) = names(lab, "track=stable"), names(lab, "track=canary")
    eventually(lambda: {stable, canary} == set(lab.ask_from_node("node1", address, 80, COUNT)))
    answers = lab.ask_from_node("node1", address, 80, MANY)
    assert answers[stable] + answers[canary] == MANY
    # A tenth, within five standard deviations of such a draw.
    assert abs(answers[canary] - MANY / 10) < 5 * (MANY * 0.1 * 0.9) ** 0.5
