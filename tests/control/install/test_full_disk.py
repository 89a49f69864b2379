"""A full disk: one line that names the file, and a second run that ends well."""

import subprocess
import sys
from pathlib import Path

# Makes the certificates on a disk too small for all of them, then on one that was made larger.
_SCRIPT = """
import subprocess, sys
from datetime import UTC, datetime
from pathlib import Path
from control.install import credentials
from control.install.layout import Layout
from control.install.options import reported
from control.install.settings import ControlPlaneSettings, check

layout = Layout(Path(sys.argv[1]))
data = {"node": {"name": "cp", "ips": ["192.0.2.1"]}}
settings = check(ControlPlaneSettings, data, "test")
try:
    with reported("install"):
        credentials.write(layout, settings, datetime.now(UTC))
except SystemExit as end:
    print(end)
first = {path: path.read_bytes() for path in layout.config.rglob("*.*")}
assert first and not list(layout.config.rglob("*.new"))
subprocess.run(["mount", "-o", "remount,size=1m", layout.root], check=True)
print(*credentials.write(layout, settings, datetime.now(UTC)))
assert all(path.read_bytes() == held for path, held in first.items())
assert credentials.write(layout, settings, datetime.now(UTC)) == ()
"""


def test_a_full_disk_is_told_and_the_next_run_goes_on(tmp_path: Path):
    small = 'mount -t tmpfs -o size=48k podwire-test $1 && exec $2 -c "$3" $1'
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-ec", small, "sh", tmp_path, sys.executable, _SCRIPT],
        capture_output=True,
        text=True,
        check=True,
    )
    said, made = done.stdout.splitlines()
    assert said.startswith(f"podwire install: {tmp_path}/etc/podwire/")
    assert said.endswith(": No space left on device; make room, then run this again")
    assert "ca" not in made.split() and made.split()[-1] == "dns.kubeconfig"
