"""Makes containers by the calls of CRI that an agent makes, and by no others: bench/cri.py's peer.

Runs on a node. For each line of standard input, a number, it makes so many Pods at the same time,
writes the seconds from the first call until the last has started, and removes them.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from control.runtime.cri import calls, render
from control.runtime.cri.calls import Calls
from control.runtime.cri.v1 import api_pb2 as pb

_IMAGE = "docker.io/podwire/tools:latest"
_DEFAULT = pb.SecurityProfile(profile_type=pb.SecurityProfile.RuntimeDefault)
_NAMESPACES = pb.NamespaceOption(network=pb.POD, pid=pb.CONTAINER, ipc=pb.POD)


def sandbox(name: str, cgroup: str) -> pb.PodSandboxConfig:
    """Return the message of a sandbox like one of an agent's."""
    return pb.PodSandboxConfig(
        metadata=pb.PodSandboxMetadata(name=name, namespace="by-hand", uid=name),
        hostname=name,
        log_directory=f"/var/log/pods/{name}",
        linux=pb.LinuxPodSandboxConfig(
            cgroup_parent=f"/{cgroup}/by-hand/{name}",
            security_context=pb.LinuxSandboxSecurityContext(
                namespace_options=_NAMESPACES, seccomp=_DEFAULT
            ),
        ),
    )


def container() -> pb.ContainerConfig:
    """Return the message of a container that waits."""
    return pb.ContainerConfig(
        metadata=pb.ContainerMetadata(name="main"),
        image=pb.ImageSpec(image=_IMAGE),
        command=["sleep", "1000000"],
        log_path="main.log",
        linux=pb.LinuxContainerConfig(
            security_context=pb.LinuxContainerSecurityContext(
                namespace_options=_NAMESPACES,
                seccomp=_DEFAULT,
                masked_paths=render.MASKED,
                readonly_paths=render.READ_ONLY,
            )
        ),
    )


async def make(call: Calls, name: str, cgroup: str) -> str:
    """Make a sandbox, create its container, start it; return the sandbox's ID."""
    config = sandbox(name, cgroup)
    await asyncio.to_thread(Path(config.log_directory).mkdir, parents=True, exist_ok=True)
    box = (await call(calls.RUN_SANDBOX, pb.RunPodSandboxRequest(config=config))).pod_sandbox_id
    request = pb.CreateContainerRequest(
        pod_sandbox_id=box, config=container(), sandbox_config=config
    )
    made = (await call(calls.CREATE, request)).container_id
    await call(calls.START, pb.StartContainerRequest(container_id=made))
    return box


async def remove(call: Calls, box: str) -> None:
    """Stop and remove a sandbox, and its container with it."""
    await call(calls.STOP_SANDBOX, pb.StopPodSandboxRequest(pod_sandbox_id=box))
    await call(calls.REMOVE_SANDBOX, pb.RemovePodSandboxRequest(pod_sandbox_id=box))


async def one_round(call: Calls, count: int, cgroup: str) -> float:
    """Make Pods at the same time, and remove them; return the seconds of the first."""
    began = time.monotonic()
    made = await asyncio.gather(*(make(call, f"p{number}", cgroup) for number in range(count)))
    took = time.monotonic() - began
    await asyncio.gather(*(remove(call, box) for box in made))
    return took


async def serve(socket: Path, cgroup: str) -> None:
    """Answer each number on standard input."""
    call = Calls(socket)
    while line := await asyncio.to_thread(sys.stdin.readline):
        print(json.dumps(await one_round(call, int(line), cgroup)), flush=True)
    call.close()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
