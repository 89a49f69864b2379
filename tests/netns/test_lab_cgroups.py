"""Cgroups of labs: those with a process stay, and the refusal names it."""

import subprocess
from pathlib import Path

import pytest

from lab import cgroups
from lab.state import LabDir
from tests.support.groups import find_cgroup, owned


@pytest.fixture
def lab(monkeypatch):
    with owned("labs") as root:
        monkeypatch.setattr(cgroups, "cgroup", lambda lab, machine="": f"{root}/{lab}")
        yield LabDir(Path("twice"))


@pytest.fixture
def tree(lab) -> Path:
    top = find_cgroup(cgroups.cgroup("")) / lab.name
    for name in ("node1/pods/uid/main.0/box", "node2/agent"):
        (top / name).mkdir(parents=True)
    return top


def test_none_is_removed_while_another_lab_of_the_name_runs(lab, tree, monkeypatch):
    monkeypatch.setattr(cgroups, "_DEADLINE", 0.1)
    box = tree / "node1/pods/uid/main.0/box"
    with subprocess.Popen(["sleep", "1000"]) as process:
        (box / "cgroup.procs").write_text(str(process.pid))
        with pytest.raises(cgroups.RemovalError, match=f"process {process.pid} runs in {box}"):
            cgroups.remove_cgroups(lab)
        assert (tree / "node2/agent").is_dir()
        process.kill()
    cgroups.remove_cgroups(lab)
    assert not tree.exists()


def test_what_is_not_there_is_removed_twice(lab, tree):
    cgroups.remove_cgroups(lab)
    cgroups.remove_cgroups(lab)
    assert not tree.exists()


def test_a_refusal_leaves_no_mount_where_the_unified_hierarchy_was_not_mounted(
    lab, tree, monkeypatch, tmp_path
):
    monkeypatch.setattr(cgroups, "_DEADLINE", 0.1)
    monkeypatch.setattr(cgroups.mounts, "parse", lambda _: [])
    monkeypatch.setattr(cgroups.tempfile, "tempdir", str(tmp_path))
    with subprocess.Popen(["sleep", "1000"]) as process:
        (tree / "node2/agent/cgroup.procs").write_text(str(process.pid))
        with pytest.raises(cgroups.RemovalError, match=f"process {process.pid} runs in {tmp_path}"):
            cgroups.remove_cgroups(lab)
        process.kill()
    assert list(tmp_path.iterdir()) == []
