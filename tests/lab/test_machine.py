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
    for part in (machine.IMAGES, *(lab.machine("n1") / name for name in machine.BOUND)):
        part.mkdir(parents=True)
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
