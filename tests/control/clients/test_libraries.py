"""Client libraries, each in a process of its own: what a script of theirs does, and asserts."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import yaml

from tests.support.control.api_server import ApiServer
from tests.support.control.streaming import streaming

CLIENTS = Path(os.environ.get("PODWIRE_CLIENTS", Path(sys.prefix, "clients")))
PYTHON = CLIENTS / "bin" / "python"
LIBRARIES = Path(__file__).with_name("libraries")
LINE = "2026-11-22T13:00:00.00000000{}Z stdout F {}\n"
SCRIPTS = {
    "kubernetes": "official.py",
    "kubernetes_asyncio": "asyncio_client.py",
    "lightkube": "light.py",
    "kr8s": "kr8s_client.py",
}


pytestmark = pytest.mark.skipif(
    not (CLIENTS / "made-from").exists(), reason="bin/setup --clients brings the libraries"
)


@pytest.mark.parametrize("library", SCRIPTS)
async def test_a_library_drives_objects_watches_logs_and_commands(library: str, tmp_path: Path):
    async with with_a_pod(tmp_path):
        await run(tmp_path, PYTHON, LIBRARIES / SCRIPTS[library])


async def test_client_node_drives_objects_watches_streams_and_metrics(tmp_path: Path):
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1000):
            writer.write(data)
        writer.close()

    async with with_a_pod(tmp_path), await asyncio.start_server(echo, "127.0.0.1") as pod:
        port = pod.sockets[0].getsockname()[1]
        script = LIBRARIES / "node" / "client_node.js"
        words = (CLIENTS / "bin" / "node", script, CLIENTS / "node")
        await run(tmp_path, *words, PORT=str(port))


async def test_ansible_drives_objects_logs_commands_copies_and_nodes(tmp_path: Path):
    variables = f"folder={tmp_path} ansible_python_interpreter={PYTHON}"
    async with with_a_pod(tmp_path):
        await run(
            tmp_path,
            PYTHON.with_name("ansible-playbook"),
            f"--extra-vars={variables}",
            LIBRARIES / "kubernetes_core.yml",
            ANSIBLE_COLLECTIONS_PATH=str(CLIENTS / "ansible"),
            ANSIBLE_HOME=str(tmp_path),
            ANSIBLE_NOCOLOR="1",
        )


@asynccontextmanager
async def with_a_pod(folder: Path) -> AsyncIterator[None]:
    """A cluster whose Pod "web" has a log of two lines; its kubeconfig is in the folder."""
    async with streaming(folder) as cluster:
        ready = [{"type": "Ready", "status": "True"}]
        pod = await cluster.pod("web", phase="Running", podIP="127.0.0.1", conditions=ready)
        log = cluster.runtime.add(pod, "c")
        log.write_text(LINE.format(1, "one") + LINE.format(2, "two"))
        (folder / "kubeconfig").write_text(kubeconfig(cluster.url))
        yield


async def run(home: Path, program: Path, *words: str | Path, **environment: str) -> None:
    """Run a client until it ends, with success."""
    process = await asyncio.create_subprocess_exec(
        program,
        *words,
        cwd=home,
        env=os.environ
        | {"KUBECONFIG": str(home / "kubeconfig"), "HOME": str(home), "LC_ALL": "C.UTF-8"}
        | environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    try:
        async with asyncio.timeout(480):
            said, _ = await process.communicate()
    finally:
        with suppress(ProcessLookupError):
            process.kill()
    assert process.returncode == 0, said.decode()


@pytest.mark.timeout(1800)
async def test_schemathesis_finds_no_failure_of_the_server(api_server: ApiServer):
    """It makes requests of what /openapi/v3 says; whatever they are, none is answered with 5xx."""
    process = await asyncio.create_subprocess_exec(
        PYTHON.with_name("schemathesis"),
        "run",
        f"{api_server.url}/openapi/v3/apis/batch/v1",
        f"--url={api_server.url}",
        "--checks=not_a_server_error",
        "--phases=fuzzing",
        "--max-examples=2",
        "--exclude-method=GET",  # a watch goes on
        "--seed=1",
        "--max-time=30",
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    assert process.returncode == 0, said.decode()


def kubeconfig(url: str) -> str:
    context = {"cluster": "c", "user": "u", "namespace": "default"}
    # client-node wants to hear that plain HTTP is known to be unsafe.
    cluster = {"server": url, "insecure-skip-tls-verify": True}
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": context}],
            "clusters": [{"name": "c", "cluster": cluster}],
            "users": [{"name": "u", "user": {}}],
        }
    )
