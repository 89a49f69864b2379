"""Leader election by a Lease: of several replicas of a part, one works.

The record is client-go's (tools/leaderelection), so that ours and upstream's parts can stand by
for each other. A lease is free when it has no holder, when its time is over by its own renewTime,
when nothing renewed it for its duration while we looked, or when its holder is a process of this
very machine that is dead: a restarted part does not have to wait for its own ghost.
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
    """Seconds; upstream's defaults."""

    duration: float = 15.0
    renew_deadline: float = 10.0
    retry: float = 2.0


@dataclass(frozen=True, slots=True)
class Process:
    """A process, named so that its machine can tell whether it still lives."""

    host: str
    space: str  # boot and pid namespace: where `pid` has a meaning
    pid: int
    started: str  # clock ticks since boot; a reused pid has another

    def __str__(self) -> str:
        return f"{self.host}_{self.space}_{self.pid}_{self.started}"

    @classmethod
    def me(cls) -> "Process":
        """This process."""
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()[:8]
        space = Path("/proc/self/ns/pid").stat().st_ino
        started = _started(os.getpid()) or ""
        return cls(socket.gethostname(), f"{boot}-{space}", os.getpid(), started)

    @classmethod
    def parse(cls, identity: str) -> "Process | None":
        """The process that an identity of ours names; None for anybody else's."""
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


def known_dead(holder: str, me: Process, started: Callable[[int], str | None] = _started) -> bool:
    """Whether the holder was a process of this machine and boot that is no more."""
    process = Process.parse(holder)
    if process is None or (process.host, process.space) != (me.host, me.space):
        return False
    return started(process.pid) != process.started


def is_free(spec: LeaseSpec, me: str, now: float, unchanged_for: float) -> bool:
    """Whether ``me`` may take the lease at ``now``, having seen it unchanged for some seconds."""
    if not spec.holder_identity or spec.holder_identity == me:
        return True
    duration = spec.lease_duration_seconds or 0
    renewed = seconds_of(spec.renew_time)
    return renewed is None or now > renewed + duration or unchanged_for > duration


def taken(spec: LeaseSpec, me: str, now: float, timing: Timing) -> LeaseSpec:
    """The lease as ``me`` takes or renews it."""
    mine = spec.holder_identity == me
    return LeaseSpec(
        holder_identity=me,
        lease_duration_seconds=int(timing.duration),
        acquire_time=spec.acquire_time if mine else rfc3339_micro(now),
        renew_time=rfc3339_micro(now),
        lease_transitions=(spec.lease_transitions or 0) + (0 if mine or not spec.renew_time else 1),
    )


class LeaderElector:
    """Holds the Lease ``namespace``/``name`` for this process, or waits for it."""

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
        self._process = Process.me()
        self._identity = str(self._process)
        self._lease: Lease | None = None
        self._seen_since = 0.0

    async def lead(self, work: Callable[[], Awaitable[None]]) -> None:
        """Run ``work`` whenever, and only while, we hold the lease: for ever.

        Losing the lease, or not reaching the server for the renew deadline, cancels the work;
        being cancelled gives the lease back.
        """
        while True:
            await self._acquire()
            logger.info("leads as %s", self._identity)
            working = asyncio.ensure_future(work())
            renewing = asyncio.create_task(self._renew())
            try:
                await asyncio.wait({working, renewing}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                lost, ended = renewing.done(), working.done()
                await _stop(working, renewing)
                if not lost:
                    await self._release()
            if ended:
                return working.result()
            logger.warning("lost the lease %s/%s; work stopped", self._namespace, self._name)

    async def _acquire(self) -> None:
        pause = Backoff(0.2, self._timing.retry)
        while True:
            if await self._try():
                return
            await asyncio.sleep(pause.next())

    async def _renew(self) -> None:
        """Return once the lease is lost."""
        renewed = self._now()
        while self._now() - renewed < self._timing.renew_deadline:
            await asyncio.sleep(self._timing.retry)
            if await self._try():
                renewed = self._now()
            elif self._lease and self._lease.spec.holder_identity != self._identity:
                return

    async def _try(self) -> bool:
        """Take or renew the lease; False if somebody else has it, or the server is not there."""
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
        """Look at the lease, and remember since when it looks like this; False: there is none."""
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
        """Give the lease back, so that the next one need not wait; a failure only costs time."""
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
            logger.info("lease not given back: %s", err)

    def _now(self) -> float:
        return asyncio.get_running_loop().time()


async def _stop(*tasks: "asyncio.Future[None]") -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
