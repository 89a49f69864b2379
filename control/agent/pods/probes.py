"""Probes: asking containers about their health. Counting is pure; asking is at the end.

Source: kubelet's prober (worker.go) and kubernetes.io, "Configure Liveness, Readiness and Startup
Probes".
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum

import aiohttp

from control.api import container as api
from control.runtime.base import Runtime, RuntimeFailure
from control.version import KUBERNETES_MINOR

_USER_AGENT = f"kube-probe/{KUBERNETES_MINOR}"


class Result(StrEnum):
    """What one probe, or a row of them, says."""

    SUCCESS = "Success"
    FAILURE = "Failure"
    UNKNOWN = "Unknown"


@dataclass(frozen=True, slots=True)
class Tally:
    """What a row of probes amounts to: ``result`` changes when a threshold is reached."""

    result: Result
    last: Result = Result.UNKNOWN
    row: int = 0

    def count(self, once: Result, probe: api.Probe) -> "Tally":
        """One more answer; unknown ones count for nothing."""
        if once is Result.UNKNOWN:
            return self
        row = self.row + 1 if once is self.last else 1
        needed = (
            (probe.success_threshold or 1)
            if once is Result.SUCCESS
            else (probe.failure_threshold or 3)
        )
        return replace(self, last=once, row=row, result=once if row >= needed else self.result)


@dataclass(frozen=True, slots=True)
class Target:
    """Which container is asked, and where it listens."""

    container_id: str
    spec: api.Container
    address: str


Answer = tuple[Result, str]


class Asker:
    """Carries out probes and lifecycle hooks."""

    def __init__(self, runtime: Runtime, session: aiohttp.ClientSession) -> None:
        self._runtime, self._session = runtime, session

    async def ask(self, target: Target, handler: api.Handler, seconds: float) -> Answer:
        """Do what a handler says, once; why, when it does not succeed."""
        try:
            async with asyncio.timeout(seconds + 0.5):  # the kinds below end by themselves first
                return await self._ask(target, handler, seconds)
        except TimeoutError:
            return Result.FAILURE, f"command timed out after {seconds:g}s"

    async def _ask(self, target: Target, handler: api.Handler, seconds: float) -> Answer:
        if handler.exec:
            return await self._exec(target, handler.exec, seconds)
        if handler.http_get:
            return await self._http(target, handler.http_get, seconds)
        if handler.tcp_socket:
            return await self._tcp(target, handler.tcp_socket, seconds)
        if handler.sleep:
            await asyncio.sleep(min(handler.sleep.get("seconds", 0), seconds))
            return Result.SUCCESS, ""
        return Result.UNKNOWN, "this kind of probe is not supported"

    async def _exec(self, target: Target, action: api.ExecAction, seconds: float) -> Answer:
        try:
            done = await self._runtime.execute(target.container_id, tuple(action.command), seconds)
        except RuntimeFailure as err:
            return Result.FAILURE, str(err)
        text = done.output.decode(errors="replace").strip()
        if done.timed_out:
            return Result.FAILURE, f"command timed out after {seconds:g}s"
        return (Result.SUCCESS if done.exit_code == 0 else Result.FAILURE), text

    async def _http(self, target: Target, action: api.HTTPGetAction, seconds: float) -> Answer:
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
            return Result.FAILURE, f'Get "{url}": context deadline exceeded'
        except (aiohttp.ClientError, OSError, ValueError) as err:
            return Result.FAILURE, f'Get "{url}": {_cause(err)}'
        if 200 <= code < 400:
            return Result.SUCCESS, ""
        return Result.FAILURE, f"HTTP probe failed with statuscode: {code}"

    async def _tcp(self, target: Target, action: api.TCPSocketAction, seconds: float) -> Answer:
        host, port = action.host or target.address, port_number(target.spec, action.port)
        try:
            async with asyncio.timeout(seconds):
                _, writer = await asyncio.open_connection(host, port)
        except TimeoutError:
            return Result.FAILURE, f"dial tcp {host}:{port}: i/o timeout"
        except OSError as err:
            return Result.FAILURE, f"dial tcp {host}:{port}: {_cause(err)}"
        writer.close()
        return Result.SUCCESS, ""


def port_number(spec: api.Container, port: int | str) -> int:
    """The number of a port that may be named; 0 when there is none of that name."""
    if isinstance(port, int):
        return port
    named = [item.container_port for item in spec.ports if item.name == port]
    return named[0] if named else int(port) if port.isdecimal() else 0


def _cause(err: Exception) -> str:
    return (getattr(err, "strerror", None) or str(err) or type(err).__name__).lower()


@dataclass(frozen=True, slots=True)
class Course:
    """How a row of probes goes: its start, and whether it hurries to the first success."""

    probe: api.Probe
    initial: Result
    eager: bool = False
    last: frozenset[Result] = frozenset()  # with these results the row is over

    def pause(self, tally: Tally, tries: int) -> float:
        """Seconds until the next probe.

        An eager one asks after 0.1 s, 0.2 s, 0.4 s ... until the first success, so that a Pod is
        ready when it can serve and not at the end of a period. Failures before that count for
        nothing, as they do in kubelet.
        """
        period = float(self.probe.period_seconds or 10)
        hurry = self.eager and tally.last is not Result.SUCCESS
        return min(period, 0.1 * 2 ** min(tries, 10)) if hurry else period


async def probe_for_ever(
    asker: Asker,
    target: Target,
    course: Course,
    changed: Callable[[Result, str], None],
    failed: Callable[[str], None],
) -> None:
    """Ask every period until the row is over.

    ``changed`` hears the row's result when it turns, ``failed`` each failure.
    """
    probe, tally, tries = course.probe, Tally(course.initial), 0
    await asyncio.sleep(probe.initial_delay_seconds or 0)
    while True:
        once, why = await asker.ask(target, probe, probe.timeout_seconds or 1)
        before, tally = tally, tally.count(once, probe)
        pause = course.pause(tally, tries)
        if once is Result.FAILURE and pause >= (probe.period_seconds or 10):
            failed(why)
        if tally.result is not before.result:
            changed(tally.result, why)
        if tally.result in course.last:
            return
        tries += 1
        await asyncio.sleep(pause)
