"""Leader election by a Lease: one of several replicas of a component works.

The Lease is written as client-go does (tools/leaderelection), so that podwire's and upstream's
components can replace each other. A Lease is free in four cases: it has no holder; its renewTime
plus its duration has passed; it has not changed for its duration while this process watched it; or
its holder was a process of this machine that is dead. Because of the last case a restarted
component does not wait for its own former Lease.
"""

import asyncio
import logging
import os
import socket
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

from control.api import kinds
from control.api.cluster import Lease, LeaseSpec
from control.api.meta import ObjectMeta
from control.api.times import rfc3339_micro, seconds_of
from control.client.backoff import Backoff
from control.client.errors import ApiError, ClientError
from control.client.rest import Client

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Timing:
    """The periods of an election in seconds, with upstream's defaults."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class LeaseHolder:
    """A process that holds a Lease, with a name by which its machine can check that it lives."""

    host: str
    space: str  # boot ID and PID namespace, in which `pid` is valid
    pid: int
    started: str  # start time in clock ticks since boot, different for a reused PID

    def __str__(self) -> str:
        return f"{self.host}_{self.space}_{self.pid}_{self.started}"

    @classmethod
    def me(cls) -> "LeaseHolder":
        """Return the holder for this process."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        space = Path("/proc/self/ns/pid").stat().st_ino
        started = _started(os.getpid()) or ""
        return cls(socket.gethostname(), f"{boot}-{space}", os.getpid(), started)

    @classmethod
    def parse(cls, identity: str) -> "LeaseHolder | None":
        """Parse a holder identity that podwire wrote; return None for any other."""
        parts = identity.rsplit("_", 3)
        if len(parts) != 4 or not parts[2].isdigit():
            return None
        return cls(parts[0], parts[1], int(parts[2]), parts[3])


def _started(pid: int) -> str | None:
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return stat.rpartition(")")[2].split()[19]  # field 22 of proc(5), after the name


def known_dead(
    holder: str, me: LeaseHolder, started: Callable[[int], str | None] = _started
) -> bool:
    """Return True if the holder was a process of this machine and boot, and has ended."""
    process = LeaseHolder.parse(holder)
    if process is None or (process.host, process.space) != (me.host, me.space):
        return False
    return started(process.pid) != process.started


def is_free(spec: LeaseSpec, me: str, now: float, unchanged_for: float) -> bool:
    """Return True if ``me`` may take a Lease that has been unchanged for some seconds."""
    if not spec.holder_identity or spec.holder_identity == me:
        return True
    duration = spec.lease_duration_seconds or 0
    renewed = seconds_of(spec.renew_time)
    return renewed is None or now > renewed + duration or unchanged_for > duration


def taken(spec: LeaseSpec, me: str, now: float, timing: Timing) -> LeaseSpec:
    """Return the Lease as ``me`` takes or renews it."""
    mine = spec.holder_identity == me
    return LeaseSpec(
        holder_identity=me,
        lease_duration_seconds=int(timing.duration),
        acquire_time=spec.acquire_time if mine else rfc3339_micro(now),
        renew_time=rfc3339_micro(now),
        lease_transitions=(spec.lease_transitions or 0) + (0 if mine or not spec.renew_time else 1),
    )


class LeaderElector:
    """Acquire and renew the Lease ``namespace``/``name`` for this process."""

    def __init__(
        self,
        client: Client,
        name: str,
        namespace: str = "kube-system",
        *,
        timing: Timing | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._client = client
        self._name = name
        self._namespace = namespace
        self._timing = timing or Timing()
        self._clock = clock
        self._process = LeaseHolder.me()
        self._identity = str(self._process)
        self._lease: Lease | None = None
        self._seen_since = 0.0
        self._leads = False

    @property
    def leads(self) -> bool:
        """True while this process holds the Lease, as far as it knows."""
        return self._leads

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` while this process holds the Lease, again after each loss, for ever.

        The work is cancelled when the Lease is lost or the server is unreachable for the renew
        deadline. Cancelling this coroutine releases the Lease.
        """
        while True:
            await self._acquire()
            logger.info("lease %s/%s: acquired as %s", self._namespace, self._name, self._identity)
            self._leads = True
            working = asyncio.ensure_future(work())
            renewing = asyncio.create_task(self._renew())
            try:
                await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost, ended = renewing.done(), working.done()
                self._leads = False
                await _stop(working, renewing)
                if not lost:
                    await self._release()
            if ended:
                return working.result()
            logger.warning("lease %s/%s: lost; work stopped", self._namespace, self._name)

    async def _acquire(self) -> None:
        pause = Backoff(0.2, self._timing.retry)
        while True:
            if await self._try():
                return
            await asyncio.sleep(pause.next())

    async def _renew(self) -> None:
        """Renew the Lease until it is lost."""
        renewed = self._now()
        while self._now() - renewed < self._timing.renew_deadline:
            await asyncio.sleep(self._timing.retry)
            if await self._try():
                renewed = self._now()
            elif self._lease and self._lease.spec.holder_identity != self._identity:
                return

    async def _try(self) -> bool:
        """Take or renew the Lease; return False if another holds it or the server fails."""
        try:
            async with asyncio.timeout(self._timing.renew_deadline):
                return await self._write()
        except ApiError as err:
            if err.conflict or err.not_found:
                self._lease = None
            if not err.conflict and not err.already_exists:
                logger.warning("leader election: %s", err)
        except (ClientError, TimeoutError) as err:
            logger.warning("leader election: %s", err)
        return False

    async def _write(self) -> bool:
        mine = self._lease is not None and self._lease.spec.holder_identity == self._identity
        if not mine and not await self._read():
            meta = ObjectMeta(name=self._name, namespace=self._namespace)
            spec = taken(LeaseSpec(), self._identity, self._clock(), self._timing)
            self._lease = await self._client.create(kinds.LEASE, Lease(metadata=meta, spec=spec))
            return True
        lease = self._lease
        if lease is None or not (mine or self._may_take(lease)):
            return False
        spec = taken(lease.spec, self._identity, self._clock(), self._timing)
        wanted = lease.model_copy(update={"spec": spec})
        self._lease = await self._client.update(kinds.LEASE, wanted)
        return True

    async def _read(self) -> bool:
        """Read the Lease and note when it last changed; return False if it does not exist."""
        try:
            lease = await self._client.get(kinds.LEASE, self._namespace, self._name)
        except ApiError as err:
            if not err.not_found:
                raise
            return False
        if self._lease is None or self._lease.spec != lease.spec:
            self._seen_since = self._now()
        self._lease = lease
        return True

    def _may_take(self, lease: Lease) -> bool:
        unchanged = self._now() - self._seen_since
        return is_free(lease.spec, self._identity, self._clock(), unchanged) or known_dead(
            lease.spec.holder_identity or "", self._process
        )

    async def _release(self) -> None:
        """Release the Lease, so that the next holder need not wait; a failure only costs time."""
        lease, self._lease = self._lease, None
        if lease is None:
            return
        now = rfc3339_micro(self._clock())
        spec = lease.spec.model_copy(
            update={"holder_identity": "", "lease_duration_seconds": 1, "renew_time": now}
        )
        try:
            async with asyncio.timeout(1):
                await self._client.update(kinds.LEASE, lease.model_copy(update={"spec": spec}))
        except (ClientError, TimeoutError) as err:
            logger.info("lease %s/%s: not released: %s", self._namespace, self._name, err)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _stop(*tasks: "asyncio.Future[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
