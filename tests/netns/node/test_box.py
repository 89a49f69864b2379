# ruff: noqa: ASYNC110  tests wait for the world, and read its files

import asyncio
import json
import os
from pathlib import Path

import pytest

from control.agent.storage import layer
from control.linux import syscalls
from control.runtime.base import ContainerRuntimeError, Mount, Resources, Rights
from control.runtime.builtin import cgroups
from tests.support.control.containers import config, ended, log, make, output, run, sandbox
from tests.support.groups import owned


def device() -> dict[str, object]:
    """Kind and numbers of a device that this test itself may open; of a block device if it can."""
    blocks = [entry for entry in sorted(Path("/dev").iterdir()) if entry.is_block_device()]
    for entry in (*blocks, Path("/dev/cpu_dma_latency")):
        if _opens(entry):
            number = entry.stat().st_rdev
            kind = "b" if entry.is_block_device() else "c"
            return {"kind": kind, "major": os.major(number), "minor": os.minor(number)}
    pytest.skip("this machine has no device that root may open")


def _opens(device: Path) -> bool:
    try:
        os.close(os.open(device, os.O_RDONLY | os.O_CLOEXEC))
    except OSError:
        return False
    return True


OPEN = (
    "mknod /d {kind} {major} {minor} && echo made; "
    "dd if=/d of=/dev/null bs=1 count=1 2>&1 && echo read; true"
)


@pytest.fixture(params=["cgroup2", "v1"])
def groups(request):
    """The guard of one version of cgroups at a time, where the machine has both."""
    mounts, own = (Path("/proc/self", name).read_text() for name in ("mountinfo", "cgroup"))
    with owned("box") as root:
        layout = cgroups.discover(mounts, own, root)
        if request.param == "cgroup2":
            made = cgroups.Cgroups(cgroups.Layout(layout.prefix, layout.unified, {}))
        elif "devices" in layout.legacy:
            made = cgroups.Cgroups(layout, restrict=lambda _: None)
        else:
            pytest.skip("this machine has no hierarchy of cgroup v1")
        yield made
        asyncio.run(cgroups.Cgroups(layout).remove_all())


async def test_a_pod_opens_no_device_of_the_node(runtime, folder):
    script = OPEN.format(**device())
    text = await output(runtime, folder, "sh", "-c", script)
    assert "made" in text and "Operation not permitted" in text and "read" not in text.split()


async def test_a_command_run_in_a_pod_opens_no_device_of_the_node(runtime, folder):
    container = await run(runtime, folder, "sleep", "60")
    script = OPEN.format(**device())
    done = await runtime.execute(container, ("sh", "-c", script), 20)
    assert b"Operation not permitted" in done.output


async def test_a_pod_uses_the_common_devices(runtime, folder):
    script = (
        "for d in null zero full random urandom; do head -c 1 /dev/$d >/dev/null || echo $d; done; "
        "echo x >/dev/null; ls /dev/pts"
    )
    assert await output(runtime, folder, "sh", "-c", script) == "ptmx"


async def test_a_privileged_pod_opens_a_device_of_the_node(runtime, folder):
    script = OPEN.format(**device())
    rights = Rights(privileged=True)
    text = await output(runtime, folder, "sh", "-c", script, rights=rights)
    assert "read" in text.split(), text


# Makes a user, a mount and a cgroup namespace; mounts each hierarchy; writes what limits it there.
RAISE = """
unshare --user --map-root-user --mount --cgroup sh -c '
  for words in $(cut -d: -f2 /proc/self/cgroup); do
    mount -t cgroup -o $words none /mnt || continue
    echo -1 >/mnt/memory.limit_in_bytes; echo -1 >/mnt/cpu.cfs_quota_us; echo max >/mnt/pids.max
    find /mnt -name memory.limit_in_bytes | wc -l
    umount /mnt
  done
  mount -t cgroup2 none /mnt && find /mnt -name memory.max | wc -l
  echo "+memory +cpu +pids" >/mnt/cgroup.subtree_control
  echo max >/mnt/memory.max; echo max >/mnt/cpu.max; echo max >/mnt/pids.max
' 2>/dev/null
echo tried
exec sleep 60
"""
# The node's own programs: busybox's unshare makes no cgroup namespace.
TOOLS = tuple(
    Mount(path, path, read_only=True)
    for path in ("/usr", "/lib", "/lib64", "/bin")
    if Path(path).exists()
)


