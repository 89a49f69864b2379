"""Limits of running containers, in the files of either version of cgroup."""

from pathlib import Path

from control.runtime.base import Resources
from control.runtime.builtin.cgroups import Cgroups, discover

LIMITS = Resources(cpu_request=500, cpu_limit=1500, memory_limit=64 * 1024 * 1024)


def test_the_files_of_cgroup2(tmp_path: Path):
    (tmp_path / "cgroup.controllers").write_text("cpu memory\n")
    Cgroups(discover("", "")).update([str(tmp_path)], LIMITS)
    found = {it.name: it.read_text() for it in tmp_path.iterdir()}
    del found["cgroup.controllers"]
    assert found == {
        "cpu.max": "150000 100000",
        "cpu.weight": "20",
        "memory.max": "67108864",
        "memory.oom.group": "1",
    }


def test_the_files_of_cgroup_v1_that_a_hierarchy_has(tmp_path: Path):
    cpu, memory = tmp_path / "cpu", tmp_path / "memory"
    for folder, names in (
        (cpu, ("cpu.shares", "cpu.cfs_quota_us")),
        (memory, ("memory.limit_in_bytes",)),
    ):
        folder.mkdir()
        for name in names:
            (folder / name).write_text("")
    Cgroups(discover("", "")).update([str(cpu), str(memory)], LIMITS)
    found = {it.name: it.read_text() for folder in (cpu, memory) for it in folder.iterdir()}
    assert found == {
        "cpu.shares": "512",
        "cpu.cfs_quota_us": "150000",
        "memory.limit_in_bytes": "67108864",
    }


def test_a_machine_without_controllers_resizes_nothing(tmp_path: Path):
    assert not Cgroups(discover("", "")).limits_resources
    (tmp_path / "cgroup.controllers").write_text("cpu memory pids\n")
    mount = f"30 23 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n"
    assert Cgroups(discover(mount, "")).limits_resources
