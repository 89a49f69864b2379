"""Look at this machine, for preflight."""

import ctypes.util
import gzip
import os
import shutil
import socket
import stat
import subprocess
import sys
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import orjson

from control.install import systemd
from control.install.layout import Layout
from control.install.preflight import KERNEL, Facts, Wanted
from control.linux import mounts

_PROGRAMS = ("ip", "iptables-restore", "nft", "modprobe", "sysctl")
_LIBRARIES = ("nftables", "seccomp")
_OURS = ("10-podwire.conflist",)
_SECONDS = 60.0


def look(layout: Layout, wanted: Wanted, runtime: str = "") -> Facts:
    """Return what preflight asks about; ``runtime`` is the endpoint of a CRI runtime, or empty."""
    return Facts(
        root=os.geteuid() == 0,
        systemd=systemd.is_running(layout.root),
        addresses=frozenset(_addresses()),
        ports=tuple(_used(wanted.ports)),
        swap=tuple(_swaps(Path("/proc/swaps").read_text())),
        missing=(
            *(_missing() if not wanted.control_plane else ()),
            *(name for name in wanted.programs if shutil.which(name) is None),
        ),
        networks=tuple(_networks(layout.root / "etc/cni/net.d")),
        proxies=tuple(_proxies()),
        lacking=tuple(_lacking(layout.root, os.uname().release)),
        unified=_has_unified(),
        writable_sysctls=os.access("/proc/sys/net/ipv4/ip_forward", os.W_OK),
        free=_free(layout.state),
        memory=os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"),
        hidden=_hidden(Path(sys.executable)),
        runtime=_unanswered(runtime),
        year=datetime.now(UTC).year,
        half=tuple(_others(layout)),
    )


def _addresses() -> Iterator[str]:
    """Yield the addresses of all interfaces but loopback."""
    done = subprocess.run(
        ["ip", "-json", "address", "show"],
        capture_output=True,
        text=True,
        timeout=_SECONDS,
        check=False,
    )
    for link in orjson.loads(done.stdout or "[]"):
        if link.get("ifname") != "lo":
            yield from (each["local"] for each in link.get("addr_info", ()) if "local" in each)


def _used(ports: Iterable[int]) -> Iterator[tuple[int, str]]:
    both = socket.has_dualstack_ipv6()  # not with the kernel's ipv6.disable=1
    family = socket.AF_INET6 if both else socket.AF_INET
    for port in ports:
        try:
            socket.create_server(("", port), family=family, dualstack_ipv6=both).close()
        except OSError:
            yield port, _holder(port)


def _holder(port: int) -> str:
    """Return the program that listens on a port, as ss(8) says it; empty if it does not."""
    try:
        done = subprocess.run(
            ["ss", "-Hltnp", f"sport = :{port}"],
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return ""
    _, quote, rest = done.stdout.partition('(("')
    return rest.partition('"')[0] if quote else ""


def _swaps(text: str) -> Iterator[str]:
    yield from (line.split()[0] for line in text.splitlines()[1:] if line.strip())


def _missing() -> Iterator[str]:
    yield from (name for name in _PROGRAMS if shutil.which(name) is None)
    yield from (f"lib{name}" for name in _LIBRARIES if ctypes.util.find_library(name) is None)


def _networks(folder: Path) -> Iterator[str]:
    """Yield the CNI configurations that sort before podwire's, which a runtime takes."""
    if folder.is_dir():
        for path in sorted(folder.iterdir()):
            if path.suffix in (".conf", ".conflist", ".json") and path.name < _OURS[0]:
                yield str(path)


def _proxies() -> Iterator[str]:
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                name = (folder / "comm").read_text().strip()
            except OSError:
                continue  # it has ended
            if name == "kube-proxy":
                yield f"process {folder.name}, kube-proxy"


def _lacking(root: Path, release: str) -> Iterator[str]:
    """Yield the options that a kernel was built without; none if its configuration is not shown."""
    try:
        text = gzip.decompress((root / "proc/config.gz").read_bytes()).decode()
    except OSError:  # Debian's kernels have it as a file
        try:
            text = (root / f"boot/config-{release}").read_text()
        except OSError:
            return
    built = {
        line.removeprefix("CONFIG_").partition("=")[0] for line in text.splitlines() if "=" in line
    }
    yield from (name for name in KERNEL if name not in built)


def _has_unified() -> bool:
    every = mounts.parse(Path("/proc/self/mountinfo").read_text())
    return any(mount.kind == "cgroup2" for mount in every)


def _free(folder: Path) -> int:
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def _hidden(program: Path) -> str:
    """Return the first folder above a program that others may not enter; empty if there is none."""
    for path in [*reversed(program.parents), *reversed(program.resolve().parents)]:
        if not path.stat().st_mode & stat.S_IXOTH:
            return str(path)
    return ""


def _unanswered(endpoint: str) -> str:
    """Return why a runtime's socket does not take a connection; empty if it does."""
    if not endpoint:
        return ""
    path = endpoint.removeprefix("unix://")
    with socket.socket(socket.AF_UNIX) as made:
        made.settimeout(_SECONDS)
        try:
            made.connect(path)
        except OSError as err:
            return (
                f"the container runtime at {path} does not answer: {err.strerror or err}; "
                "start it, or name another one by --container-runtime-endpoint"
            )
    return ""


def _others(layout: Layout) -> Iterator[str]:
    for name in ("etc/kubernetes/manifests", "etc/kubernetes/kubelet.conf"):
        path = layout.root / name
        if path.is_file() or (path.is_dir() and any(path.iterdir())):
            yield str(path)