@pytest.fixture
def every_group():
    """A node whose Pods have 40 processes at most."""
    mounts, own = (Path("/proc/self", name).read_text() for name in ("mountinfo", "cgroup"))
    with owned("box") as root:
        made = cgroups.Cgroups(cgroups.discover(mounts, own, root), pod_pids=40)
        yield made
        asyncio.run(made.remove_all())


@pytest.fixture
async def node(folder, images, every_group):
    runtime = make(folder, images, every_group)
    await runtime.open()
    yield runtime
    for box in runtime.observe().sandboxes:
        await runtime.remove_sandbox(box.id)
    runtime.close()


def groups_of(pid: int) -> list[tuple[str, str]]:
    """The mounted hierarchies, and a process's group in each."""
    mounts = Path("/proc/self/mountinfo").read_text()
    layout = cgroups.discover(mounts, Path("/proc/self/cgroup").read_text())
    names = {*layout.legacy, *([""] if layout.unified else [])}
    rows = [line.split(":", 2) for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines()]
    return [(row[1], row[2]) for row in rows if names & set(row[1].split(","))]


async def test_a_pod_has_a_group_of_its_own_in_every_hierarchy(node, folder):
    container = await run(node, folder, "sleep", "60")
    found = groups_of(node._containers[container].pid)
    assert found and all(path.endswith("/pods/uid-1/main.0/box") for _, path in found), found


def limits_of(container) -> dict[str, str]:
    """The limits that hold for a container: files of its groups and of the Pod's."""
    names = ("memory.limit_in_bytes", "memory.max", "cpu.cfs_quota_us", "cpu.max")
    folders = [Path(path) for path in container.cgroups]
    files = [folder / name for folder in folders for name in names]
    files += [folder.parent / "pids.max" for folder in folders]
    return {file.name: file.read_text().strip() for file in files if file.exists()}


def written(folder) -> list[str]:
    """What a container has written until now: its log is there once its shim has opened it."""
    return log(folder).splitlines() if (folder / "logs/main/0.log").exists() else []


async def test_a_pod_raises_no_limit_of_its_own(node, folder):
    limits = Resources(memory_limit=64 * 1024 * 1024, cpu_limit=500)
    box = await node.run_sandbox(sandbox(folder))
    item = config("sh", "-c", RAISE, mounts=TOOLS, resources=limits)
    container = await node.create_container(box.id, item)
    before = limits_of(node._containers[container])
    assert before, "this machine has no controller for limits"
    await node.start_container(container)
    while not (lines := written(folder)) or lines[-1] != "tried":
        await asyncio.sleep(0.01)
    assert limits_of(node._containers[container]) == before
    seen = [int(line) for line in lines[:-1]]
    assert seen and max(seen) <= 1, "it mounts no hierarchy, or sees groups of others"


async def test_a_pod_has_a_limit_of_processes(node, folder):
    script = "n=0; while [ $n -lt 60 ]; do sleep 60 & n=$((n+1)); done"
    done = await ended(node, await run(node, folder, "sh", "-c", script))
    assert done.exit_code != 0 and "can't fork" in log(folder)


NAMESPACE = "unshare --user true 2>/dev/null && echo made || echo refused"
DEFAULT = Rights(seccomp="runtime/default")


@pytest.mark.parametrize(
    "rights", [DEFAULT, Rights(seccomp="runtime/default", no_new_privileges=True, user=1000)]
)
async def test_a_pod_with_the_default_profile_makes_no_user_namespace(node, folder, rights):
    text = await output(node, folder, "sh", "-c", NAMESPACE, mounts=TOOLS, rights=rights)
    assert text.splitlines()[-1] == "refused"


async def test_a_command_run_in_a_pod_is_filtered_as_the_pod_is(node, folder):
    container = await run(node, folder, "sleep", "60", mounts=TOOLS, rights=DEFAULT)
    done = await node.execute(container, ("sh", "-c", NAMESPACE), 20)
    assert done.output.endswith(b"refused\n")


