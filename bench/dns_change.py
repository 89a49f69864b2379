"""How soon the cluster DNS answers what changed, while others ask.

A real API server and a real ``podwire dns``. The only endpoint of a headless Service gets another
address, again and again. This process watches as the DNS server does: the time counts from its own
event to the first new answer. Meanwhile others ask 200 times a second: each answer has to be a
state that the cluster had, and none may come after a newer one.
"""

import asyncio
import socket
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path

import dns.exception
import dns.message
import dns.query
import dns.rdatatype

from bench.hostile.server import served
from bench.versus import THIS
from control.api import kinds
from control.api.service import EndpointSlice, Service
from control.client import Client, Informer

LIMIT = 0.1  # seconds from the event to the answer
LOOKUPS = 200  # a second
PORT, HOST = 5397, "127.0.0.1"
_BASE = int(ip_address("10.9.0.1"))
_NAME = "rolling.default.svc.cluster.local."
_META = {"name": "rolling", "namespace": "default"}
_KUBECONFIG = """\
apiVersion: v1
kind: Config
clusters: [{{name: c, cluster: {{server: "https://127.0.0.1:{}", certificate-authority: ca.crt}}}}]
users: [{{name: u, user: {{client-certificate: admin.crt, client-key: admin.key}}}}]
contexts: [{{name: x, context: {{cluster: c, user: u}}}}]
current-context: x
"""


@dataclass
class Asked:
    """What the lookups beside the changes saw."""

    answers: int = 0
    wrong: list[str] = field(default_factory=list)
    done: bool = False


@contextmanager
def answering(kubeconfig: Path) -> Iterator[None]:
    """Run ``podwire dns`` until the context ends."""
    pages = [f"--{page}-bind-address={HOST}:0" for page in ("health", "ready", "metrics")]
    argv = [*THIS.podwire, "dns", f"--kubeconfig={kubeconfig}", f"--listen={HOST}:{PORT}", *pages]
    with subprocess.Popen(argv, env=THIS.environment, cwd=THIS.root) as process:
        try:
            yield
        finally:
            process.terminate()


def state_of() -> int | None:
    """Ask for the name; return the state that the answer is of, None if there is no address."""
    query = dns.message.make_query(_NAME, "A")
    response = dns.query.udp(query, HOST, port=PORT, timeout=1)
    found = [rdata.to_text() for rrset in response.answer for rdata in rrset]
    return int(ip_address(found[0])) - _BASE if len(found) == 1 else None


def endpoints(state: int) -> dict[str, object]:
    """Return the part of an EndpointSlice that a state is."""
    return {"endpoints": [{"addresses": [str(ip_address(_BASE + state))]}]}


def ask_beside(asked: Asked) -> None:
    """Ask 200 times a second until it is done."""
    newest, due = 0, time.monotonic()
    while not asked.done:
        try:
            state = state_of()
        except (dns.exception.DNSException, OSError) as err:
            asked.wrong.append(f"no answer: {err!r}")
        else:
            if state is None or state < newest:
                asked.wrong.append(f"state {state} after {newest}")
            newest = max(newest, state or 0)
            asked.answers += 1
        due = max(due + 1 / LOOKUPS, time.monotonic() - 1)
        time.sleep(max(0.0, due - time.monotonic()))


async def delays(client: Client, changes: int) -> list[float]:
    """Change the endpoint; return the seconds from each event to the first new answer."""
    seen: asyncio.Queue[float] = asyncio.Queue()
    informer = Informer(client, kinds.ENDPOINT_SLICE)
    informer.subscribe(lambda _, __: seen.put_nowait(time.monotonic()))
    watching = asyncio.create_task(informer.run())
    await informer.synced.wait()
    while not seen.empty():
        seen.get_nowait()
    found = []
    for state in range(1, changes + 1):
        await client.patch(kinds.ENDPOINT_SLICE, "default", "rolling-a", endpoints(state))
        event = await seen.get()
        answered = await asyncio.to_thread(_until_new, state)
        found.append(max(0.0, answered - event))
    watching.cancel()
    await asyncio.gather(watching, return_exceptions=True)
    return found


def _until_new(state: int) -> float:
    while True:
        with suppress(dns.exception.DNSException, OSError):
            if state_of() == state:
                return time.monotonic()
        time.sleep(0.0005)


async def _measure(kubeconfig: Path, changes: int) -> tuple[list[float], Asked]:
    asked = Asked()
    async with Client.from_kubeconfig(kubeconfig) as client:
        spec = {"clusterIP": "None", "ports": [{"port": 80}]}
        await client.create(kinds.SERVICE, Service.parse({"metadata": _META, "spec": spec}))
        labels = {"kubernetes.io/service-name": "rolling"}
        meta = _META | {"name": "rolling-a", "labels": labels}
        first = {"metadata": meta, "addressType": "IPv4", **endpoints(0)}
        await client.create(kinds.ENDPOINT_SLICE, EndpointSlice.parse(first))
        await asyncio.to_thread(_until_new, 0)
        beside = threading.Thread(target=ask_beside, args=[asked])
        beside.start()
        try:
            return await delays(client, changes), asked
        finally:
            asked.done = True
            await asyncio.to_thread(beside.join)


async def _until_served(port: int) -> None:
    while True:
        with suppress(OSError):
            socket.create_connection((HOST, port)).close()
            return
        await asyncio.sleep(0.05)


def measure(folder: Path, changes: int) -> bool:
    """Measure and print; return True within the limits."""
    with served(THIS, folder) as port:
        kubeconfig = folder / "kubeconfig"
        kubeconfig.write_text(_KUBECONFIG.format(port))
        asyncio.run(_until_served(port))
        with answering(kubeconfig):
            found, asked = asyncio.run(_measure(kubeconfig, changes))
    found.sort()
    slowest = found[int(len(found) * 0.99)]
    print(
        f"a change is answered {statistics.median(found) * 1000:.1f} ms after its event, p99 "
        f"{slowest * 1000:.1f} ms, at {LOOKUPS} lookups a second"
    )
    print(f"of {asked.answers:,} answers meanwhile {len(asked.wrong)} were wrong or late")
    for text in asked.wrong[:5]:
        print(f"  {text}")
    return slowest <= LIMIT and not asked.wrong
