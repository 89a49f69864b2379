"""The worker of one Pod: collects facts, asks ``decide``, runs the actions, publishes the status.

    informer ─┐
    runtime  ─┼─► wake ─► facts ─► decide (pure) ─► tasks, one an action ─┐
    probes   ─┤              └──► compute status (pure) ─► publish        │
    timers   ─┘◄──────────────────────────────────────────────────────────┘

An action under way is not started again; when it ends, the worker decides again. So an action that
failed or was killed needs no clean-up of its own: the next decision finds what is missing.
"""

import asyncio
import logging
import math
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

from control.agent.pods import decide, render, status, steps
from control.agent.pods.actions import Actions
from control.agent.pods.backoff import Streak
from control.agent.pods.context import WorkerContext
from control.agent.pods.facts import PodFacts, ready_sandbox
from control.agent.pods.health import PodHealth
from control.agent.pods.publish import Publisher
from control.agent.pods.resize_report import ResizeReport
from control.agent.pods.resize_status import ResizeStatus
from control.agent.pods.resources import container_resources, pod_resources
from control.agent.pods.static import StaticPod, is_mirror_of
from control.agent.pods.tasks import StepTasks
from control.api.pod import Pod, PodStatus
from control.runtime.base import Container, Phase

logger = logging.getLogger(__name__)

_REFRESH_SECONDS = 60.0  # how often ConfigMap and Secret volumes are brought up to date


