"""``podwire kubectl``: it becomes kubectl."""

import os
import pty
import signal
import subprocess
import sys

import pytest

from lab.kubectl import find
from tests.support.e2e.harness import CHECKOUT

# Says what it was called with, and ends as it is told: by a signal, or with a code.
FAKE = """#!/bin/sh
echo "$KUBECONFIG $# $*"
[ -t 1 ] && echo terminal
case "$*" in *kill*) kill -TERM $$;; *fail*) exit 42;; *in*) cat;; esac
"""


@pytest.fixture
def run(tmp_path):
    """Run podwire kubectl beside a lab's kubeconfig, with a kubectl that tells."""
    program = tmp_path / "bin/kubectl"
    program.parent.mkdir()
    program.write_text(FAKE)
    program.chmod(0o755)
    for name in ("lab", "b"):
        (tmp_path / f"labs/{name}").mkdir(parents=True)
        (tmp_path / f"labs/{name}/kubeconfig").write_text("")
    code = (
        f"import pathlib, lab.state; lab.state.ROOT = pathlib.Path({str(tmp_path / 'labs')!r});"
        "from lab.main import entry; entry()"
    )

    def call(*words, terminal=subprocess.PIPE, **options):
        path = {"PATH": f"{program.parent}:/usr/bin:/bin", "PYTHONPATH": str(CHECKOUT)}
        return subprocess.run(
            [sys.executable, "-P", "-c", code, "kubectl", *words],
            env=os.environ | path,
            stdout=terminal,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
            **options,
        )

    call.labs = tmp_path / "labs"
    return call


def test_arguments_standard_input_and_kubeconfig_reach_it(run):
    done = run("-n", "x y", "in", "--help", "--", "--lab", "-h", input="hello\n")
    assert done.stdout == f"{run.labs}/lab/kubeconfig 7 -n x y in --help -- --lab -h\nhello\n"


def test_another_lab_is_named_before_its_arguments(run):
    assert run("--lab", "b", "get", "pods").stdout == f"{run.labs}/b/kubeconfig 2 get pods\n"


def test_its_end_is_our_end(run):
    assert run("fail").returncode == 42
    assert run("kill").returncode == -signal.SIGTERM


def test_it_has_the_terminal(run):
    ours, its = pty.openpty()
    try:
        assert run("get", terminal=its).returncode == 0
        assert b"terminal" in os.read(ours, 4096)
    finally:
        os.close(ours)
        os.close(its)


def test_an_absent_lab_is_told_with_the_remedy(run):
    done = run("--lab", "c", "get")
    assert (done.returncode, done.stderr) == (
        1,
        "Error: no lab c; start it with: podwire lab up --name c\n",
    )
    assert "--lab '../b': use 1 to 32" in run("--lab", "../b", "get").stderr
    assert "Run kubectl against a lab" in run("--help").stdout


def test_without_one_on_path_it_is_the_one_of_setup(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")
    assert find([str(tmp_path / "python")]) is None
    (tmp_path / "kubectl").write_text(FAKE)
    (tmp_path / "kubectl").chmod(0o755)
    assert find([str(tmp_path / "python")]) == str(tmp_path / "kubectl")
