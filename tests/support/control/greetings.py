"""The extension server of examples/extension, behind a Service of a server under test."""

import asyncio
import threading
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from tests.support.control.extension import Certificates, endpoints
from tests.support.control.requests import CORE, Api

SOURCE = Path(__file__).parents[3] / "examples/extension/server.py"
HOST = "greetings.default.svc"
GREETINGS = "/apis/greet.example.com/v1"
SERVICES = "/apis/apiregistration.k8s.io/v1/apiservices"
GROUPS = ("v1.greet.example.com", "v1beta1.external.metrics.k8s.io")


def example() -> ModuleType:
    """Load the example anew; it has no Greetings yet."""
    spec = spec_from_file_location("greetings_server", SOURCE)
    assert spec is not None and spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@asynccontextmanager
async def greetings_server(folder: Path, found: Certificates) -> AsyncIterator[int]:
    """Serve on a free port, with the certificates in a folder."""
    authority = found.proxy_authority.read_text()
    module = example()
    made = module.server(0, folder / "wardle.crt", folder / "wardle.key", authority)
    made.daemon_threads = False  # so that closing the server waits for its connections
    thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made.server_address[1]
    finally:
        module.Handler.greetings.close()
        await asyncio.to_thread(made.shutdown)
        await asyncio.to_thread(made.server_close)
        thread.join()
        for _ in range(10):  # so that this end sees that the connections are closed
            await asyncio.sleep(0)


async def register(api: Api, found: Certificates, port: int) -> None:
    """Make the Service, its endpoint and the APIServices."""
    ports = {"spec": {"ports": [{"port": 443}]}}
    await api.make(f"{CORE}/services", {"metadata": {"name": "greetings"}} | ports)
    await endpoints(api.state, port, "greetings")
    bundle = b64encode(found.server_authority.certificate).decode()
    for name in GROUPS:
        version, _, group = name.partition(".")
        spec: dict[str, Any] = {
            "group": group,
            "version": version,
            "groupPriorityMinimum": 2000,
            "versionPriority": 15,
            "service": {"namespace": "default", "name": "greetings"},
            "caBundle": bundle,
        }
        await api.make(SERVICES, {"metadata": {"name": name}, "spec": spec})
