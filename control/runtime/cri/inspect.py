"""Asks a CRI runtime about itself: its version, its readiness, its sandboxes' namespaces."""

import asyncio
import json
from typing import Any

from grpclib.const import Status

from control.runtime.base import RUNTIME_DOWN, ContainerRuntimeError
from control.runtime.cri import calls
from control.runtime.cri.calls import CallError, Calls
from control.runtime.cri.v1 import api_pb2 as pb

_TRIES, _PAUSE_SECONDS = 100, 0.2
_REQUIRED = ("RuntimeReady", "NetworkReady")


async def version(call: Calls) -> tuple[str, str]:
    """Return a runtime's name and version; raises ContainerRuntimeError.

    A runtime that has just started has some seconds: its socket is there, and systemd told, before
    it answers (containerd 1.6: UNKNOWN, "server is not initialized yet").
    """
    for _ in range(_TRIES - 1):
        try:
            return await _version(call)
        except CallError:
            await asyncio.sleep(_PAUSE_SECONDS)
    return await _version(call)


async def _version(call: Calls) -> tuple[str, str]:
    try:
        answer = await call(calls.VERSION, pb.VersionRequest(version="v1"))
    except CallError as err:
        if err.status is Status.UNIMPLEMENTED:
            raise ContainerRuntimeError(
                f"container runtime at {call.socket} does not speak runtime.v1 of CRI ({err}): "
                "containerd speaks it since 1.6, if its plugin io.containerd.grpc.v1.cri is not in "
                "disabled_plugins of /etc/containerd/config.toml; CRI-O since 1.23"
            ) from err
        raise
    return answer.runtime_name, answer.runtime_version


async def problem(call: Calls) -> str:
    """Return why the runtime can run or connect no Pod now; empty if nothing is wrong."""
    try:
        status = (await call(calls.STATUS, pb.StatusRequest())).status
    except ContainerRuntimeError as err:
        return f"{RUNTIME_DOWN}: {err}"
    found = {item.type: item for item in status.conditions}
    for kind in _REQUIRED:
        if kind not in found:
            return f"{RUNTIME_DOWN}: it does not say {kind}"
        if not found[kind].status:
            text = found[kind].message or found[kind].reason or f"{kind}=false"
            return text if kind == "NetworkReady" else f"{RUNTIME_DOWN}: {text}"
    return ""


async def sandbox_image(call: Calls) -> str:
    """Return the image of sandboxes as containerd's verbose status says it; "" if nobody does."""
    answer = await call(calls.STATUS, pb.StatusRequest(verbose=True))
    try:
        return str(json.loads(answer.info["config"])["sandboxImage"])
    except (KeyError, TypeError, ValueError):
        return ""


async def network_namespace(call: Calls, sandbox_id: str) -> str:
    """Return the path of a sandbox's network namespace.

    Raises ContainerRuntimeError. CRI has no field for it; containerd and CRI-O say it in the
    verbose answer, as their ``runtimeSpec``.
    """
    request = pb.PodSandboxStatusRequest(pod_sandbox_id=sandbox_id, verbose=True)
    answer = await call(calls.SANDBOX_STATUS, request)
    try:
        found = _namespace(json.loads(answer.info["info"]))
    except (KeyError, TypeError, ValueError):
        found = ""
    if not found:
        raise ContainerRuntimeError(
            f"sandbox {sandbox_id[:13]}: the runtime does not say where its network namespace is"
        )
    return found


def _namespace(info: dict[str, Any]) -> str:
    spaces = info["runtimeSpec"]["linux"]["namespaces"]
    return next((str(it.get("path", "")) for it in spaces if it["type"] == "network"), "")
