"""Carries out the steps of a Pod's life: runtime calls, volumes, hooks, events.

A step that fails raises StepError, with the reason that Kubernetes shows.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from control.agent import rotation
from control.agent.images.keyring import PullSecret
from control.agent.images.manager import ImageError, Wanted
from control.agent.pods import environment, payload, render, resizing, steps
from control.agent.pods.context import WorkerContext
from control.agent.pods.environment import Sources
from control.agent.pods.fields import PodReferenceError
from control.agent.pods.probes import ProbeResult, ProbeTarget
from control.agent.pods.resolver import resolv_conf
from control.agent.pods.tokens import Tokens
from control.agent.pods.volumes import MESSAGE_BYTES
from control.api import container as api
from control.api import kinds
from control.api.pod import Pod
from control.client import ApiError, ClientError
from control.linux import files
from control.runtime.base import Container, ContainerRuntimeError, Phase

logger = logging.getLogger(__name__)

_LEAST_GRACE = 2.0  # seconds left to a container after its preStop hook, as in kubelet
_HOOK_SECONDS = 3600.0
_FALL_BACK = "FallbackToLogsOnError"
_KILL_FAILED = "FailedKillPod"
_KILL_RETRY_SECONDS = 1.0
_LAST_BYTES, _LAST_LINES = 2048, 80


class StepError(Exception):
    """A step failed; ``name`` is the container's, or empty for the Pod as a whole."""

    def __init__(self, name: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.name, self.reason = name, reason


class Actions:
    """Carries out the actions that ``decide`` returns for Pods."""

    def __init__(self, context: WorkerContext) -> None:
        self._context = context
        self._messages: dict[str, str] = {}
        self._tokens = Tokens(context.client, context.clock)

    async def create_sandbox(self, pod: Pod, attempt: int) -> None:
        """Make the volumes and the sandbox."""
        context = self._context
        if not pod.spec.host_network and (why := await context.no_network()):
            text = f"network is not ready: {why}"
            context.record(pod, "Warning", "NetworkNotReady", text)
            raise StepError("", "NetworkNotReady", text)
        if attempt:
            context.record(
                pod,
                "Normal",
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            )
        for problem in resolv_conf(pod, context.dns).problems:
            context.record(pod, "Warning", "DNSConfigForming", problem)
        try:
            await self._prepare(pod)
            handler = await self._handler(pod)
            config = render.sandbox(pod, attempt, context.dns, context.host.name, handler)
            await context.runtime.run_sandbox(config)
        except (ContainerRuntimeError, PodReferenceError, ClientError, OSError) as err:
            reason = (
                "FailedMount" if isinstance(err, PodReferenceError) else getattr(err, "reason", "")
            )
            mount = reason == "FailedMount"
            event = "FailedMount" if mount else "FailedCreatePodSandBox"
            text = str(err) if mount else f"Failed to create pod sandbox: {err}"
            context.record(pod, "Warning", event, text)
            raise StepError("", event, text) from err

    async def _handler(self, pod: Pod) -> str:
        """Return how the Pod's RuntimeClass wants it to run.

        Raises ClientError, and ContainerRuntimeError: a Pod must not run with more rights than it
        asks for. ``procMount: Unmasked`` asks for a user namespace too.
        """
        if pod.spec.host_users is False:
            text = "can't set `spec.hostUsers: false`, runtime does not support user namespaces"
            raise ContainerRuntimeError(text)
        if not pod.spec.runtime_class_name:
            return ""
        name = pod.spec.runtime_class_name
        found = await self._context.client.get(kinds.RUNTIME_CLASS, None, name)
        return str(found.wire().get("handler", ""))

    async def end_sandbox(self, pod: Pod, sandbox_id: str, remove: bool) -> None:
        """Disconnect a sandbox, or remove it."""
        try:
            if remove:
                await self._context.runtime.remove_sandbox(sandbox_id)
            else:
                await self._context.runtime.stop_sandbox(sandbox_id)
        except (ContainerRuntimeError, OSError) as err:
            self._context.record(pod, "Warning", _KILL_FAILED, f"error killing pod: {err}")
            raise await _kill_failed("", str(err)) from err

    async def _prepare(self, pod: Pod) -> None:
        if not pod.spec.volumes:
            return
        sources = await self._sources(pod, payload.references(pod))
        tokens = {wanted: await self._tokens.get(pod, wanted) for wanted in payload.tokens(pod)}
        payloads = {
            volume.name: payload.payload(pod, volume, sources, self._context.host, tokens)
            for volume in pod.spec.volumes
            if payload.is_filled(volume)
        }
        self._context.volumes.prepare(pod, payloads, await self._context.claims.of(pod))

    async def refresh(self, pod: Pod, *, anew: bool) -> None:
        """Update the volumes that the API fills; after a failure the next try is in a minute.

        ``anew`` is to trust no cache.
        """
        if anew:
            namespace = pod.metadata.namespace or ""
            self._context.objects.expire(namespace, payload.references(pod))
        try:
            await self._prepare(pod)
        except (ContainerRuntimeError, PodReferenceError, ClientError, OSError) as err:
            self._context.record(pod, "Warning", "FailedMount", str(err))

    async def _sources(self, pod: Pod, wanted: frozenset[tuple[str, str]]) -> Sources:
        namespace = pod.metadata.namespace or ""
        data = await self._context.objects.fetch(namespace, wanted)
        return Sources(data, self._context.services())

    async def start(self, pod: Pod, action: steps.Start) -> None:
        """Create and start a container, then run its postStart hook."""
        spec = spec_of(pod, action.name)
        try:
            container_id = await self._create(pod, spec, action)
        except (ContainerRuntimeError, PodReferenceError, ClientError, OSError) as err:
            raise self._refused(pod, spec, err) from err
        record = self._context.record
        record(pod, "Normal", "Created", f"Created container: {spec.name}", spec.name)
        try:
            await self._context.runtime.start_container(container_id)
        except ContainerRuntimeError as err:
            record(pod, "Warning", "Failed", f"Error: {err}", spec.name)
            return  # the container counts as ended: its restart is up to the policy
        record(pod, "Normal", "Started", f"Started container {spec.name}", spec.name)
        await self._post_start(pod, spec, container_id)

    async def _create(self, pod: Pod, spec: api.Container, action: steps.Start) -> str:
        context = self._context
        sandboxes, _ = context.of(pod.metadata.uid)
        sandbox = next((box for box in sandboxes if box.id == action.sandbox_id), None)
        if sandbox is None:
            raise ContainerRuntimeError("the Pod's sandbox is gone", "CreateContainerError")
        await self._ensure_image(pod, spec, sandbox.id)
        addresses = context.host.addresses if sandbox.host_network else sandbox.addresses
        sources = await self._sources(pod, environment.references(pod))
        values = environment.variables(pod, spec, sources, context.host, addresses)
        claimed = await context.claims.of(pod)
        mounts = context.volumes.mounts(pod, spec, action.attempt, values, claimed)
        config = render.container(
            pod,
            spec,
            action.attempt,
            sources=sources,
            host=context.host,
            addresses=addresses,
            mounts=mounts,
        )
        return await context.runtime.create_container(action.sandbox_id, config)

    async def _ensure_image(self, pod: Pod, spec: api.Container, sandbox_id: str) -> None:
        def note(kind: Literal["Normal", "Warning"], reason: str, message: str) -> None:
            self._context.record(pod, kind, reason, message, spec.name)

        secrets = await self._pull_secrets(pod)
        policy = spec.image_pull_policy or ""
        wanted = Wanted(pod.metadata.uid, sandbox_id, spec.image or "", policy, secrets)
        await self._context.images.ensure(wanted, note)

    async def _pull_secrets(self, pod: Pod) -> tuple[PullSecret, ...]:
        """Return the Secrets of ``imagePullSecrets`` that can be read."""
        names = [it["name"] for it in pod.spec.image_pull_secrets if it.get("name")]
        found, failed = [], []
        for name in names:
            try:
                secret = await self._context.objects.pull_secret(pod.metadata.namespace or "", name)
            except ClientError:
                secret = None  # as kubelet: perhaps the image is here, or anybody's
            found += [secret] if secret else []
            failed += [] if secret else [name]
        if failed:
            text = f"Unable to retrieve some image pull secrets ({', '.join(failed)})"
            text += "; attempting to pull the image may not succeed."
            self._context.record(pod, "Warning", "FailedToRetrieveImagePullSecret", text)
        return tuple(found)

    def _refused(self, pod: Pod, spec: api.Container, err: Exception) -> StepError:
        """Report in kubelet's words why a container could not be created."""
        reason, text = "CreateContainerConfigError", str(err)
        if isinstance(err, ContainerRuntimeError):
            reason = err.reason
        if "runAsNonRoot" in text:
            text += f' (pod: "{render.described(pod)}", container: {spec.name})'
        shown = reason if isinstance(err, ImageError) else text
        self._context.record(pod, "Warning", "Failed", f"Error: {shown}", spec.name)
        return StepError(spec.name, reason, text)

    async def _post_start(self, pod: Pod, spec: api.Container, container_id: str) -> None:
        hook = spec.lifecycle.post_start if spec.lifecycle else None
        if hook is None:
            return
        target = ProbeTarget(container_id, spec, self._address(pod))
        result, why = await self._context.prober.run(target, hook, _HOOK_SECONDS)
        if result is ProbeResult.FAILURE:
            self._context.record(
                pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {why}", spec.name
            )
            await self.kill(
                pod,
                steps.Kill(
                    container_id, spec.name, _LEAST_GRACE, "FailedPostStartHook", hook=False
                ),
            )

    async def kill(self, pod: Pod, action: steps.Kill) -> None:
        """Run the preStop hook, then stop the container in the rest of the grace period."""
        context = self._context
        context.record(pod, "Normal", "Killing", action.message, action.name)
        began = context.clock()
        spec = spec_of(pod, action.name)
        hook = spec.lifecycle.pre_stop if spec.lifecycle else None
        if hook is not None and action.hook and action.grace > 0:
            target = ProbeTarget(action.container_id, spec, self._address(pod))
            result, why = await context.prober.run(target, hook, action.grace)
            if result is ProbeResult.FAILURE:
                text = f"PreStopHook failed: {why}"
                context.record(pod, "Warning", "FailedPreStopHook", text, action.name)
        left = action.grace - (context.clock() - began)
        grace = max(left, _LEAST_GRACE if action.grace else 0.0)
        try:
            await context.runtime.stop_container(action.container_id, grace)
        except ContainerRuntimeError as err:
            context.record(pod, "Warning", _KILL_FAILED, str(err), action.name)
            raise await _kill_failed(action.name, str(err)) from err

    async def forget(self, action: steps.Forget) -> None:
        """Remove a dead container, then its log."""
        containers = self._context.runtime.observe().containers
        dead = [it for it in containers if it.id == action.container_id]
        # One that was never started shares its path with the one that takes its place.
        logs = [it.log_path for it in dead if it.phase is Phase.EXITED and it.log_path]
        try:
            await self._context.runtime.remove_container(action.container_id)
            for log in logs:
                rotation.remove(log)
        except (ContainerRuntimeError, OSError) as err:
            raise await _kill_failed(action.name, str(err)) from err

    async def resize(self, action: steps.Resize) -> None:
        """Change the resources of what runs, step by step; the rest is tried again later."""
        runtime = self._context.runtime
        try:
            use = await runtime.memory_use(action.sandbox_id)
            why = resizing.below_use(action.now, action.wanted, action.changes, use)
            if why:
                raise StepError(steps.RESIZE, "ResizePodInPlaceError", why)
            for step in resizing.steps(action.now, action.wanted, action.changes):
                if isinstance(step, resizing.SetPod):
                    await runtime.update_sandbox(action.sandbox_id, step.resources)
                else:
                    await runtime.update_container(step.id, step.resources)
        except ContainerRuntimeError as err:
            raise StepError(steps.RESIZE, "ResizePodInPlaceError", str(err)) from err

    def _address(self, pod: Pod) -> str:
        sandboxes, _ = self._context.of(pod.metadata.uid)
        addresses = [
            sandbox.addresses[0] for sandbox in sandboxes if sandbox.ready and sandbox.addresses
        ]
        return next(iter((*addresses, *self._context.host.addresses)), "127.0.0.1")

    async def clean_up(self, pod: Pod) -> None:
        """Remove everything that the node keeps of a Pod in which nothing runs."""
        sandboxes, _ = self._context.of(pod.metadata.uid)
        try:
            # First: if the agent is killed, the next one finds them by what the runtime knows.
            files.remove_tree(Path(render.log_directory(render.reference(pod))))
            for sandbox in sandboxes:
                await self.end_sandbox(pod, sandbox.id, remove=True)
            for container in self._context.of(pod.metadata.uid)[1]:  # of an unknown sandbox
                await self._context.runtime.remove_container(container.id)
            self._context.volumes.remove(pod.metadata.uid)
            self._context.claims.forget(pod.metadata.uid)
        except (OSError, ContainerRuntimeError) as err:
            raise await _kill_failed("", f"removing the Pod's remains: {err}") from err

    async def delete_object(self, pod: Pod) -> None:
        """Delete the ended Pod from the API: by its UID, so that no new Pod of its name is hit."""
        meta = pod.metadata
        try:
            await self._context.client.delete(
                kinds.POD, meta.namespace, meta.name, uid=meta.uid, grace_period_seconds=0
            )
        except ClientError as err:
            if isinstance(err, ApiError) and err.code in (404, 409):
                return  # the Pod is gone, or another one has its name
            raise await _kill_failed("", str(err)) from err

    def messages(self, pod: Pod, containers: tuple[Container, ...]) -> Mapping[str, str]:
        """The termination messages of ended containers, by ID; each file is read once."""
        known = {}
        for container in containers:
            if container.phase is Phase.EXITED:
                if container.id not in self._messages:
                    self._messages[container.id] = self._message(pod, container)
                known[container.id] = self._messages[container.id]
        self._messages = known
        return known

    def _message(self, pod: Pod, container: Container) -> str:
        path = self._context.volumes.termination_log(pod, container.name, container.attempt)
        text = _head(path, MESSAGE_BYTES)
        falls_back = spec_of(pod, container.name).termination_message_policy == _FALL_BACK
        if not text and falls_back and container.exit_code:
            text = last_words(_tail(Path(container.log_path), 2 * _LAST_BYTES))
        return text


async def _kill_failed(name: str, message: str) -> StepError:
    """Return the error of a failed end, after a pause that spaces the tries."""
    await asyncio.sleep(_KILL_RETRY_SECONDS)
    return StepError(name, _KILL_FAILED, message)


def _head(path: Path, size: int) -> str:
    """Return the beginning of a file; empty if there is no file."""
    try:
        with path.open("rb") as file:
            return file.read(size).decode(errors="replace")
    except OSError:
        return ""


def _tail(path: Path, size: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, file.seek(0, 2) - size))
            return file.read().decode(errors="replace")
    except OSError:
        return ""


def last_words(log: str) -> str:
    """Return the end of a log in CRI format, without time stamps, cut as kubelet cuts it.

    A whole line has its end, as in kubelet's message; a part of one (tag P) has none.
    """
    rows = [fields for line in log.split("\n") if len(fields := line.split(" ", 3)) == 4]
    texts = [text if tag.startswith("P") else f"{text}\n" for _, _, tag, text in rows]
    return "".join(texts[-_LAST_LINES:])[-_LAST_BYTES:]


def spec_of(pod: Pod, name: str) -> api.Container:
    """Return a Pod's container of this name; an empty one if the Pod has it no more."""
    spec = pod.spec
    everyone = (*spec.containers, *spec.init_containers, *spec.ephemeral_containers)
    return next((spec for spec in everyone if spec.name == name), api.Container(name=name))
