"""containerd in a machine, and a kubelet's calls of its Container Runtime Interface."""

import itertools
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import grpc

from control.runtime.cri.v1 import api_pb2
from tests.support.e2e.harness import eventually
from tests.support.e2e.runtimes.images import write_image
from tests.support.e2e.runtimes.machine import Machine

IMAGE = "docker.io/podwire/busybox:test"
_CONFIG = """
version = 2
root = "{files}/containerd"
state = "/run/containerd"
disabled_plugins = ["io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[grpc]
  address = "{files}/containerd.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/opt/cni/bin"
    conf_dir = "/etc/cni/net.d"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc.options]
      SystemdCgroup = false
"""


class Sandbox:
    """A running sandbox of a Pod."""

    def __init__(self, cri: "Containerd", sandbox_id: str, config: Any) -> None:
        self._cri, self.id, self._config = cri, sandbox_id, config
        info = json.loads(
            cri.call("PodSandboxStatus", pod_sandbox_id=self.id, verbose=True).info["info"]
        )
        spaces = info["runtimeSpec"]["linux"]["namespaces"]
        self.netns = next(space["path"] for space in spaces if space["type"] == "network")
        self.cni_result: Mapping[str, Any] = info["cniResult"]

    @property
    def addresses(self) -> list[str]:
        """The Pod's addresses, as a kubelet would publish them."""
        network = self._cri.call("PodSandboxStatus", pod_sandbox_id=self.id).status.network
        return [network.ip, *(item.ip for item in network.additional_ips)]

    def run(self, *argv: str) -> str:
        """The output of a machine's command in the Pod's network namespace. It must succeed."""
        return self._cri.machine.run("nsenter", f"--net={self.netns}", "--", *argv)

    def serve(self, text: str, port: int) -> None:
        """Start a container that answers HTTP requests with ``text``."""
        script = f"mkdir /www && echo {text} > /www/index.html && exec busybox httpd -f -h /www"
        config = {
            "metadata": {"name": "web"},
            "image": {"image": IMAGE},
            "command": ["/bin/busybox", "sh", "-c", f"{script} -p {port}"],
            "linux": {},
        }
        made = self._cri.call(
            "CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self._config
        )
        self._cri.call("StartContainer", container_id=made.container_id)

    def stop(self) -> None:
        """Stop the sandbox, as a kubelet does. It may be repeated."""
        self._cri.call("StopPodSandbox", pod_sandbox_id=self.id)

    def remove(self) -> None:
        """Remove the sandbox, as a kubelet does. It may be repeated."""
        self._cri.call("RemovePodSandbox", pod_sandbox_id=self.id)


class Containerd:
    """A containerd that answers."""

    def __init__(self, machine: Machine, channel: grpc.Channel) -> None:
        self.machine = machine
        self._channel = channel
        self._numbers = itertools.count()

    def call(self, method: str, **fields: Any) -> Any:
        """Make one call. Raises grpc.RpcError."""
        request = getattr(api_pb2, f"{method}Request")(**fields)
        answer = getattr(api_pb2, f"{method}Response")
        path = f"/runtime.v1.RuntimeService/{method}"
        ask = self._channel.unary_unary(path, type(request).SerializeToString, answer.FromString)
        return ask(request, timeout=60)

    def run_sandbox(self, name: str, **options: Any) -> Sandbox:
        """Run a Pod's sandbox; ``options`` are fields of PodSandboxConfig."""
        uid = f"uid-{next(self._numbers)}"
        metadata = {"name": name, "uid": uid, "namespace": "default"}
        logs = str(self.machine.files / "logs")
        config = {"metadata": metadata, "hostname": name, "log_directory": logs, "linux": {}}
        made = self.call("RunPodSandbox", config=config | options)
        return Sandbox(self, made.pod_sandbox_id, config | options)

    def remove_all(self) -> None:
        """Remove every sandbox, also a half-made one."""
        for item in self.call("ListPodSandbox").items:
            self.call("RemovePodSandbox", pod_sandbox_id=item.id)

    def networks(self) -> list[str]:
        """The names of the networks that containerd has read."""
        info = self.call("Status", verbose=True).info
        return [item["Config"]["Name"] for item in json.loads(info["cniconfig"])["Networks"]]

    def network_problem(self) -> str:
        """containerd's reason for having no network; empty if it has one."""
        conditions = self.call("Status").status.conditions
        found = next(item for item in conditions if item.type == "NetworkReady")
        return "" if found.status else found.message


@contextmanager
def containerd(machine: Machine) -> Iterator[Containerd]:
    """Run containerd in the machine for the block, with the test's image."""
    files = machine.files
    (files / "containerd.toml").write_text(_CONFIG.format(files=files, image=IMAGE))
    write_image(files / "image.tar", IMAGE)
    with (
        machine.running("containerd", "containerd", "--config", files / "containerd.toml"),
        grpc.insecure_channel(f"unix://{files}/containerd.sock") as channel,
    ):
        ctr = ("ctr", "--address", files / "containerd.sock", "--namespace", "k8s.io")
        eventually(lambda: machine.try_run(*ctr, "version").returncode == 0, 30)
        machine.run(*ctr, "images", "import", files / "image.tar")
        yield Containerd(machine, channel)
