"""The lab itself: its traces on the host, and its output."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.support.e2e.harness import CHECKOUT, WEB, Lab, eventually, made_lab, podwire, run

PODWIRE = CHECKOUT / "bin" / "podwire"


def host_state(lab):
    """Return everything of the host that a lab could have changed; others may come and go."""
    names = {
        "links": "ip -j link",
        "addresses": "ip -j addr",
        "rules": "nft list ruleset",
        "routes": "ip route show table all",
        "sysctls": "sysctl -a -r ^net",
    }
    state = {name: run(*command.split()).stdout for name, command in names.items()}
    # Counters and ages change by themselves.
    for name, words in (
        ("sysctls", ("nf_conntrack_count", "random", "rmem", "uuid")),
        ("routes", ("expires", "cache")),
    ):
        lines = state[name].splitlines()
        state[name] = "\n".join(x for x in lines if not any(word in x for word in words))
    state["legacy"] = legacy_rules()
    links = json.loads(state.pop("links"))
    state["links"] = [(link["ifname"], link["flags"]) for link in links]
    addresses = json.loads(state.pop("addresses"))
    state["addresses"] = [[a["local"] for a in link["addr_info"]] for link in addresses]
    state["mounts"] = sorted(
        line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines()
    )
    state["spaces"] = run("ip", "netns", "list").stdout
    cgroups = Path("/sys/fs/cgroup").glob(f"**/podwire/{lab}")
    state["cgroups"] = sorted(map(str, cgroups))
    return state


def legacy_rules():
    """Return legacy iptables' rules in existing tables: listing another table would make it."""
    names = Path("/proc/net/ip_tables_names")
    tables = names.read_text().split() if names.exists() else []
    saved = [run("iptables-legacy-save", "-t", table).stdout for table in tables]
    return [line for text in saved for line in text.splitlines() if not line.startswith("#")]


def processes(name):
    """Return the live processes of a lab; the host's PID 1 reaps zombies."""
    lines = run("ps", "-eo", "stat=,args=").stdout.splitlines()
    return [line for line in lines if f"{name}" in line and "podwire" in line and line[0] != "Z"]


def assert_gone(name, before):
    assert processes(name) == []
    assert not Path(f"/var/lib/podwire/labs/{name}").exists()
    after = host_state(name)
    for part, was in before.items():
        assert after[part] == was, part


def test_down_leaves_the_host_as_it_was(tmp_path):
    name = f"d{os.getpid()}"
    before = host_state(name)
    with made_lab(name, tmp_path, ("--nodes=2",)) as lab:
        lab.kubectl("apply", "-f", str(WEB))
        lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        during = host_state(name)
        assert during["cgroups"] != before["cgroups"] == []
        for part in ("links", "addresses", "rules", "routes", "legacy", "sysctls", "spaces"):
            assert during[part] == before[part], f"{part} changed while the lab ran"
    assert_gone(name, before)
    assert "nothing to remove" in podwire("lab", "down", "--name", name)


def test_a_lab_holds_no_file_of_its_caller():
    name = f"f{os.getpid()}"
    end, held = os.pipe()
    try:
        subprocess.run(
            [PODWIRE, "lab", "up", "--name", name, "--nodes=1"],
            pass_fds=[held],
            capture_output=True,
            check=True,
            timeout=240,
        )
        os.close(held)
        os.set_blocking(end, False)
        assert os.read(end, 1) == b"", "an inherited pipe was kept open"
    finally:
        os.close(end)
        podwire("lab", "down", "--name", name)


def test_down_after_kill_9_of_everything(tmp_path):
    name = f"k{os.getpid()}"
    before = host_state(name)
    with made_lab(name, tmp_path, ("--nodes=2",)) as lab:
        lab.kubectl("apply", "-f", str(WEB))
        lab.kubectl("rollout", "status", "deployment/web", "--timeout=60s")
        keeper = json.loads(Path(f"/var/lib/podwire/labs/{name}/keeper.json").read_text())["pid"]
        os.kill(keeper, signal.SIGKILL)
        eventually(lambda: not processes(name))
        assert lab.status()["state"] == "dead"
    assert_gone(name, before)


