"""A machine's own root before its first component starts."""

import subprocess
import sys
import textwrap
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]

# Becomes the program of the machine's that is named last; its mounts end with it.
BE_MACHINE = """
    import os, sys
    from pathlib import Path
    from cni_plugin.admin import standalone
    from lab import machine
    from lab.spec import Machine
    from lab.state import LabDir

    folder, client, *argv = sys.argv[1:]
    if client == "python":
        standalone.c_client = lambda: Path("/no/such/client")
    lab = LabDir(Path(folder) / "lab")
    machine.IMAGES = Path(folder) / "images"
    bound = (lab.machine("n1") / name for name in machine.BOUND)
    for part in (machine.IMAGES, lab.loaded_images("n1"), *bound):
        part.mkdir(parents=True, exist_ok=True)
    machine.make_root(lab, Machine("n1", ("172.31.0.11/24",), ()))
    os.execve(argv[0], argv, {"CNI_COMMAND": "VERSION"})
"""


@pytest.mark.parametrize("client", ["built", "python"])
def test_a_machines_cni_client_runs(client):
    # a short path, as a lab's folder has: of a long one the client does not make a home
    with TemporaryDirectory(prefix="lab-") as folder:
        done = run_in_machine(folder, client, "/opt/cni/bin/podwire-cni")
    assert (done.returncode, done.stderr) == (0, "")
    assert '"supportedVersions"' in done.stdout


def shell_in_machine(folder, script):
    done = run_in_machine(folder, "built", "/bin/sh", "-c", script)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_a_machine_writes_neither_the_checkout_nor_the_images():
    with TemporaryDirectory(prefix="lab-") as folder:
        (Path(folder) / "images").mkdir()
        folders = f"{CHECKOUT} /var/lib/podwire/images /var/lib/podwire/loaded-images"
        script = f"for d in {folders}; do touch $d/written || echo no; done"
        assert shell_in_machine(folder, script) == ["no"] * 3
        assert not (CHECKOUT / "written").exists()


def test_what_a_machine_writes_stays_in_it():
    with TemporaryDirectory(prefix="lab-") as folder:
        name = f"{Path(folder).name}-written"
        places = "/etc /usr /root /home /var/lib /tmp"
        shell_in_machine(folder, f"for d in {places}; do echo x >$d/{name} || exit 1; done")
        assert not [place for place in places.split() if Path(place, name).exists()]


def test_a_machine_holds_no_secret_of_the_host():
    """Of /etc, what not every user may read is empty; the host's other folders are absent."""
    with TemporaryDirectory(prefix="lab-") as folder:
        script = (
            "find /etc -type f ! -perm -4 -size +0 ! -name '*shadow*'; cut -d: -f2 /etc/shadow; "
            f"find /root /home /srv /mnt -mindepth 1 \\( -path {CHECKOUT} -prune -o -print \\); "
            "ls /"
        )
        found = set(shell_in_machine(folder, script)) - {str(path) for path in CHECKOUT.parents}
    assert "*" in found, "the names of the users are kept"
    shared = {"usr", "etc", "bin", "sbin", "lib", "lib32", "lib64", "libx32"}
    own = {"proc", "sys", "dev", "run", "home", "mnt", "opt", "srv", "tmp", "var", "root"}
    assert found - {"*"} <= shared | own | {CHECKOUT.parts[1]}


def run_in_machine(*words):
    enter = ["unshare", "--mount", "--uts", sys.executable, "-c", textwrap.dedent(BE_MACHINE)]
    return subprocess.run(
        [*enter, *words],
        cwd=CHECKOUT,
        input='{"cniVersion": "1.0.0"}',
        capture_output=True,
        text=True,
        check=False,
    )
