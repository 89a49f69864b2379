"""The shim's specification: commands, users, capabilities; and its log."""

from pathlib import Path

import pytest

from control.linux.syscalls import CAPABILITIES
from control.runtime.base import ContainerConfig, ContainerRuntimeError, Resources, Rights
from control.runtime.builtin import cgroups
from control.runtime.builtin.spec import (
    DEFAULT_CAPABILITIES,
    ContainerPlace,
    ImageConfig,
    arguments,
    environment,
    render,
)
from control.runtime.shim import logs

IMAGE = ImageConfig("/img", ("/entry",), ("default",), ("A=image", "B=b=c"), "/work", "app")
PLACE = ContainerPlace("/run/c", "/log/0.log", cgroups=("/cg/x",))


def config(**changes):
    return ContainerConfig("main", 0, "img", **changes)


@pytest.mark.parametrize(
    ("command", "args", "runs"),
    [
        ((), (), ("/entry", "default")),
        ((), ("x",), ("/entry", "x")),
        (("c",), (), ("c",)),
        (("c",), ("x",), ("c", "x")),
    ],
)
def test_command_and_args_against_the_image(command, args, runs):
    assert arguments(config(command=command, arguments=args), IMAGE) == runs


def test_no_command():
    with pytest.raises(ContainerRuntimeError, match="no command"):
        arguments(config(), ImageConfig("/img"))


def test_environment():
    found = environment(config(environment=(("A", "pod"),), terminal=True), IMAGE)
    assert (found["A"], found["B"], found["TERM"]) == ("pod", "b=c", "xterm")
    assert "/usr/bin" in found["PATH"]


def rights(**changes):
    return render(config(rights=Rights(**changes)), IMAGE, PLACE)


def test_users():
    assert rights()["user"] == "app"
    assert rights(user=0)["user"] == "0"
    with pytest.raises(ContainerRuntimeError, match="non-numeric user"):
        rights(non_root=True)
    with pytest.raises(ContainerRuntimeError, match="breaks non-root policy"):
        rights(user=0, non_root=True)
    assert rights(user=5, non_root=True)["user"] == "5"


@pytest.mark.parametrize(
    ("add", "drop", "kept"),
    [
        ((), (), DEFAULT_CAPABILITIES),
        ((), ("ALL",), ()),
        (("NET_ADMIN",), ("all",), ("NET_ADMIN",)),
        (("ALL",), (), CAPABILITIES),
        (("CAP_SYS_TIME",), DEFAULT_CAPABILITIES, ("SYS_TIME",)),
        (("ALL",), ("SYS_ADMIN",), tuple(it for it in CAPABILITIES if it != "SYS_ADMIN")),
    ],
)
def test_capabilities(add, drop, kept):
    found = rights(add_capabilities=add, drop_capabilities=drop)
    assert set(found["capabilities"]) == set(kept)
    assert rights(privileged=True)["capabilities"] is None


def test_an_unknown_capability_is_refused():
    with pytest.raises(ContainerRuntimeError, match="FLY"):
        rights(add_capabilities=("FLY",))


def test_namespaces():
    own = render(config(), IMAGE, PLACE)
    assert set(own["unshare"]) == {"mnt", "cgroup", "pid"}
    shared = render(config(), IMAGE, ContainerPlace("/c", "/l", join={"pid": "/proc/7/ns/pid"}))
    assert set(shared["unshare"]) == {"mnt"}
    host = render(config(), IMAGE, ContainerPlace("/c", "/l", own_processes=False))
    assert set(host["unshare"]) == {"mnt"}


MOUNTS = """\
31 27 0:28 / /sys/fs/cgroup rw - tmpfs tmpfs rw,mode=755
32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct
35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
"""


