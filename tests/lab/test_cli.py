"""The output of ``podwire lab`` without a lab, and without a reader."""

import io
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from control.linux.errors import cause
from control.linux.processes import start_ticks
from lab.cli import main
from lab.demo import Balance, show
from lab.main import entry, load
from lab.report import columns
from lab.spec import make_spec
from lab.state import LabDir
from lab.supervise import fork

CHECKOUT = Path(__file__).resolve().parents[2]
PODWIRE = (sys.executable, "-P", "-m", "lab.main")


@pytest.fixture
def labs(tmp_path, monkeypatch):
    """A machine without labs."""
    monkeypatch.setattr("lab.state.ROOT", tmp_path / "labs")
    return tmp_path / "labs"


def podwire(*words):
    done = CliRunner().invoke(main, words)
    assert not done.exception or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.output


@pytest.mark.parametrize(
    "words",
    [
        ["up"],
        ["down"],
        ["demo"],
        ["status"],
        ["kubeconfig"],
        ["logs", "agent"],
        ["set", "proxy", "nftables"],
        ["set", "counters", "off"],
        ["exec", "node1", "true"],
    ],
)
def test_every_command_refuses_a_name_that_is_a_path(labs, words):
    place = 2 if words[0] == "set" else 1
    code, out = podwire(*words[:place], "--name", "../x", *words[place:])
    assert (code, out) == (
        2,
        "Error: --name '../x': use 1 to 32 lower-case letters, digits and '-'\n",
    )


def test_an_absent_lab_is_reported_with_a_remedy(labs):
    start = "no lab a; start it with: podwire lab up --name a\n"
    assert podwire("status", "--name", "a") == (1, f"Error: {start}")
    assert podwire("logs", "--name", "a", "agent") == (1, f"Error: {start}")
    code, out = podwire("status", "--name", "a", "-o", "json")
    assert (code, json.loads(out)["state"]) == (0, "absent")


@pytest.mark.parametrize(
    "words", [["--name", "a", "proxy", "nftables"], ["proxy", "--name", "a", "nftables"]]
)
def test_set_takes_the_name_before_and_after_what_it_sets(labs, words):
    code, out = podwire("set", *words)
    assert code == 1
    assert out.startswith("Error: no lab a is up")


