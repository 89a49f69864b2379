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
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any, Literal

from control.agent.pods import decide, render, status
from control.agent.pods.actions import Actions, StepError
from control.agent.pods.backoff import Failure, Streak, failed
from control.agent.pods.context import WorkerContext
from control.agent.pods.health import PodHealth
from control.agent.pods.publish import Publisher
from control.agent.pods.resize_status import ResizeStatus, event_message
from control.agent.pods.resources import container_resources, pod_resources
from control.api.pod import Pod, PodStatus
from control.runtime.base import Container, Phase, PodRef

logger = logging.getLogger(__name__)

_REFRESH_SECONDS = 60.0  # how often ConfigMap and Secret volumes are brought up to date


class PodWorker:
    """Starts, keeps and ends one Pod (one UID)."""

    def __init__(self, context: WorkerContext, pod: Pod, *, gone: bool = False) -> None:
        self.wanted, self._context = pod, context
        # The object with what is allocated to it, which a resize changes later.
        self.pod = context.allocations.applied(pod)
        self.resize = ResizeStatus(pod)
        self._replaced: set[str] = set()
        self._gone = gone
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._graces: dict[str, float] = {}
        self._failures: dict[str, Failure] = {}
        self._streaks: dict[str, Streak] = {}
        self._rejected: tuple[str, str] | None = None
        self._evicted = ""
        self._starting: set[str] = set()
        self._health = PodHealth(context.prober, self.wake, self._on_failed_probe)
        self._publisher = Publisher(context, self.wake)
        self._actions = Actions(context)
        self._refreshed = context.clock()
        self.finished = False
        self._late = False

    def wake(self) -> None:
        """Decide soon: something of the Pod has changed."""
        self._wake.set()

    def update(self, pod: Pod) -> None:
        """Take a newer object from the API."""
        self.wanted = pod
        self.pod = self._context.allocations.applied(pod)
        self.wake()

    def defer_resize(self, reason: str, message: str) -> None:
        """Say that a resize waits for room, or that it cannot be done."""
        generation, now = self.wanted.metadata.generation or 0, self._context.clock()
        if self.resize.defer(reason, message, generation, now):
            self._record_resize("Warning", f"Resize{reason}", self.wanted, generation, message)
        self.wake()

    def begin_resize(self) -> None:
        """Do what has just been allocated."""
        self.pod = self._context.allocations.applied(self.wanted)
        generation = self.wanted.metadata.generation or 0
        self.resize.begin(generation, self._context.clock())
        self._failures.pop(decide.RESIZE, None)
        self._record_resize("Normal", "ResizeStarted", self.pod, generation)
        self.wake()

    def _record_resize(
        self,
        kind: Literal["Normal", "Warning"],
        reason: str,
        pod: Pod,
        generation: int,
        error: str = "",
    ) -> None:
        words = {"ResizeStarted": "started", "ResizeCompleted": "completed", "ResizeError": "error"}
        prefix = f"Pod resize {words.get(reason, reason.removeprefix('Resize'))}"
        self._context.record(pod, kind, reason, event_message(prefix, pod, generation, error))

    def lost(self) -> None:
        """Note that the API has the object no more."""
        self._gone = True
        self.wake()

    def reject(self, reason: str, message: str) -> None:
        """Reject the Pod: kubelet's admission refused it."""
        self._rejected = (reason, message)
        self._context.record(self.pod, "Warning", reason, message)
        self.wake()

    def evict(self, message: str) -> None:
        """End the Pod as failed: it exceeds a limit of the node's disk."""
        if not self._evicted:
            self._evicted = message
            self._context.record(self.pod, "Warning", decide.EVICTED, message)
            self.wake()

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
            for task in self._tasks.values():
                task.cancel()
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)

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
        self._follow_resize(facts, now)
        if not self._gone:
            self._publisher.publish(self.pod, self._status(facts))
        self._refresh(now, facts)
        return decision.again

    def _follow_resize(self, facts: decide.PodFacts, now: float) -> None:
        """Note whether a resize goes on, failed, or is done."""
        if decide.is_over(self.pod, facts):
            self.resize.clear()
            return
        generation = self.pod.metadata.generation or 0
        if decide.is_resizing(self.pod, facts):
            self.resize.go_on(generation, now)
            failure = self._failures.get(decide.RESIZE)
            if failure and self.resize.fail(failure.message, generation, now):
                done = self.resize.in_progress
                generation = (done and done.observed_generation) or generation
                self._record_resize("Warning", "ResizeError", self.pod, generation, failure.message)
        elif (done := self.resize.in_progress) is not None:
            self.resize.in_progress = None
            self._record_resize(
                "Normal", "ResizeCompleted", self.pod, done.observed_generation or generation
            )

    def _note_deadline(self, now: float) -> None:
        if not self._late and decide.past_deadline(self.pod, now):
            self._late = True
            text = "Pod was active on the node longer than the specified deadline"
            if self.pod.status.phase not in ("Succeeded", "Failed"):
                self._context.record(self.pod, "Normal", "DeadlineExceeded", text)

    def _facts(self) -> decide.PodFacts:
        sandboxes, containers = self._context.of(self.pod.metadata.uid)
        specs = (*self.pod.spec.containers, *self.pod.spec.init_containers)
        return decide.PodFacts(
            sandboxes=sandboxes,
            containers=containers,
            gone=self._gone,
            over=decide.EVICTED if self._evicted else "",
            why=self._evicted,
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

    def _status(self, facts: decide.PodFacts) -> PodStatus:
        view = status.StatusView(
            now=self._context.clock(),
            host_addresses=self._context.host.addresses,
            ready=self._health.ready,
            messages=self._actions.messages(self.pod, facts.containers),
            rejected=self._rejected,
            resizes=tuple(self.resize.conditions()),
        )
        return status.compute(self.pod, facts, view)

    def _refresh(self, now: float, facts: decide.PodFacts) -> None:
        due = now - self._refreshed >= _REFRESH_SECONDS
        if due and decide.ready_sandbox(facts) and not decide.is_over(self.pod, facts):
            self._refreshed = now
            self._launch("refresh", self._actions.refresh(self.pod))

    def _begin(self, action: decide.Action) -> None:
        key = _key(action)
        if isinstance(action, decide.Kill):
            self._begin_kill(action, key)
        elif isinstance(action, decide.Forget) and f"start {action.name}" in self._tasks:
            return  # the container is just being made
        elif key not in self._tasks:
            self._launch(key, self._do(action))

    def _begin_kill(self, action: decide.Kill, key: str) -> None:
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
        self._launch(key, self._do(action))

    def _launch(self, key: str, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(self._guard(work), name=key)
        self._tasks[key] = task
        task.add_done_callback(lambda done: self._ended(key, done))

    def _ended(self, key: str, task: "asyncio.Task[None]") -> None:
        if self._tasks.get(key) is task:
            del self._tasks[key]
        self.wake()

    async def _guard(self, work: Coroutine[Any, Any, None]) -> None:
        """Report a failed step, which is tried again later; a defect must not end the worker."""
        try:
            await work
        except StepError as err:
            now = self._context.clock()
            before = self._failures.get(err.name)
            self._failures[err.name] = failed(before, err.reason, str(err), now)
            if before is None or before.message != str(err):  # logged once, not at every try
                logger.warning("Pod %s: %s", self._ref, err)
        except Exception:
            self._failures[""] = failed(
                self._failures.get(""),
                "InternalError",
                "see the agent's log",
                self._context.clock(),
            )
            logger.exception("Pod %s: defect", self._ref)

    @property
    def _ref(self) -> PodRef:
        return render.reference(self.pod)

    async def _do(self, action: decide.Action) -> None:
        match action:
            case decide.CreateSandbox():
                await self._actions.create_sandbox(self.pod, action.attempt)
                self._failures.pop("", None)
            case decide.StopSandbox() | decide.RemoveSandbox():
                await self._actions.end_sandbox(
                    self.pod, action.id, isinstance(action, decide.RemoveSandbox)
                )
            case decide.Start():
                await self._start(action)
            case decide.Kill():
                await self._actions.kill(self.pod, action)
            case decide.Forget():
                self._replaced.discard(action.container_id)
                await self._context.runtime.remove_container(action.container_id)
            case decide.Resize():
                await self._resize(action)
            case decide.Finish():
                await self._finish()

    async def _resize(self, action: decide.Resize) -> None:
        began, success = self._context.clock(), False
        try:
            await self._actions.resize(action)
            self._failures.pop(decide.RESIZE, None)
            success = True
        finally:
            took = max(0.0, self._context.clock() - began) * 1000
            self._context.resize_times.observe(str(success).lower(), value=took)

    async def _start(self, action: decide.Start) -> None:
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
        await self._actions.clean_up(self.pod)
        if not self._gone:
            await self._publisher.flush()
            await self._actions.delete_object(self.pod)
        self.finished = True

    def _on_failed_probe(self, kind: str, name: str, why: str) -> None:
        self._context.record(
            self.pod, "Warning", "Unhealthy", f"{kind} probe failed: {why}", container=name
        )


def _key(action: decide.Action) -> str:
    match action:
        case decide.CreateSandbox() | decide.Finish():
            return "sandbox"
        case decide.Resize():
            return decide.RESIZE
        case decide.StopSandbox() | decide.RemoveSandbox():
            return f"sandbox {action.id}"
        case decide.Start():
            return f"start {action.name}"
        case decide.Kill() | decide.Forget():
            return f"end {action.container_id}"
