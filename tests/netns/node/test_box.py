# ruff: noqa: ASYNC110  tests wait for the world, and read its files

import asyncio
import os
from pathlib import Path

import pytest

from control.runtime.base import Mount, Resources, Rights
from control.runtime.builtin import cgroups
from tests.support.control.containers import config, ended, log, make, output, run, sandbox
from tests.support.groups import owned


def block_device() -> str:
    """Major and minor number of a block device that this test itself may open."""
    for entry in sorted(Path("/dev").iterdir()):
        if entry.is_block_device() and _opens(entry):
            number = entry.stat().st_rdev
            return f"{os.major(number)}:{os.minor(number)}"
    pytest.skip("this machine has no block device that root may open")


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


async def test_a_pod_opens_no_block_device(runtime, folder):
    major, minor = block_device().split(":")
    script = OPEN.format(kind="b", major=major, minor=minor)
    text = await output(runtime, folder, "sh", "-c", script)
    assert "made" in text and "Operation not permitted" in text and "read" not in text.split()


async def test_a_command_run_in_a_pod_opens_no_block_device(runtime, folder):
    major, minor = block_device().split(":")
    container = await run(runtime, folder, "sleep", "60")
    script = OPEN.format(kind="b", major=major, minor=minor)
    done = await runtime.execute(container, ("sh", "-c", script), 20)
    assert b"Operation not permitted" in done.output


async def test_a_pod_uses_the_common_devices(runtime, folder):
    script = (
        "for d in null zero full random urandom; do head -c 1 /dev/$d >/dev/null || echo $d; done; "
        "echo x >/dev/null; ls /dev/pts"
    )
    assert await output(runtime, folder, "sh", "-c", script) == "ptmx"


async def test_a_privileged_pod_opens_a_block_device(runtime, folder):
    major, minor = block_device().split(":")
    script = OPEN.format(kind="b", major=major, minor=minor)
    rights = Rights(privileged=True)
    text = await output(runtime, folder, "sh", "-c", script, rights=rights)
    assert "read" in text.split(), text


# Makes a user, a mount and a cgroup namespace; mounts each hierarchy; writes what limits it there.
RAISE = """
unshare --user --map-root-user --mount --cgroup sh -c '
  for words in $(cut -d: -f2 /proc/self/cgroup); do
    mount -t cgroup -o $words none /mnt || continue
    echo -1 >/mnt/memory.limit_in_bytes; echo -1 >/mnt/cpu.cfs_quota_us
    find /mnt -name memory.limit_in_bytes | wc -l
    umount /mnt
  done
  mount -t cgroup2 none /mnt && find /mnt -name memory.max | wc -l
  echo max >/mnt/memory.max; echo max >/mnt/cpu.max
' 2>/dev/null
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
    files = [Path(path, name) for path in container.cgroups for name in names]
    return {file.name: file.read_text().strip() for file in files if file.exists()}


async def test_a_pod_raises_no_limit_of_its_own(node, folder):
    limits = Resources(memory_limit=64 * 1024 * 1024, cpu_limit=500)
    box = await node.run_sandbox(sandbox(folder))
    item = config("sh", "-c", RAISE, mounts=TOOLS, resources=limits)
    container = await node.create_container(box.id, item)
    before = limits_of(node._containers[container])
    assert before, "this machine has no controller for limits"
    await node.start_container(container)
    while not (await node.execute(container, ("pidof", "sleep"), 20)).output:
        await asyncio.sleep(0.01)
    assert limits_of(node._containers[container]) == before
    seen = [int(line) for line in log(folder).splitlines()]
    assert seen and max(seen) <= 1, "it mounts no hierarchy, or sees groups of others"


async def test_a_pod_has_a_limit_of_processes(node, folder):
    script = "n=0; while [ $n -lt 60 ]; do sleep 60 & n=$((n+1)); done"
    done = await ended(node, await run(node, folder, "sh", "-c", script))
    assert done.exit_code != 0 and "can't fork" in log(folder)