@pytest.mark.parametrize("rights", [Rights(), Rights(privileged=True, seccomp="runtime/default")])
async def test_an_unconfined_pod_makes_a_user_namespace(node, folder, rights):
    text = await output(node, folder, "sh", "-c", NAMESPACE, mounts=TOOLS, rights=rights)
    assert text == "made"


async def test_programs_run_under_the_default_profile(node, folder):
    script = (
        "python3 -c 'import os, socket, subprocess, threading; threading.Thread().start(); "
        'subprocess.run(["true"]); socket.socket(); os.fork(); print("ran")\' | sort -u'
    )
    text = await output(node, folder, "sh", "-c", script, mounts=TOOLS, rights=DEFAULT)
    assert text == "ran"


async def test_a_new_call_is_unknown_rather_than_forbidden(node, folder):
    """4000 is the number of no call yet: a C library must learn that it does not exist."""
    script = (
        "import ctypes; libc = ctypes.CDLL(None, use_errno=True); "
        "libc.syscall(4000); print(ctypes.get_errno())"
    )
    text = await output(node, folder, "python3", "-c", script, mounts=TOOLS, rights=DEFAULT)
    assert text == "38"


PROFILE = {
    "defaultAction": "SCMP_ACT_ALLOW",
    "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13}],
}


async def test_a_profile_of_the_node(node, folder):
    (folder / "seccomp").mkdir()
    (folder / "seccomp/no-folders.json").write_text(json.dumps(PROFILE))
    rights = Rights(seccomp="localhost/no-folders.json")
    text = await output(node, folder, "sh", "-c", "mkdir /x 2>&1; true", rights=rights)
    assert text == "mkdir: can't create directory '/x': Permission denied"


@pytest.mark.parametrize(
    ("name", "content", "why"),
    [
        ("absent.json", None, "cannot be read"),
        ("../x.json", None, "must lead below"),
        ("x.json", "[]", "one JSON object"),
        ("x.json", "{}", "linux.seccomp"),
        ("x.json", '{"defaultAction": "SCMP_ACT_SMILE"}', "SCMP_ACT_SMILE is none of"),
        ("x.json", '{"defaultAction": "SCMP_ACT_KILL", "architectures": ["Z80"]}', "Z80"),
        ("x.json", '{"defaultAction": "SCMP_ACT_KILL", "syscalls": [{"names": 7}]}', "seccomp"),
    ],
)
async def test_a_profile_that_cannot_be_used(node, folder, name, content, why):
    (folder / "seccomp").mkdir()
    if content is not None:
        (folder / "seccomp" / name).write_text(content)
    box = await node.run_sandbox(sandbox(folder))
    item = config("true", rights=Rights(seccomp=f"localhost/{name}"))
    with pytest.raises(ContainerRuntimeError, match=why):
        await node.create_container(box.id, item)


@pytest.fixture
def folder_without_overlays(tmp_path):
    """A folder in which overlayfs has no layers, because it is an overlay itself."""
    for name in ("lower", "upper", "work", "agent"):
        (tmp_path / name).mkdir()
    below = tmp_path / "agent"
    options = f"lowerdir={tmp_path}/lower,upperdir={tmp_path}/upper,workdir={tmp_path}/work"
    try:
        syscalls.mount("overlay", below, "overlay", data=options)
    except OSError:
        pytest.skip("this machine's temporary folder is an overlay already")
    yield below
    syscalls.unmount(below)


async def test_what_a_pod_writes_into_a_copied_image_is_measured(
    folder_without_overlays, images, every_group
):
    folder = folder_without_overlays
    runtime = make(folder, images, every_group)
    await runtime.open()
    container = await run(runtime, folder, "sh", "-c", "head -c 3000000 /dev/zero >/x; echo done")
    await ended(runtime, container)
    home = folder / "containers" / container
    assert (home / "copy/bin/sh").is_symlink(), "overlayfs was not refused"
    assert 3_000_000 <= layer(home) < 4_000_000
    await runtime.remove_sandbox(runtime.observe().sandboxes[0].id)
    runtime.close()
