"""Client libraries, each in a process of its own: what a script of theirs does, and asserts."""

import asyncio
import os
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.support.control.api_server import ApiServer
from tests.support.control.streaming import streaming

PYTHON = Path(os.environ.get("PODWIRE_CLIENTS", Path(sys.prefix, "clients")), "bin", "python")
LIBRARIES = Path(__file__).with_name("libraries")
LINE = "2026-11-22T13:00:00.00000000{}Z stdout F {}\n"
SCRIPTS = {
    "kubernetes": "official.py",
    "kubernetes_asyncio": "asyncio_client.py",
    "lightkube": "light.py",
    "kr8s": "kr8s_client.py",
}


pytestmark = pytest.mark.skipif(
    not PYTHON.exists(), reason="bin/setup --clients brings the libraries"
)


@pytest.mark.parametrize("library", SCRIPTS)
async def test_a_library_drives_objects_watches_logs_and_commands(library: str, tmp_path: Path):
    async with streaming(tmp_path) as cluster:
        log = cluster.runtime.add(await cluster.pod("web"), "c")
        log.write_text(LINE.format(1, "one") + LINE.format(2, "two"))
        config = tmp_path / "kubeconfig"
        config.write_text(kubeconfig(cluster.url))
        process = await asyncio.create_subprocess_exec(
            PYTHON,
            LIBRARIES / SCRIPTS[library],
            env=os.environ | {"KUBECONFIG": str(config), "HOME": str(tmp_path)},
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        try:
            async with asyncio.timeout(240):
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
    return yaml.safe_dump(
        {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "contexts": [{"name": "c", "context": context}],
            "clusters": [{"name": "c", "cluster": {"server": url}}],
            "users": [{"name": "u", "user": {}}],
        }
    )
