"""/proc/PID/mountinfo as values."""

from pathlib import Path

from control.linux.mounts import MountPoint, parse

TEXT = """\
36 35 98:0 /mnt1 /mnt\\040a/b\\134c rw,noatime master:1 - ext3 /dev/root rw,errors=continue
37 35 0:5 / /ü rw - tmpfs - rw
38 35 0:6 / /sys/fs/cgroup/cpu,cpuacct rw shared:2 shared:3 - cgroup cgroup rw,cpu,cpuacct
"""


def test_names_are_unescaped_and_optional_fields_passed_over():
    assert list(parse(TEXT)) == [
        MountPoint(Path("/mnt a/b\\c"), "ext3", ("rw", "errors=continue")),
        MountPoint(Path("/ü"), "tmpfs", ("rw",)),
        MountPoint(Path("/sys/fs/cgroup/cpu,cpuacct"), "cgroup", ("rw", "cpu", "cpuacct")),
    ]


def test_the_mounts_of_this_process():
    assert Path("/proc") in {it.path for it in parse(Path("/proc/self/mountinfo").read_text())}