def test_a_lab_killed_while_it_is_made_is_removed():
    name = f"h{os.getpid()}"
    before = host_state(name)
    making = subprocess.Popen(
        [PODWIRE, "lab", "up", "--name", name], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    eventually(lambda: Path(f"/var/lib/podwire/labs/{name}/lab.json").exists())
    time.sleep(0.3)
    making.kill()
    making.wait()
    podwire("lab", "down", "--name", name)
    assert_gone(name, before)


def test_an_interrupted_up_leaves_nothing():
    name = f"i{os.getpid()}"
    before = host_state(name)
    making = subprocess.Popen(
        [PODWIRE, "lab", "up", "--name", name],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    eventually(lambda: Path(f"/var/lib/podwire/labs/{name}/lab.json").exists())
    making.send_signal(signal.SIGINT)
    out, _ = making.communicate(timeout=60)
    assert "Traceback" not in out
    podwire("lab", "down", "--name", name)
    assert_gone(name, before)


def test_two_labs_are_isolated(tmp_path):
    first, second = f"a{os.getpid()}", f"b{os.getpid()}"
    with (
        made_lab(first, tmp_path / "a", ("--nodes=1",)) as one,
        made_lab(second, tmp_path / "b", ("--nodes=1",)) as two,
    ):
        one.kubectl("create", "configmap", "mine")
        assert "mine" not in two.kubectl("get", "configmaps", "-o", "name")
        names = {row["name"] for row in json.loads(podwire("lab", "list", "-o", "json"))}
        assert {first, second} <= names
        refused = run(PODWIRE, "lab", "up", "--name", first)
        assert refused.returncode == 1
        assert "is up already" in refused.stderr
        podwire("lab", "down", "--name", first)
        two.kubectl("get", "nodes")


@pytest.mark.parametrize(
    ("args", "code", "says"),
    [
        (["lab", "up", "--nodes", "0"], 2, "--nodes 0"),
        (["lab", "up", "--nodes", "x"], 2, "--nodes"),
        (["lab", "up", "--proxy", "none"], 2, "--proxy"),
        (["lab", "up", "--name", "../x"], 2, "--name"),
        (["lab", "up", "--pod-cidr", "10.96.0.0/16"], 2, "overlaps"),
        (["lab", "exec", "--name", "nope", "node1", "--", "true"], 1, "no lab nope is up"),
        (["lab", "kubeconfig", "--name", "nope"], 1, "no lab nope is up"),
        (["lab", "logs", "--name", "nope", "agent"], 1, "no lab nope; start it with"),
        (["nonsense"], 2, "nonsense"),
    ],
)
def test_a_user_error_gives_one_clear_line(args, code, says):
    done = run(PODWIRE, *args)
    assert done.returncode == code, done.stderr
    assert says in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stderr.strip().splitlines()[-1].startswith("Error: ")


def test_status_logs_and_exec(tmp_path):
    name = f"s{os.getpid()}"
    with made_lab(name, tmp_path, ("--nodes=1",)) as lab:
        parts = {c["name"] for m in lab.status()["machines"] for c in m["components"]}
        control = {"apiserver", "scheduler", "controllers", "cloud", "dns", "dns-2"}
        assert parts == control | {"cni", "agent", "proxy", "speaker"}
        assert "node1" in podwire("lab", "status", "--name", name)
        assert podwire("lab", "logs", "--name", name, "agent", "--tail", "5")
        assert lab.exec("node1", "hostname") == "node1\n"
        wrong = run(*lab.exec_argv("node9", "true"))
        assert wrong.returncode == 1
        assert "control, node1, switch" in wrong.stderr


def test_the_demo_draws_bars_and_can_be_run_again(tmp_path):
    name = f"e{os.getpid()}"
    try:
        out = podwire("lab", "up", "--name", name, "--nodes", "3")
        assert out.count("█") > 30
        assert "failed" not in out
        assert "kubectl" in out
        again = podwire("lab", "demo", "--name", name)
        assert "300 requests" in again
        assert "failed" not in again
        lab = Lab(name, tmp_path)
        assert lab.get("deployment", "hello")["status"]["readyReplicas"] == 3
        lab.kubectl("scale", "deployment", "hello", "--replicas=1")
        assert "of 1 replicas ready" in podwire("lab", "demo", "--name", name)
        lab.kubectl("scale", "deployment", "hello", "--replicas=0")
        nobody = run(PODWIRE, "lab", "demo", "--name", name)
        assert (nobody.returncode, "hello is scaled to 0" in nobody.stderr) == (1, True)
    finally:
        podwire("lab", "down", "--name", name)
