"""One Pod's worker: sees what is, asks ``decide`` what is due, does it, and publishes the status.

    informer ─┐
    runtime  ─┼─► wake ─► facts ─► decide (pure) ─► tasks, one an action ─┐
    probes   ─┤              └──► compute status (pure) ─► publish        │
    timers   ─┘◄──────────────────────────────────────────────────────────┘

An action under way is not started again; when it ends, the worker looks again. So a killed or
failed action needs no clean-up of its own: the next look finds what is missing.
"""

import asyncio
import logging
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import replace
from typing import Any

from control.agent.pods import decide as d
from control.agent.pods import render, status
from control.agent.pods.actions import Actions, StepFailed
from control.agent.pods.backoff import Failure, Streak, failed
from control.agent.pods.health import Health
from control.agent.pods.publish import Publisher
from control.agent.pods.surroundings import Surroundings
from control.api.pod import Pod, PodStatus
from control.runtime.base import Container, Phase, PodRef

logger = logging.getLogger(__name__)

_REFRESH_SECONDS = 60.0  # how often ConfigMap and Secret volumes are brought up to date


class Worker:
    """Makes one Pod (one UID) be, and in the end not be."""

    def __init__(self, around: Surroundings, pod: Pod, *, gone: bool = False) -> None:
        self.pod, self._around = pod, around
        self._gone = gone
        self._wake = asyncio.Event()
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._graces: dict[str, float] = {}
        self._failures: dict[str, Failure] = {}
        self._streaks: dict[str, Streak] = {}
        self._rejected: tuple[str, str] | None = None
        self._starting: set[str] = set()
        self._health = Health(around.asker, self.wake, self._on_failed_probe)
        self._publisher = Publisher(around, self.wake)
        self._actions = Actions(around)
        self._refreshed = around.clock()
        self.finished = False
        self._late = False

    # -- from outside ----------------------------------------------------------------------------

    def wake(self) -> None:
        """Something of the Pod changed."""
        self._wake.set()

    def update(self, pod: Pod) -> None:
        """The API has a newer object."""
        self.pod = pod
        self.wake()

    def lost(self) -> None:
        """The API has the object no more."""
        self._gone = True
        self.wake()

    def reject(self, reason: str, message: str) -> None:
        """The node does not take the Pod (kubelet's admission)."""
        self._rejected = (reason, message)
        self._around.record(self.pod, "Warning", reason, message)
        self.wake()

    @property
    def takes_room(self) -> bool:
        """Whether the Pod's requests count against the node."""
        over = self.pod.status.phase in ("Succeeded", "Failed")
        return not (over or self._gone or self._rejected)

    def retry(self) -> None:
        """What a failed sandbox waited for may be there now."""
        self._failures.pop("", None)
        self.wake()

    async def run(self) -> None:
        """Until the Pod is gone, or this is cancelled (its containers go on then)."""
        self._wake.set()
        try:
            while not self.finished:
                await self._wait()
                again = self._step()
                if again is not None:
                    delay = max(0.0, again - self._around.clock())
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

    # -- one look --------------------------------------------------------------------------------

    def _step(self) -> float | None:
        now = self._around.clock()
        self._follow()
        self._note_deadline(now)
        facts = self._facts()
        decision = d.decide(self.pod, facts, now)
        if self._rejected and not (self._gone or d.is_deleted(self.pod)):
            decision = d.Decision()
        for action in decision.actions:
            self._begin(action)
        if not self._gone:
            self._publisher.publish(self.pod, self._status(facts))
        self._refresh(now, facts)
        return decision.again

    def _note_deadline(self, now: float) -> None:
        if not self._late and d.past_deadline(self.pod, now):
            self._late = True
            text = "Pod was active on the node longer than the specified deadline"
            if self.pod.status.phase not in ("Succeeded", "Failed"):
                self._around.record(self.pod, "Normal", "DeadlineExceeded", text)

    def _facts(self) -> d.Facts:
        sandboxes, containers = self._around.of(self.pod.metadata.uid)
        specs = (*self.pod.spec.containers, *self.pod.spec.init_containers)
        return d.Facts(
            sandboxes=sandboxes,
            containers=containers,
            gone=self._gone,
            sick=self._health.sick,
            started=self._health.started,
            streaks={**self._remembered(containers), **self._streaks},
            failures=self._failures,
            hashes={spec.name: render.spec_hash(spec) for spec in specs},
        )

    def _remembered(self, containers: tuple[Container, ...]) -> dict[str, Streak]:
        """The streaks that an earlier agent knew, as far as attempts tell them."""
        return {it.name: Streak(it.attempt, it.started) for it in containers if it.attempt}

    def _follow(self) -> None:
        """Probe what runs and whose start, with its postStart hook, is over."""
        sandboxes, containers = self._around.of(self.pod.metadata.uid)
        address = next((it.addresses[0] for it in sandboxes if it.ready and it.addresses), "")
        address = address or next(iter(self._around.host.addresses), "127.0.0.1")
        known = {it.name for it in (*self.pod.spec.containers, *self.pod.spec.init_containers)}
        running = {
            it.id: it
            for it in containers
            if it.phase is Phase.RUNNING and it.name in known and it.name not in self._starting
        }
        self._health.follow(self.pod, running, address)

    def _status(self, facts: d.Facts) -> PodStatus:
        view = status.View(
            now=self._around.clock(),
            host_addresses=self._around.host.addresses,
            ready=self._health.ready,
            messages=self._actions.messages(self.pod, facts.containers),
            rejected=self._rejected,
        )
        return status.compute(self.pod, facts, view)

    def _refresh(self, now: float, facts: d.Facts) -> None:
        due = now - self._refreshed >= _REFRESH_SECONDS
        if due and d.ready_sandbox(facts) and not d.is_over(self.pod, facts):
            self._refreshed = now
            self._launch("refresh", self._actions.refresh(self.pod))

    # -- actions ---------------------------------------------------------------------------------

    def _begin(self, action: d.Action) -> None:
        key = _key(action)
        if isinstance(action, d.Kill):
            self._begin_kill(action, key)
        elif isinstance(action, d.Forget) and f"start {action.name}" in self._tasks:
            return  # it is just being made
        elif key not in self._tasks:
            self._launch(key, self._do(action))

    def _begin_kill(self, action: d.Kill, key: str) -> None:
        """A shorter grace than that of the kill under way takes over (kubectl delete --now)."""
        running = self._tasks.get(key)
        if running is not None and self._graces[key] <= action.grace:
            return
        if running is not None:
            running.cancel()
            action = replace(action, hook=False)
        if start := self._tasks.get(f"start {action.name}"):
            start.cancel()  # a postStart hook must not hold up the end
        self._graces[key] = action.grace
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
        """A failed step is reported and tried again later; a defect must not end the worker."""
        try:
            await work
        except StepFailed as err:
            now = self._around.clock()
            before = self._failures.get(err.name)
            self._failures[err.name] = failed(before, err.reason, str(err), now)
            if before is None or before.message != str(err):  # said once, not at every try
                logger.warning("Pod %s: %s", self._ref, err)
        except Exception:
            self._failures[""] = failed(
                self._failures.get(""),
                "InternalError",
                "see the agent's log",
                self._around.clock(),
            )
            logger.exception("Pod %s: defect", self._ref)

    @property
    def _ref(self) -> PodRef:
        return render.reference(self.pod)

    async def _do(self, action: d.Action) -> None:
        match action:
            case d.CreateSandbox():
                await self._actions.create_sandbox(self.pod, action.attempt)
                self._failures.pop("", None)
            case d.StopSandbox() | d.RemoveSandbox():
                await self._actions.end_sandbox(
                    self.pod, action.id, isinstance(action, d.RemoveSandbox)
                )
            case d.Start():
                await self._start(action)
            case d.Kill():
                await self._actions.kill(self.pod, action)
            case d.Forget():
                await self._around.runtime.remove_container(action.container_id)
            case d.Finish():
                await self._finish()

    async def _start(self, action: d.Start) -> None:
        if action.attempt:
            _, containers = self._around.of(self.pod.metadata.uid)
            known = {**self._remembered(containers), **self._streaks}
            streak = known.get(action.name, Streak())
            self._streaks[action.name] = streak.restarted(self._around.clock())
        self._starting.add(action.name)
        try:
            await self._actions.start(self.pod, action)
            self._failures.pop(action.name, None)
        finally:
            self._starting.discard(action.name)

    async def _finish(self) -> None:
        """Remove what is left on the node, then the object: the name is free only after that."""
        self._health.close()
        await self._actions.clean_up(self.pod)
        if not self._gone:
            await self._publisher.flush()
            await self._actions.delete_object(self.pod)
        self.finished = True

    def _on_failed_probe(self, kind: str, name: str, why: str) -> None:
        self._around.record(
            self.pod, "Warning", "Unhealthy", f"{kind} probe failed: {why}", container=name
        )


def _key(action: d.Action) -> str:
    match action:
        case d.CreateSandbox() | d.Finish():
            return "sandbox"
        case d.StopSandbox() | d.RemoveSandbox():
            return f"sandbox {action.id}"
        case d.Start():
            return f"start {action.name}"
        case d.Kill() | d.Forget():
            return f"end {action.container_id}"
