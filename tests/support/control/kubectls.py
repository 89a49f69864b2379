"""The kubectl programs: the one on the PATH, those of bin/setup, and what a machine has besides."""

import asyncio
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from tests.support.control.secured import Secured

# Later folders win where two have one version.
_FOLDERS = (Path("/usr/lib/google-cloud-sdk/bin"), Path(sys.prefix, "kubectls"))
_OWN = shutil.which("kubectl")
_OTHERS = {path.name: path for folder in _FOLDERS for path in folder.glob("kubectl.1.??")}

# A manifest for tests: a Deployment and its Service.
WEB = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: web, labels: {app: web}}
spec:
  replicas: 3
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      containers:
      - {name: web, image: podwire/tools, ports: [{containerPort: 80, name: http}]}
---
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: NodePort
  selector: {app: web}
  ports: [{port: 80, targetPort: http, nodePort: 30080}]
"""

KUBECTLS = [*([Path(_OWN)] if _OWN else []), *(_OTHERS[name] for name in sorted(_OTHERS))]


@dataclass(frozen=True)
class Output:
    """The exit code and output of a kubectl."""

    code: int
    out: str
    err: str


class Kubectl:
    """The real kubectl with the kubeconfig of a server under test."""

    def __init__(self, server: Secured, program: str) -> None:
        self._arguments = [
            program,
            f"--kubeconfig={server.kubeconfig}",
            f"--cache-dir={server.folder / 'cache'}",
        ]

    async def try_(self, *arguments: str, stdin: str = "") -> Output:
        process = await self.start(*arguments)
        out, err = await process.communicate(stdin.encode())
        return Output(process.returncode or 0, out.decode(), err.decode())

    async def __call__(self, *arguments: str, stdin: str = "") -> str:
        """Return the output; the command must succeed and print nothing on stderr."""
        done = await self.try_(*arguments, stdin=stdin)
        assert (done.code, done.err) == (0, ""), (arguments, done)
        return done.out

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            *self._arguments, *arguments, stdin=pipe, stdout=pipe, stderr=pipe
        )


def at_version(server: Secured, program: Path) -> Kubectl:
    """Return one of ``KUBECTLS``, with a cache of its own."""
    return Kubectl(server, str(program))
