"""What bin/test-vm says of steps that fail, and what it asks of machines."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.support.e2e.harness import CHECKOUT, run

HERE = Path(__file__).parent


def bash(tmp_path: Path, script: str, stdin: str = "") -> "subprocess.CompletedProcess[str]":
    libraries = f". {HERE}/steps.bash; . {HERE}/objects.bash"
    before = f"set -euo pipefail; export VM_LOG_FILE={tmp_path}/log; {libraries}"
    return run("bash", "-c", f"{before}\n{script}", input=stdin)


def test_a_failed_step_ends_the_run_and_shows_its_log(tmp_path: Path) -> None:
    bad = "bad() { echo why; false; echo never; }"
    done = bash(tmp_path, f"{bad}; step good echo fine; step bad bad; echo never")
    assert done.returncode == 1
    said = re.sub(r" +\d+ s", " N s", done.stdout).splitlines()
    expected = ["N s  good", "N s    took N s", "N s  bad", "N s  FAILED after N s: bad"]
    assert said == [f"podwire test-vm: {each}" for each in expected]
    assert done.stderr.splitlines()[-1].endswith(" bad") and "why\n" in done.stderr
    assert "never" not in done.stdout + done.stderr
    assert "fine" in (tmp_path / "log").read_text() and "fine" not in done.stdout


@pytest.mark.parametrize(
    ("command", "code", "reason"),
    [
        ("expect_refusal KVM sh -c 'echo no KVM; exit 1'", 0, "no KVM"),
        ("expect_refusal KVM sh -c 'echo other; exit 1'", 1, "did not say: KVM"),
        ("expect_refusal KVM echo KVM", 1, "did not fail: echo KVM"),
        ("expect_same_runs 1 Id=x $'Id=x\\nInvocationID=1'", 1, "0 units run, and 1 should: Id=x"),
        ("expect_same_runs 1 InvocationID= InvocationID=", 1, "0 units run"),
        ("expect_same_runs 1 InvocationID=a1 InvocationID=a2", 1, "> InvocationID=a2"),
        ("expect_same_runs 1 InvocationID=a1 ''", 1, "< InvocationID=a1"),
        ("expect_same_runs 1 InvocationID=a1 InvocationID=a1", 0, "1 units are still"),
        ("eventually 0 false", 1, "did not come true: false"),
        ("eventually 9 true", 0, ""),
    ],
)
def test_what_a_step_waits_for(tmp_path: Path, command: str, code: int, reason: str) -> None:
    done = bash(tmp_path, command)
    assert (done.returncode, reason in done.stdout) == (code, True), done.stdout


def test_every_pod_is_asked_for_all(tmp_path: Path) -> None:
    said = bash(tmp_path, "print_targets 10.96.0.9", "10.244.0.2\n10.244.1.2\n").stdout.split()
    assert said[:3] == ["10.244.0.2:8080", "10.244.1.2:8080", "10.96.0.9"]
    assert said[3:] == ["web.default.svc.cluster.local", "web"]


KUBECTL = """sleep() {{ :; }}
kubectl() {{
  echo "$2" >> {calls}
  [[ $(grep -c "^$2" {calls}) -gt 1 ]] || {{ echo "TLS handshake timeout" >&2; return 1; }}
  case "$2" in pods) echo 10.244.0.2; echo 10.244.1.2 ;; service) echo 10.96.0.9 ;; esac
}}"""


@pytest.mark.parametrize("waits", ["wait_pods", "wait_ready n1", "in_time find_targets 2"])
def test_a_server_that_is_too_slow_for_kubectl_is_asked_again(tmp_path: Path, waits: str) -> None:
    kubectl = KUBECTL.format(calls=tmp_path / "calls")
    done = bash(tmp_path, f'{kubectl}; targets=(); {waits}; echo "all: ${{#targets[@]}}"')
    assert done.returncode == 0 and "TLS handshake timeout" in done.stderr, done.stderr
    assert done.stdout.endswith("all: 5\n" if "targets" in waits else "all: 0\n")


def test_a_pod_without_an_address_is_waited_for(tmp_path: Path) -> None:
    kubectl = KUBECTL.format(calls=tmp_path / "calls").replace("-gt 1", "-gt 0")
    assert bash(tmp_path, f"{kubectl}; find_targets 3").returncode == 1


def test_the_objects_are_a_pod_on_each_node_and_a_service(tmp_path: Path) -> None:
    *pods, service = yaml.safe_load_all(bash(tmp_path, "print_objects node1 node2").stdout)
    assert [each["spec"]["nodeName"] for each in pods] == ["node1", "node2"]
    assert all(each["metadata"]["labels"] == service["spec"]["selector"] for each in pods)


@pytest.mark.parametrize(("maker", "code"), [("touch $1/made", 0), ("false; touch $1/made", 1)])
def test_only_what_was_made_to_its_end_is_kept(tmp_path: Path, maker: str, code: int) -> None:
    functions = f". {HERE}/keep.bash; note() {{ :; }}; make() {{ {maker}; }}"
    done = bash(tmp_path, f"{functions}; cache={tmp_path}; at=$(keep thing k make); echo $at")
    assert done.returncode == code, done.stderr
    assert done.stdout == ("" if code else f"{tmp_path}/thing-k\n")
    assert (tmp_path / "thing-k/made").exists() == (not code)


@pytest.mark.parametrize(
    "change",
    [
        "echo >> {root}/tests/kernel/kernel.bash",
        "echo >> {root}/tests/vm/init",
        "modules+=(xfs)",
        "package=linux-image-6.1.2",
    ],
)
def test_a_kernel_is_made_anew_when_what_makes_it_changes(tmp_path: Path, change: str) -> None:
    for name in ("vm/init", "kernel/kernel.bash"):
        path = tmp_path / "tests" / name
        path.parent.mkdir(parents=True)
        path.write_text("#")
    begin = f"root={tmp_path}; package=linux-image-6.1.1; modules=(ext4); . {HERE}/keep.bash"
    twice = f"key_of_kernel; key_of_kernel; {change.format(root=tmp_path)}; key_of_kernel"
    first, second, changed = bash(tmp_path, f"{begin}; {twice}").stdout.split()
    assert first == second != changed
    assert first.startswith("6.1.1-")


@pytest.mark.parametrize("words", [["--workers", "0"], ["--workers"], ["--other"]])
def test_wrong_options_are_refused_before_anything_is_made(words: list[str]) -> None:
    done = run(CHECKOUT / "bin/test-vm", *words)
    assert done.returncode == 1 and done.stderr.startswith("podwire test-vm: "), done.stderr
    assert done.stderr.count("\n") == 1


def test_shellcheck_finds_nothing() -> None:
    scripts = [*(HERE / name for name in ("enter", "run", "make-box")), *HERE.glob("*.bash")]
    done = run("shellcheck", "--external-sources", CHECKOUT / "bin/test-vm", *scripts, cwd=CHECKOUT)
    assert done.returncode == 0, done.stdout