def test_a_part_that_is_misspelled_is_suggested():
    done = subprocess.run([*PODWIRE, "labb", "up"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "No such command 'labb'. Did you mean 'lab'?" in done.stderr


@pytest.mark.parametrize("width", [40, 60, 200])
def test_a_narrow_terminal_shows_whole_names_and_numbers(width):
    pods = {"hello-75d5594766-qlfpp": 99, "hello-75d5594766-scfcn": 104}
    console = Console(width=width, file=io.StringIO())
    show(console, Balance("10.96.0.1", pods, dict.fromkeys(pods, "node1"), {}), "node1")
    lines = console.file.getvalue().splitlines()[-2:]
    assert [(line.split()[0], int(line.split()[-1])) for line in lines] == [*pods.items()]
    assert all(len(line) <= width for line in lines)


def test_an_absent_log_lists_the_existing_ones(labs):
    lab = LabDir(labs / "a")
    lab.logs.mkdir(parents=True)
    for log in ("control-apiserver", "node1-agent", "node2-agent"):
        (lab.logs / f"{log}.log").write_text(f"of {log}\n")
    assert podwire("logs", "--name", "a", "agent")[1] == (
        "node1: of node1-agent\nnode2: of node2-agent\n"
    )
    assert podwire("logs", "--name", "a", "agent", "--machine", "node2")[1] == "of node2-agent\n"
    refused = "Error: lab a has no log of "
    assert podwire("logs", "--name", "a", "cni") == (1, f"{refused}cni; it has: agent, apiserver\n")
    assert podwire("logs", "--name", "a", "agent", "--machine", "node9") == (
        1,
        f"{refused}agent on node9; it has: node1, node2\n",
    )


def test_a_killed_machine_is_told_from_an_unknown_one(labs):
    lab = LabDir(labs / "a")
    lab.create(make_spec("a", nodes=2))
    pid = os.getpid()  # a keeper without machines
    lab.write("keeper.json", {"pid": pid, "started": start_ticks(pid)})
    code, out = podwire("exec", "--name", "a", "node2", "true")
    assert (code, out.startswith("Error: machine node2 of lab a does not run any more")) == (
        1,
        True,
    )
    code, out = podwire("exec", "--name", "a", "node3", "true")
    assert (code, out) == (1, "Error: lab a has no machine node3: it has switch\n")


def test_a_lab_with_a_killed_machine_is_degraded(labs):
    lab = LabDir(labs / "a")
    lab.create(make_spec("a", nodes=2))
    pid = os.getpid()  # a keeper without machines
    lab.write("keeper.json", {"pid": pid, "started": start_ticks(pid)})
    code, out = podwire("list", "-o", "json")
    assert (code, [item["state"] for item in json.loads(out)]) == (0, ["degraded"])


def test_a_lab_that_cannot_start_a_machine_says_why(labs):
    lab = LabDir(labs / "a")
    lab.create(make_spec("a", nodes=2))
    pid = os.getpid()  # a keeper that does not listen
    lab.write("keeper.json", {"pid": pid, "started": start_ticks(pid)})
    code, out = podwire("start", "--name", "a", "node1")
    assert (code, "machine node1 cannot be started: the lab's first process" in out) == (1, True)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(lab.requests))
        server.listen()

        def refuse():
            with server.accept()[0] as connection:
                assert connection.recv(99) == b"node1"  # unread, it would reset the connection
                connection.sendall(b"it runs")

        answer = threading.Thread(target=refuse)
        answer.start()
        assert podwire("start", "--name", "a", "node1") == (1, "Error: it runs\n")
        answer.join()


@pytest.mark.parametrize(
    ("words", "option"),
    [
        (("proxy", "nftables"), "--proxy-mode=nftables"),
        (("counters", "packets"), "--service-counters=packets"),
    ],
)
def test_a_killed_node_does_not_stop_the_others(labs, words, option):
    lab = LabDir(labs / "a")
    lab.create(make_spec("a", nodes=2))
    for name in ("node1", "node2"):
        (lab.machine(name) / "etc").mkdir(parents=True)
    pid = os.getpid()
    lab.write("keeper.json", {"pid": pid, "started": start_ticks(pid)})
    code, out = podwire("set", "--name", "a", *words)
    assert (code, out.count("does not run any more")) == (1, 2)
    for name in ("node1", "node2"):
        (components,) = (lab.machine(name) / "etc").iterdir()
        assert option in components.read_text()


def test_columns_are_as_wide_as_needed():
    long = "172.31.0.11, fd00:31::b" * 5
    assert columns(("A", "B", "C"), [("a", long, ""), ("", "b", "c")]).splitlines() == [
        f"A   B{' ' * (len(long) - 1)}   C",
        f"a   {long}",
        f"    b{' ' * (len(long) - 1)}   c",
    ]
    assert columns(("NAME", "STATE"), []) == "NAME   STATE"


def test_an_oserror_is_reported_without_its_number():
    assert cause(OSError("it has control, node1")) == "it has control, node1"
    assert cause(FileNotFoundError(2, "No such file", "/x")) == "No such file: /x"
    assert cause(OSError(28, "No space left on device")) == "No space left on device"


def test_an_interrupted_fork_prints_nothing(capfd):
    def interrupted():
        signal.raise_signal(signal.SIGINT)
        time.sleep(10)

    _, status = os.waitpid(fork(interrupted), 0)
    assert os.waitstatus_to_exitcode(status) == 130
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("unbuffered", ["", "1"])
@pytest.mark.parametrize("words", [["--help"], ["lab", "list"], ["image", "list", "-o", "json"]])
def test_a_full_disk_behind_the_output_is_one_line(words, unbuffered):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*PODWIRE, *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            cwd=CHECKOUT,
            env={**os.environ, "PYTHONPATH": str(CHECKOUT), "PYTHONUNBUFFERED": unbuffered},
        )
    assert (done.returncode, done.stderr) == (1, "podwire: No space left on device\n")


def test_a_locale_without_our_characters_gets_others(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, "ascii"))
    monkeypatch.setattr("lab.main.main", lambda prog_name: print(f"✓ {prog_name}", flush=True))
    entry()
    assert raw.getvalue() == b"? podwire\n"


def test_a_part_is_imported_without_the_systems_authorities(monkeypatch):
    seen = []

    def import_module(name):
        seen.append((name, os.environ["SSL_CERT_FILE"], os.environ["SSL_CERT_DIR"]))
        return __import__(name, fromlist=["main"])

    monkeypatch.setattr("lab.main.importlib.import_module", import_module)
    monkeypatch.setenv("SSL_CERT_FILE", "/etc/ours.pem")
    monkeypatch.delenv("SSL_CERT_DIR", raising=False)
    load("completion")
    assert seen == [("lab.completion", os.devnull, os.devnull)]
    assert os.environ["SSL_CERT_FILE"] == "/etc/ours.pem"
    assert "SSL_CERT_DIR" not in os.environ
