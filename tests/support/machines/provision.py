"""Provisions machines as vagrant/Vagrantfile does: the same scripts, and files they expect."""

import fcntl
import hashlib
import os
import subprocess
import sys
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.support.e2e.harness import CHECKOUT, run
from tests.support.machines.machines import Machine, Site

SCRIPTS = CHECKOUT / "vagrant/provision"
_LOCK = CHECKOUT / "requirements.lock"
_PACKAGES = (CHECKOUT / "lab/debian-packages.txt", SCRIPTS / "packages.txt")
JOIN = ("podwire", "token", "create", "--ttl", "1h", "--print-join-command")
JOIN_CONTROL_PLANE = ("podwire", "certs", "upload")
KUBECONFIG = "/etc/podwire/admin.kubeconfig"


def ready_root() -> Path:
    """Return a Debian with what provisioning installs, but podwire; the first one is made."""
    maker = Path(__file__).parent / "make-root"
    digest = hashlib.sha256(b"\0".join(path.read_bytes() for path in (maker, _LOCK, *_PACKAGES)))
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "podwire/machines"
    cache.mkdir(parents=True, exist_ok=True)
    root = cache / digest.hexdigest()[:16]
    with (cache / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (root / "opt/podwire").is_dir():
            done = run(maker, new := cache / "new", timeout=900)
            assert done.returncode == 0, done.stdout + done.stderr
            new.rename(root)
    return root


def make_bundle(folder: Path) -> Path:
    """Write what vagrant/bundle writes, without the packages that the ready root has."""
    argv: list[str | Path] = [
        sys.executable,
        "-m",
        "hatchling",
        "build",
        "--target",
        "wheel",
        "--directory",
        folder,
    ]
    done = subprocess.run(argv, cwd=CHECKOUT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    names = folder / "packages.txt"
    names.write_text("".join(path.read_text() for path in _PACKAGES))
    with tarfile.open(folder / "bundle.tar", "w") as tar:
        for path in (wheel, names, _LOCK):
            tar.add(path, path.name)
    return folder / "bundle.tar"


def upload(machine: Machine, name: str, content: bytes) -> None:
    """Write a file into a machine's /tmp, as Vagrant's file provisioner does."""
    (machine.root() / "tmp" / name).write_bytes(content)


def script(machine: Machine, name: str, *arguments: str) -> str:
    """Run a script of vagrant/provision on a machine, as Vagrant's shell provisioner does."""
    text = (SCRIPTS / name).read_text()
    return machine.run("bash", "-s", "--", *arguments, stdin=text, timeout=180)


def provision(site: Site, bundle: Path, settings: str, planes: int = 1) -> str:
    """Provision all machines, the first ones as control planes; return what the scripts said."""
    machines = list(site.machines.values())
    first, others, workers = machines[0], machines[1:planes], machines[planes:]
    content = bundle.read_bytes()

    def install(machine: Machine) -> str:
        upload(machine, "podwire-bundle.tar", content)
        return script(machine, "install.sh")

    def join(machine: Machine) -> str:
        upload(machine, "podwire-join", first.run(*JOIN).encode())
        return script(machine, "worker.sh", machine.address)

    with ThreadPoolExecutor() as pool:
        said = list(pool.map(install, machines))
        upload(first, "podwire-cluster.yaml", settings.encode())
        said.append(script(first, "control-plane.sh", first.address, "first"))
        said.extend(join_control_plane(first, other, settings) for other in others)
        said.extend(pool.map(join, workers))
    return "".join(said)


def join_control_plane(
    giver: Machine, machine: Machine, settings: str, place: str = "other"
) -> str:
    """Provision a control plane, by the command that another gives; return what it said."""
    upload(machine, "podwire-cluster.yaml", settings.encode())
    upload(machine, "podwire-join", giver.run(*JOIN_CONTROL_PLANE).encode())
    return script(machine, "control-plane.sh", machine.address, place)
