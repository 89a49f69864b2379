"""Probes of containers: the counting of results (pure), and the requests themselves.

Source: kubelet's prober (worker.go) and kubernetes.io, "Configure Liveness, Readiness and Startup
Probes".
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import aiohttp

from control.api import container as api
from control.runtime.base import ContainerRuntimeError, Runtime
from control.version import KUBERNETES_MINOR

_USER_AGENT = f"kube-probe/{KUBERNETES_MINOR}"


class ProbeResult(StrEnum):
    """The result of one probe, or of a row of probes."""

    SUCCESS = "Success"
    FAILURE = "Failure"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class ProbeTally:
    """The count of a row of probes; ``result`` changes when a threshold is reached."""

    result: ProbeResult
    last: ProbeResult = ProbeResult.UNKNOWN
    row: int = 0

    def count(self, once: ProbeResult, probe: api.Probe) -> "ProbeTally":
        """Count one more result; unknown results are ignored."""
        if once is ProbeResult.UNKNOWN:
            return self
        row = self.row + 1 if once is self.last else 1
        needed = (
            (probe.success_threshold or 1)
            if once is ProbeResult.SUCCESS
            else (probe.failure_threshold or 3)
        )
        return replace(self, last=once, row=row, result=once if row >= needed else self.result)


@dataclass(frozen=True, slots=True)
class ProbeTarget:
    """The container to probe, and the address on which it listens."""

    container_id: str
    spec: api.Container
    address: str


ProbeAnswer = tuple[ProbeResult, str]


class Prober:
    """Sends probes and runs lifecycle hooks."""

    def __init__(self, runtime: Runtime, session: aiohttp.ClientSession) -> None:
        self._runtime, self._session = runtime, session

    async def run(self, target: ProbeTarget, handler: api.Handler, seconds: float) -> ProbeAnswer:
        """Run a handler once; return the result, and the cause of a failure."""
        try:
            async with asyncio.timeout(seconds + 0.5):  # every kind has its own, earlier timeout
                return await self._dispatch(target, handler, seconds)
        except TimeoutError:
            return ProbeResult.FAILURE, f"command timed out after {seconds:g}s"

    async def _dispatch(
        self, target: ProbeTarget, handler: api.Handler, seconds: float
    ) -> ProbeAnswer:
        if handler.exec:
            return await self._exec(target, handler.exec, seconds)
        if handler.http_get:
            return await self._http(target, handler.http_get, seconds)
        if handler.tcp_socket:
            return await self._tcp(target, handler.tcp_socket, seconds)
        if isinstance(handler, api.Probe) and handler.grpc:
            return await self._grpc(target, handler.grpc, seconds)
        if handler.sleep:
            await asyncio.sleep(min(handler.sleep.get("seconds", 0), seconds))
            return ProbeResult.SUCCESS, ""
        return ProbeResult.UNKNOWN, "this kind of probe is not supported"

    async def _exec(
        self, target: ProbeTarget, action: api.ExecAction, seconds: float
    ) -> ProbeAnswer:
        try:
            done = await self._runtime.execute(target.container_id, tuple(action.command), seconds)
        except ContainerRuntimeError as err:
            return ProbeResult.FAILURE, str(err)
        text = done.output.decode(errors="replace").strip()
        if done.timed_out:
            return ProbeResult.FAILURE, f"command timed out after {seconds:g}s"
        return (ProbeResult.SUCCESS if done.exit_code == 0 else ProbeResult.FAILURE), text

    async def _http(
        self, target: ProbeTarget, action: api.HTTPGetAction, seconds: float
    ) -> ProbeAnswer:
        host = action.host or target.address
        port = port_number(target.spec, action.port)
        where = f"[{host}]" if ":" in host else host
        scheme = (action.scheme or "HTTP").lower()
        path = action.path or "/"
        url = f"{scheme}://{where}:{port}{path if path.startswith('/') else '/' + path}"
        headers = {"User-Agent": _USER_AGENT, "Accept": "*/*", "Connection": "close"}
        headers |= {item.name: item.value for item in action.http_headers}
        try:
            async with self._session.get(
                url,
                headers=headers,
                ssl=False,
                allow_redirects=False,
                timeout=aiohttp.ClientTimeout(total=seconds),
            ) as response:
                code = response.status
        except TimeoutError:
            return ProbeResult.FAILURE, f'Get "{url}": context deadline exceeded'
        except (aiohttp.ClientError, OSError, ValueError) as err:
            return ProbeResult.FAILURE, f'Get "{url}": {_cause(err)}'
        if 200 <= code < 400:
            return ProbeResult.SUCCESS, ""
        return ProbeResult.FAILURE, f"HTTP probe failed with statuscode: {code}"

    async def _tcp(
        self, target: ProbeTarget, action: api.TCPSocketAction, seconds: float
    ) -> ProbeAnswer:
        host, port = action.host or target.address, port_number(target.spec, action.port)
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return ProbeResult.FAILURE, f"dial tcp {host}:{port}: i/o timeout"
        except OSError as err:
            return ProbeResult.FAILURE, f"dial tcp {host}:{port}: {_cause(err)}"
        writer.close()
        return ProbeResult.SUCCESS, ""

    async def _grpc(
        self, target: ProbeTarget, action: api.GRPCAction, seconds: float
    ) -> ProbeAnswer:
        from control.agent.pods import grpc_health

        service = action.service or ""
        why = await grpc_health.check(target.address, action.port, service, seconds)
        return (ProbeResult.FAILURE, why) if why else (ProbeResult.SUCCESS, "")


def port_number(spec: api.Container, port: int | str) -> int:
    """Return a port's number; 0 if the container has no port of that name."""
    if isinstance(port, int):
        return port
    named = [item.container_port for item in spec.ports if item.name == port]
    return named[0] if named else int(port) if port.isdecimal() else 0


def _cause(err: Exception) -> str:
    return (getattr(err, "strerror", None) or str(err) or type(err).__name__).lower()


@dataclass(frozen=True, slots=True)
class ProbeSchedule:
    """The schedule of a row of probes."""

    probe: api.Probe
    initial: ProbeResult  # before the first probe
    eager: bool = False
    last: frozenset[ProbeResult] = frozenset()  # results that end the row

    def pause(self, tally: ProbeTally, tries: int) -> float:
        """Return the seconds until the next probe.

        An eager schedule probes after 0.1 s, 0.2 s, 0.4 s ... until the first success, so that a
        Pod becomes ready as soon as it can serve. Failures before that have no effect, as in
        kubelet.
        """
        period = float(self.probe.period_seconds or 10)
        early = self.eager and tally.last is not ProbeResult.SUCCESS
        return min(period, 0.1 * 2 ** min(tries, 10)) if early else period


async def probe_for_ever(
    prober: Prober,
    target: ProbeTarget,
    schedule: ProbeSchedule,
    changed: Callable[[ProbeResult, str], None],
    failed: Callable[[str], None],
) -> None:
    """Probe once a period until the row is over.

    ``changed`` is called when the row's result changes, ``failed`` for every failure.
    """
    probe, tally, tries = schedule.probe, ProbeTally(schedule.initial), 0
    await asyncio.sleep(probe.initial_delay_seconds or 0)
    while True:
        once, why = await prober.run(target, probe, probe.timeout_seconds or 1)
        before, tally = tally, tally.count(once, probe)
        pause = schedule.pause(tally, tries)
        if once is ProbeResult.FAILURE and pause >= (probe.period_seconds or 10):
            failed(why)
        if tally.result is not before.result:
            changed(tally.result, why)
        if tally.result in schedule.last:
            return
        tries += 1
        await asyncio.sleep(pause)
