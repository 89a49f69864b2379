"""An operator on kopf: handlers of create, update and delete on a custom kind."""

import asyncio
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from tests.support.control.cluster import until
from tests.support.control.kubectls import Kubectl
from tests.support.control.secured import Secured, secured_server

CUSTOM = Path(__file__).parents[3] / "examples" / "custom"
OPERATOR = Path(__file__).with_name("crontabs.py")
CHANGED = '{"spec":{"schedule":"1 1 1 1 1"}}'


@asynccontextmanager
async def operating(server: Secured) -> AsyncIterator[list[str]]:
    """Run the operator; the lines of its log come into the list."""
    words = ("-m", "kopf", "run", "--all-namespaces", "--standalone", str(OPERATOR))
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *words,
        env=os.environ | {"KUBECONFIG": str(server.kubeconfig)},
        stderr=asyncio.subprocess.PIPE,
    )
    log: list[str] = []

    async def read() -> None:
        assert process.stderr
        async for line in process.stderr:
            log.append(line.decode())

    reading = asyncio.create_task(read())
    try:
        yield log
    finally:
        process.terminate()
        await process.wait()
        await reading


async def test_an_operator_acts_on_a_custom_kind(tmp_path: Path):
    async with secured_server(tmp_path) as server:
        kubectl = Kubectl(server, shutil.which("kubectl") or "kubectl")
        await kubectl("apply", "-f", str(CUSTOM / "definition.yaml"))
        await kubectl("wait", "--for=condition=Established", "crd/crontabs.example.com")

        async def shows(path: str, wanted: str) -> bool:
            return await kubectl("get", "ct/nightly", f"-o=jsonpath={path}") == wanted

        async with operating(server) as log:
            await kubectl("create", "-f", str(CUSTOM / "nightly.yaml"))
            await until(lambda: shows("{.status.seen}", "0 3 * * *"), "the status")
            assert await shows("{.metadata.finalizers[0]}", "kopf.zalando.org/KopfFinalizerMarker")
            await kubectl("patch", "ct/nightly", "--type=merge", f"--patch={CHANGED}")
            await until(lambda: shows("{.status.seen}", "1 1 1 1 1"), "the status after a change")
            await kubectl("delete", "ct/nightly", "--timeout=60s")  # waits for the finalizer
        wrong = [line for line in log if "ERROR" in line or "Traceback" in line]
        assert not wrong, "".join(log)
        assert any("Handler 'gone' succeeded" in line for line in log)
