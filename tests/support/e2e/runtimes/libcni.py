"""The agent's caller of plugins as a command, like cnitool, but with GC and STATUS.

libcni.py add ID NETNS [HOSTPORT:PORT]   prints the addresses
libcni.py remove|check ID NETNS
libcni.py collect ID...                  keeps these
libcni.py status                         prints why not, or nothing
"""

import asyncio
import sys
from pathlib import Path

from control.runtime.base import ContainerRuntimeError, PodRef, PortMapping, SandboxConfig
from control.runtime.cni.network import CniNetwork
from control.runtime.cni.plugin import PluginError

_BIN_DIRS = (Path("/opt/cni/bin"), Path("/usr/lib/cni"))
_NETWORK = CniNetwork(Path("/etc/cni/net.d"), _BIN_DIRS, Path("/var/lib/cni"))


def _config(sandbox_id: str, ports: list[str]) -> SandboxConfig:
    pairs = [port.split(":") for port in ports]
    return SandboxConfig(
        pod=PodRef("default", sandbox_id, f"uid-{sandbox_id}"),
        attempt=0,
        hostname=sandbox_id,
        log_directory="/tmp",
        ports=tuple(PortMapping(int(a), int(b), "TCP") for a, b in pairs),
    )


async def _main(verb: str, *args: str) -> str:
    if verb == "collect":
        await _NETWORK.collect(lambda: args)
        return ""
    if verb == "status":
        return await _NETWORK.status()
    sandbox_id, netns, *ports = args
    if verb == "add":
        return " ".join(await _NETWORK.add(sandbox_id, _config(sandbox_id, ports), netns))
    if verb == "check":
        await _NETWORK.check(sandbox_id)
    else:
        await _NETWORK.remove(sandbox_id, _config(sandbox_id, ports), netns)
    return ""


if __name__ == "__main__":
    try:
        print(asyncio.run(_main(*sys.argv[1:])))
    except (PluginError, ContainerRuntimeError) as err:
        sys.exit(str(err))
