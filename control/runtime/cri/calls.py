"""The connection to a CRI runtime: one call a method, on a Unix socket.

Source: k8s.io/cri-api, pkg/apis/runtime/v1/api.proto; https://grpc.io/docs/guides/status-codes
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from google.protobuf.message import Message
from grpclib.client import Channel, UnaryUnaryMethod
from grpclib.const import Status
from grpclib.exceptions import GRPCError, StreamTerminatedError
from grpclib.protocol import H2Protocol

from control.rpc import answer_of
from control.runtime.base import ContainerRuntimeError
from control.runtime.cri.v1 import api_pb2 as pb

_SECONDS = 120.0  # for one call, kubelet's --runtime-request-timeout
Q = TypeVar("Q", bound=Message)
A = TypeVar("A", bound=Message)


class CallError(ContainerRuntimeError):
    """The runtime has answered a call with an error; ``status`` is gRPC's."""

    def __init__(self, message: str, status: Status) -> None:
        super().__init__(message)
        self.status = status


class RuntimeDownError(ContainerRuntimeError):
    """The runtime does not answer: it is not running, or has just ended."""


@dataclass(frozen=True, slots=True)
class Method(Generic[Q, A]):
    """One call of CRI."""

    name: str
    request: type[Q]
    answer: type[A]
    service: str = "RuntimeService"

    @property
    def path(self) -> str:
        """The HTTP/2 path of the call."""
        return f"/runtime.v1.{self.service}/{self.name}"


_IMAGES = "ImageService"
VERSION = Method("Version", pb.VersionRequest, pb.VersionResponse)
STATUS = Method("Status", pb.StatusRequest, pb.StatusResponse)
RUN_SANDBOX = Method("RunPodSandbox", pb.RunPodSandboxRequest, pb.RunPodSandboxResponse)
STOP_SANDBOX = Method("StopPodSandbox", pb.StopPodSandboxRequest, pb.StopPodSandboxResponse)
REMOVE_SANDBOX = Method("RemovePodSandbox", pb.RemovePodSandboxRequest, pb.RemovePodSandboxResponse)
SANDBOX_STATUS = Method("PodSandboxStatus", pb.PodSandboxStatusRequest, pb.PodSandboxStatusResponse)
LIST_SANDBOXES = Method("ListPodSandbox", pb.ListPodSandboxRequest, pb.ListPodSandboxResponse)
CREATE = Method("CreateContainer", pb.CreateContainerRequest, pb.CreateContainerResponse)
START = Method("StartContainer", pb.StartContainerRequest, pb.StartContainerResponse)
STOP = Method("StopContainer", pb.StopContainerRequest, pb.StopContainerResponse)
REMOVE = Method("RemoveContainer", pb.RemoveContainerRequest, pb.RemoveContainerResponse)
CONTAINER_STATUS = Method("ContainerStatus", pb.ContainerStatusRequest, pb.ContainerStatusResponse)
LIST_CONTAINERS = Method("ListContainers", pb.ListContainersRequest, pb.ListContainersResponse)
UPDATE = Method(
    "UpdateContainerResources",
    pb.UpdateContainerResourcesRequest,
    pb.UpdateContainerResourcesResponse,
)
REOPEN_LOG = Method(
    "ReopenContainerLog", pb.ReopenContainerLogRequest, pb.ReopenContainerLogResponse
)
EXEC_SYNC = Method("ExecSync", pb.ExecSyncRequest, pb.ExecSyncResponse)
EXEC = Method("Exec", pb.ExecRequest, pb.ExecResponse)
ATTACH = Method("Attach", pb.AttachRequest, pb.AttachResponse)
LIST_STATS = Method(
    "ListContainerStats", pb.ListContainerStatsRequest, pb.ListContainerStatsResponse
)
IMAGE_STATUS = Method("ImageStatus", pb.ImageStatusRequest, pb.ImageStatusResponse, _IMAGES)
LIST_IMAGES = Method("ListImages", pb.ListImagesRequest, pb.ListImagesResponse, _IMAGES)
REMOVE_IMAGE = Method("RemoveImage", pb.RemoveImageRequest, pb.RemoveImageResponse, _IMAGES)
IMAGE_FS = Method("ImageFsInfo", pb.ImageFsInfoRequest, pb.ImageFsInfoResponse, _IMAGES)
PULL_IMAGE = Method("PullImage", pb.PullImageRequest, pb.PullImageResponse, _IMAGES)


class _Channel(Channel):
    """A channel that makes no connection once it is closed; grpclib's own would (0.4.9)."""

    is_closed = False

    async def __connect__(self) -> H2Protocol:
        """Return the connection; raises OSError."""
        self._require_open()
        protocol = await super().__connect__()
        self._require_open()
        return protocol

    def _require_open(self) -> None:
        if self.is_closed:
            super().close()  # the connection that was being made then
            raise ConnectionAbortedError("it was closed here")

    def close(self) -> None:
        """Close the connection for good."""
        self.is_closed = True
        super().close()


class Calls:
    """A connection that is made when it is needed, and made again after the runtime's restart."""

    def __init__(self, socket: Path) -> None:
        self.socket = socket
        self._channel: _Channel | None = None
        self._is_closed = False

    def close(self) -> None:
        """Close the connection for good: calls under way fail, and later ones."""
        self._is_closed = True
        if self._channel is not None:
            self._channel.close()

    async def __call__(self, method: Method[Q, A], request: Q, seconds: float = _SECONDS) -> A:
        """Make one call; raises CallError, RuntimeDownError."""
        try:
            call = UnaryUnaryMethod(self._open(), method.path, method.request, method.answer)
            return await answer_of(call(request, timeout=seconds))
        except GRPCError as err:
            raise CallError(_reason(err), err.status) from err
        except TimeoutError as err:
            raise RuntimeDownError(
                f"container runtime at {self.socket}: {method.name}: no answer in {seconds:.0f} s"
            ) from err
        except (OSError, StreamTerminatedError) as err:
            raise RuntimeDownError(self._down(method.name, err)) from err

    def _open(self) -> Channel:
        """Return the channel, which connects at its first call; raises OSError."""
        if self._channel is None:
            self._channel = _Channel(path=str(self.socket))
            if self._is_closed:
                self._channel.close()
        return self._channel

    def _down(self, method: str, err: Exception) -> str:
        where = f"container runtime at {self.socket}: {method}"
        if isinstance(err, FileNotFoundError):
            return f"{where}: no such socket: is the runtime running, and is this its endpoint?"
        if isinstance(err, ConnectionRefusedError):
            return f"{where}: nobody listens on the socket: the runtime is not running"
        return f"{where}: the connection has ended: {err or type(err).__name__}"


def _reason(err: GRPCError) -> str:
    """Return the runtime's own text, on one line."""
    return " ".join((err.message or err.status.name).split())