@pytest.mark.parametrize(
    ("own", "given", "prefix"),
    [
        ("4:memory:/x\n0::/\n", "", "podwire"),
        ("0::/podwire/lab/node1/agent\n", "", "podwire/lab/node1"),
        ("0::/podwire/lab/node1\n", "", "podwire/lab/node1"),
        ("0::/system.slice/x.service\n", "", "podwire"),
        ("0::/\n", "/a/b/", "a/b"),
        ("0::/\n", "podwire/l/n", "podwire/l/n"),
    ],
)
def test_layout_of_control_groups(own, given, prefix):
    layout = cgroups.discover(MOUNTS, own, given)
    assert str(layout.prefix) == prefix
    assert str(layout.unified) == "/sys/fs/cgroup/unified"
    assert {name: str(path) for name, path in layout.legacy.items()} == {
        "cpu": "/sys/fs/cgroup/cpu",
        "cpuacct": "/sys/fs/cgroup/cpu",
        "memory": "/sys/fs/cgroup/memory",
    }


def hierarchies(root):
    for name in ("unified", "memory", "systemd"):
        (root / name).mkdir()
    (root / "unified/cgroup.controllers").write_text("")
    legacy = {"memory": root / "memory", "name=systemd": root / "systemd"}
    return cgroups.Layout(cgroups.PurePosixPath("podwire"), root / "unified", legacy)


def test_limits_are_set_in_the_controllers_hierarchies(tmp_path):
    restricted = []
    groups = cgroups.Cgroups(hierarchies(tmp_path), restrict=restricted.append)
    found = groups.create("u", "a.0", Resources(memory_limit=1000))
    assert [path.removeprefix(str(tmp_path)) for path in found] == [
        f"/{name}/podwire/pods/u/a.0" for name in ("unified", "memory", "systemd")
    ]
    assert (tmp_path / "memory/podwire/pods/u/a.0/memory.limit_in_bytes").read_text() == "1000"
    assert all(list(Path(path, "box").iterdir()) == [] for path in found)
    assert [str(path) for path in restricted] == [found[0]]


def test_a_privileged_container_has_all_devices(tmp_path):
    restricted = []
    groups = cgroups.Cgroups(hierarchies(tmp_path), restrict=restricted.append)
    groups.create("u", "a.0", Resources(), privileged=True)
    assert restricted == []


def test_without_a_guard_for_devices_no_container_starts(tmp_path):
    groups = cgroups.Cgroups(cgroups.Layout(cgroups.PurePosixPath("podwire"), None, {}))
    with pytest.raises(OSError, match="mount cgroup2 on /sys/fs/cgroup"):
        groups.create("u", "a.0", Resources())


def texts(path):
    return [line.split(" ", 3)[1:] for line in path.read_text().splitlines()]


def test_lines_are_joined(tmp_path):
    path = tmp_path / "c/0.log"
    stream = logs.LogStream("stdout", logs.LogWriter(str(path), 10**6, 5))
    for piece in (b"he", b"llo\nwor", b"ld\n", b"end"):
        stream.feed(piece)
    stream.close()
    assert texts(path) == [
        ["stdout", "F", "hello"],
        ["stdout", "F", "world"],
        ["stdout", "F", "end"],
    ]


def test_rotation_keeps_the_newest_files_and_loses_no_line(tmp_path):
    path = tmp_path / "0.log"
    stream = logs.LogStream("stdout", logs.LogWriter(str(path), 200, 3))
    for number in range(10):
        stream.feed(b"%03d\n" % number)
    kept = sorted(tmp_path.iterdir())
    assert len(kept) == 3
    lines = [text for file in [*kept[1:], kept[0]] for text in texts(file)]
    numbers = [int(text[2]) for text in lines]
    assert numbers == list(range(numbers[0], 10)) and len(numbers) > 3


def test_lines_lost_on_a_full_disk_are_counted(tmp_path, monkeypatch):
    path = tmp_path / "0.log"
    writer = logs.LogWriter(str(path), 10**6, 3)
    real = logs.os.write

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(logs.os, "write", full)
    writer.write("stdout", b"lost", True)
    writer.write("stdout", b"lost", True)
    monkeypatch.setattr(logs.os, "write", real)
    writer.write("stdout", b"back", True)
    assert texts(path) == [
        ["stderr", "F", "podwire: 2 lines lost: disk full"],
        ["stdout", "F", "back"],
    ]
