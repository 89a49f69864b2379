"""The build hook of hatchling: put what is compiled, and the manual pages, into the wheel."""

import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

# Compiled file or program of bin/ -> its place in the wheel, where its users look first.
PLACES = {
    "build/wheel/podwire-cni": "cni_plugin/client/podwire-cni",
    "bin/podwire-cni": "cni_plugin/client/podwire_cni.py",
    "build/wheel/sockets.bpf.o": "proxy/backends/ebpf/built/sockets.bpf.o",
    "build/wheel/packets.bpf.o": "proxy/backends/ebpf/built/packets.bpf.o",
    "build/wheel/drops.bpf.o": "debug/trace/built/drops.bpf.o",
    "build/wheel/taps.bpf.o": "debug/trace/built/taps.bpf.o",
    "build/wheel/probe-connects.bpf.o": "debug/probe/built/probe-connects.bpf.o",
    "build/wheel/probe-sockets.bpf.o": "debug/probe/built/probe-sockets.bpf.o",
    "build/wheel/probe-retransmits.bpf.o": "debug/probe/built/probe-retransmits.bpf.o",
    "build/wheel/probe-drops.bpf.o": "debug/probe/built/probe-drops.bpf.o",
}


class WheelHook(BuildHookInterface):  # type: ignore[type-arg]  # it takes no configuration
    """Makes the wheel whole, and tags it for its platform: a machine needs no compiler."""

    PLUGIN_NAME = "podwire"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compile, then tell hatchling what to include; raises CalledProcessError."""
        if version == "editable":
            return
        root = Path(self.root)
        folder = root / "build/wheel"
        subprocess.run([root / "bin/compile", folder], check=True)
        for source, target in PLACES.items():
            build_data["force_include"][str(root / source)] = target
        pages = folder / "man1"
        # The interpreter that builds has what podwire imports: build without isolation.
        subprocess.run([sys.executable, "-m", "lab.manuals", pages], cwd=root, check=True)
        build_data["shared_data"][str(pages)] = "share/man/man1"  # pipx shows these to man
        # The client is linked statically, so the oldest glibc that a tag can name will do.
        build_data["tag"] = f"py3-none-manylinux_2_17_{platform.machine()}"
        build_data["pure_python"] = False