class PodWorker:
    """Starts, keeps and ends one Pod (one UID)."""

    def __init__(self, context: WorkerContext, pod: Pod, *, gone: bool = False) -> None:
        self.wanted, self._context = pod, context
        # The object with what is allocated to it, which a resize changes later.
        self.pod = context.allocations.applied(pod)
        self.resize = ResizeStatus(pod)
        self._resizing = ResizeReport(self.resize, context)
        self._mirror: Pod | None = None  # of a static Pod
        self._callbacks: list[Callable[[], None]] = []
        self._replaced: set[str] = set()
        self._gone = gone
        self._wake = asyncio.Event()
        self._tasks = StepTasks(lambda: self.pod, context.clock, self.wake)
        self._graces: dict[str, float] = {}
        self._failures = self._tasks.failures
        self._streaks: dict[str, Streak] = {}
        self._rejected: tuple[str, str] | None = None
        self._over = self._why = self._disrupted = ""
        self._grace = math.inf
        self._starting: set[str] = set()
        self._health = PodHealth(context.prober, self.wake, self._on_failed_probe)
        self._publisher = Publisher(context)
        self._actions = Actions(context)
        self._refreshed = context.clock()
        # When the agent saw a Pod that did not run yet; None once it runs.
        self._new = self._refreshed if pod.status.phase in (None, "Pending") else None
        self.finished = False
        self._last: PodStatus | None = None  # once the Pod's remains are removed
        self._late = False

    def wake(self) -> None:
        """Decide soon: something of the Pod has changed."""
        self._wake.set()

    def update(self, pod: Pod) -> None:
        """Take a newer object from the API; other labels or annotations renew its volumes."""
        old, new = self.wanted.metadata, pod.metadata
        if (old.labels, old.annotations) != (new.labels, new.annotations):
            self._refreshed = -math.inf
        self.wanted = pod
        self.pod = self._context.allocations.applied(pod)
        self.wake()

    def mirrored(self, mirror: Pod | None) -> None:
        """Take the object that shows this static Pod; its status goes on with what that says.

        A final phase is the last run's: the file still asks for the Pod.
        """
        self._mirror = mirror
        status = mirror.status if mirror is not None else PodStatus()
        if status.start_time and is_mirror_of(mirror or self.wanted, self.wanted):
            if decide.is_final(status) and not decide.is_final(self.wanted.status):
                anew = {"phase": "Pending", "reason": None, "message": None}
                status = status.model_copy(update=anew)
            self._keep(status)
        self.wake()

    def _keep(self, status: PodStatus) -> None:
        """Note the status of a static Pod, which no object of the API keeps."""
        self.wanted = self.wanted.model_copy(update={"status": status})
        self.pod = self.pod.model_copy(update={"status": status})

    def _publish(self, found: PodStatus) -> None:
        if not isinstance(self.wanted, StaticPod):
            self._publisher.publish(self.pod, found)
            return
        self._keep(found)
        if self._mirror is not None and is_mirror_of(self._mirror, self.wanted):
            self._publisher.publish(self._mirror, found)

    def defer_resize(self, reason: str, message: str) -> None:
        """Say that a resize waits for room, or that it cannot be done."""
        self._resizing.defer(self.wanted, reason, message)
        self.wake()

    def begin_resize(self) -> None:
        """Do what has just been allocated."""
        self.pod = self._context.allocations.applied(self.wanted)
        self._failures.pop(steps.RESIZE, None)
        self._resizing.begin(self.wanted, self.pod)
        self.wake()

    def on_end(self, callback: Callable[[], None]) -> None:
        """Call ``callback`` when this worker has ended."""
        self._callbacks.append(callback)

    def ended(self) -> None:
        """Tell those who wait for this worker's end."""
        for callback in self._callbacks:
            callback()

    def lost(self) -> None:
        """Note that the API has the object no more."""
        self._gone = True
        self.wake()

    def reject(self, reason: str, message: str) -> None:
        """Reject the Pod: kubelet's admission refused it."""
        self._rejected = (reason, message)
        self._context.record(self.pod, "Warning", reason, message)
        self.wake()

    def evict(self, message: str, *, disruption: bool = False) -> None:
        """End the Pod as failed: it exceeds a limit of disk space, or the node is short of room.

        The latter is a ``disruption``, for which a Job does not blame the Pod (KEP-3329).
        """
        if not self._over:
            self._over, self._why = decide.EVICTED, message
            self._disrupted = message if disruption else ""
            self._context.record(self.pod, "Warning", decide.EVICTED, message)
            self.wake()

    def terminate(self, reason: str, message: str, grace: float) -> None:
        """End the Pod as failed, for no fault of its own, in at most ``grace`` seconds."""
        self._grace = grace
        if not self._over:
            self._over, self._why, self._disrupted = reason, message, message
        self.wake()

    @property
    def is_evicted(self) -> bool:
        """True if the Pod is being evicted, or has been."""
        return self._over == decide.EVICTED

    @property
    def is_terminated(self) -> bool:
        """True if the Pod is being ended for the node's sake, or has been."""
        return bool(self._disrupted)

    @property
    def says_its_end(self) -> bool:
        """True if the Pod's last known status is final."""
        return decide.is_final(self.pod.status)

    async def flush(self) -> None:
        """Return when the last status is written, or can no longer be written."""
        await self._publisher.flush()

    @property
    def takes_room(self) -> bool:
        """True if the Pod's requests count against the node's resources."""
        over = self.pod.status.phase in ("Succeeded", "Failed")
        return not (over or self._gone or self._rejected)

    def retry(self) -> None:
        """Try a failed sandbox again now: the network may be ready."""
        self._failures.pop("", None)
        self.wake()

    async def run(self) -> None:
        """Run until the Pod is gone, or until cancelled: its containers then keep running."""
        self._wake.set()
        try:
            while not self.finished:
                await self._wait()
                again = self._step()
                if again is not None:
                    delay = max(0.0, again - self._context.clock())
                    asyncio.get_running_loop().call_later(delay, self.wake)
        finally:
            self._health.close()
            await self._publisher.close()
            await self._tasks.close()

    async def _wait(self) -> None:
        with suppress(TimeoutError):
            await asyncio.wait_for(self._wake.wait(), _REFRESH_SECONDS)
        self._wake.clear()

    def _step(self) -> float | None:
        now = self._context.clock()
        self._follow()
        self._note_deadline(now)
        facts = self._facts()
        decision = decide.next_actions(self.pod, facts, now)
        if self._rejected and not (self._gone or decide.is_deleted(self.pod)):
            decision = decide.Decision()
        for action in decision.actions:
            self._begin(action)
        self._resizing.follow(self.pod, facts, self._failures.get(steps.RESIZE))
        if not self._gone and self._last is None:
            found = self._status(facts)
            self._note_start(found, now)
            self._publish(found)
        self._refresh(now, facts)
        return decision.again

    def _note_start(self, found: PodStatus, now: float) -> None:
        if self._new is not None and found.phase == "Running":
            self._context.runs(now - self._new)
            self._new = None

    def _note_deadline(self, now: float) -> None:
        if not self._late and decide.past_deadline(self.pod, now):
            self._late = True
            text = "Pod was active on the node longer than the specified deadline"
            if self.pod.status.phase not in ("Succeeded", "Failed"):
                self._context.record(self.pod, "Normal", "DeadlineExceeded", text)

    def _facts(self) -> PodFacts:
        sandboxes, containers = self._context.of(self.pod.metadata.uid)
        specs = (*self.pod.spec.containers, *self.pod.spec.init_containers)
        return PodFacts(
            sandboxes=sandboxes,
            containers=containers,
            gone=self._gone,
            over=self._over,
            why=self._why,
            most_grace=self._grace,
            sick=self._health.sick,
            started=self._health.started,
            streaks={**self._remembered(containers), **self._streaks},
            failures=self._failures,
            hashes={spec.name: render.spec_hash(spec) for spec in specs},
            wanted={
                spec.name: container_resources(self.pod, spec, self._context.host.memory.value())
                for spec in specs
            },
            whole=pod_resources(self.pod),
            replaced=frozenset(self._replaced),
        )

    def _remembered(self, containers: tuple[Container, ...]) -> dict[str, Streak]:
        """Restore the restart counts of an earlier agent, as far as attempts show them."""
        return {
            container.name: Streak(container.attempt, container.started)
            for container in containers
            if container.attempt
        }

    def _follow(self) -> None:
        """Probe the running containers whose postStart hook is over."""
        sandboxes, containers = self._context.of(self.pod.metadata.uid)
        address = next(
            (sandbox.addresses[0] for sandbox in sandboxes if sandbox.ready and sandbox.addresses),
            "",
        )
        address = address or next(iter(self._context.host.addresses), "127.0.0.1")
        known = {spec.name for spec in (*self.pod.spec.containers, *self.pod.spec.init_containers)}
        running = {
            container.id: container
            for container in containers
            if container.phase is Phase.RUNNING
            and container.name in known
            and container.name not in self._starting
        }
        self._health.follow(self.pod, running, address)

    def _status(self, facts: PodFacts) -> PodStatus:
        view = status.StatusView(
            now=self._context.clock(),
            host_addresses=self._context.host.addresses,
            ready=self._health.ready,
            messages=self._actions.messages(self.pod, facts.containers),
            rejected=self._rejected,
            disruption=self._disrupted,
            resizes=tuple(self.resize.conditions()),
            runtime=self._context.runtime.name,
        )
        return status.compute(self.pod, facts, view)

    def _refresh(self, now: float, facts: PodFacts) -> None:
        due = now - self._refreshed >= _REFRESH_SECONDS
        if due and ready_sandbox(facts) and not decide.is_over(self.pod, facts):
            anew, self._refreshed = self._refreshed == -math.inf, now
            self._tasks.launch("refresh", self._actions.refresh(self.pod, anew=anew))

    def _begin(self, action: steps.Action) -> None:
        key = steps.key(action)
        if isinstance(action, steps.Kill):
            self._begin_kill(action, key)
        elif isinstance(action, steps.Forget) and f"start {action.name}" in self._tasks:
            return  # the container is just being made
        elif key not in self._tasks:
            self._tasks.launch(key, self._do(action))

    def _begin_kill(self, action: steps.Kill, key: str) -> None:
        """Start a kill, or replace the one under way by one with a shorter grace period.

        ``kubectl delete --now`` shortens it.
        """
        running = self._tasks.get(key)
        if running is not None and self._graces[key] <= action.grace:
            return
        if running is not None:
            running.cancel()
            action = replace(action, hook=False)
        if start := self._tasks.get(f"start {action.name}"):
            start.cancel()  # a postStart hook must not delay the end
        self._graces[key] = action.grace
        if action.replaces:
            self._replaced.add(action.container_id)
        self._tasks.launch(key, self._do(action))

    async def _do(self, action: steps.Action) -> None:
        match action:
            case steps.CreateSandbox():
                await self._actions.create_sandbox(self.pod, action.attempt)
                self._failures.pop("", None)
            case steps.StopSandbox() | steps.RemoveSandbox():
                await self._actions.end_sandbox(
                    self.pod, action.id, isinstance(action, steps.RemoveSandbox)
                )
            case steps.Start():
                await self._start(action)
            case steps.Kill():
                await self._actions.kill(self.pod, action)
            case steps.Forget():
                self._replaced.discard(action.container_id)
                await self._actions.forget(action)
            case steps.Resize():
                await self._resize(action)
            case steps.Free():
                await self._actions.clean_up(self.pod)
            case steps.Finish():
                await self._finish()

    async def _resize(self, action: steps.Resize) -> None:
        began, success = self._context.clock(), False
        try:
            await self._actions.resize(action)
            self._failures.pop(steps.RESIZE, None)
            success = True
        finally:
            took = max(0.0, self._context.clock() - began) * 1000
            self._context.resize_times.observe(str(success).lower(), value=took)

    async def _start(self, action: steps.Start) -> None:
        if action.attempt:
            _, containers = self._context.of(self.pod.metadata.uid)
            known = {**self._remembered(containers), **self._streaks}
            streak = known.get(action.name, Streak())
            self._streaks[action.name] = streak.restarted(self._context.clock())
        self._starting.add(action.name)
        try:
            await self._actions.start(self.pod, action)
            self._failures.pop(action.name, None)
        finally:
            self._starting.discard(action.name)

    async def _finish(self) -> None:
        """Remove the Pod's remains, then its object: only then is its name free."""
        self._health.close()
        # The runtime forgets the containers now; what they were is said once more, without sandbox.
        self._last = self._last or self._status(replace(self._facts(), sandboxes=()))
        await self._actions.clean_up(self.pod)
        if not self._gone:
            self._publisher.publish(self.pod, self._last)
            await self._publisher.flush()
            await self._actions.delete_object(self.pod)
        self.finished = True

    def _on_failed_probe(self, kind: str, name: str, why: str) -> None:
        self._context.record(
            self.pod, "Warning", "Unhealthy", f"{kind} probe failed: {why}", container=name
        )
