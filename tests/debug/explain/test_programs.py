"""What eBPF programs have, kept in a file and read from it."""

import subprocess
import sys
from ipaddress import ip_address, ip_network

import msgspec

from debug.machine.programs import SavedFrontend, restored, saved
from proxy.backends.installed import Installed, InstalledKind, Share
from proxy.desired.portals import Frontend, Masquerade
from proxy.model.values import Family, Protocol, Target


def test_a_frontend_comes_back_as_it_was() -> None:
    address = ip_address("10.96.0.9")
    shares = (Share(Target.of(ip_address("10.244.0.2"), 8080), 0.5),)
    key = Frontend(Family.V4, address, 80, Protocol.TCP)
    whole = Installed(
        key,
        InstalledKind.EXTERNAL,
        "default/web:http",
        shares,
        inside=(),
        affinity=10800,
        masquerade=Masquerade.ALWAYS,
        sources=(ip_network("192.0.2.0/24"),),
    )
    anywhere = Frontend(Family.V6, None, 30080, Protocol.UDP)
    bare = Installed(anywhere, InstalledKind.EXTERNAL, "default/dns")
    found = {key: whole, anywhere: bare}
    text = msgspec.json.encode(tuple(saved(found)))
    again = msgspec.json.decode(text, type=tuple[SavedFrontend, ...])
    assert dict(map(restored, again)) == found


def test_who_asks_the_kernel_does_not_wait_for_what_reads_files() -> None:
    """pyroute2 takes as long to import as all that explain does on a node."""
    code = "import sys, debug.explain.commands; sys.exit('pyroute2' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
