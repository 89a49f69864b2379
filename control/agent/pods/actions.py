"""The steps of a Pod's life, each carried out: runtime, volumes, hooks, events.

A step that does not work raises StepFailed, with the reason that Kubernetes shows.
"""

import asyncio
import logging
from collections.abc import Mapping
from pathlib import Path

from control.agent.pods import decide as d
from control.agent.pods import environment, payload, render
from control.agent.pods.environment import Sources
from control.agent.pods.fields import BadReference
from control.agent.pods.probes import Result, Target
from control.agent.pods.surroundings import Surroundings
from control.api import container as api
from control.api import kinds
from control.api.pod import Pod
from control.client import ApiError, ClientError
from control.linux import files
from control.runtime.base import Container, Phase, RuntimeFailure

logger = logging.getLogger(__name__)

_LEAST_GRACE = 2.0  # seconds left to a container after its preStop hook, as in kubelet
_HOOK_SECONDS = 3600.0
_MESSAGE_BYTES = 4096
_FALL_BACK = "FallbackToLogsOnError"
_LAST_BYTES, _LAST_LINES = 2048, 80


class StepFailed(Exception):
    """A step did not work; ``name`` is the container's, empty for the Pod as a whole."""

    def __init__(self, name: str, reason: str, message: str) -> None:
        super().__init__(message)
        self.name, self.reason = name, reason


class Actions:
    """Carries out what ``decide`` found due for Pods."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._messages: dict[str, str] = {}

    # -- sandboxes -------------------------------------------------------------------------------

    async def create_sandbox(self, pod: Pod, attempt: int) -> None:
        """Volumes and sandbox; the one needs nothing of the other."""
        around = self._around
        if attempt:
            around.record(
                pod,
                "Normal",
                "SandboxChanged",
                "Pod sandbox changed, it will be killed and re-created.",
            )
        config = render.sandbox(pod, attempt, around.dns, around.host.name)
        try:
            await self._prepare(pod)
            await around.runtime.run_sandbox(config)
        except (RuntimeFailure, BadReference, ClientError, OSError) as err:
            reason = "FailedMount" if isinstance(err, BadReference) else getattr(err, "reason", "")
            mount = reason == "FailedMount"
            event = "FailedMount" if mount else "FailedCreatePodSandBox"
            text = str(err) if mount else f"Failed to create pod sandbox: {err}"
            around.record(pod, "Warning", event, text)
            raise StepFailed("", event, text) from err

    async def end_sandbox(self, pod: Pod, sandbox_id: str, remove: bool) -> None:
        """Disconnect a sandbox, or remove it altogether."""
        try:
            if remove:
                await self._around.runtime.remove_sandbox(sandbox_id)
            else:
                await self._around.runtime.stop_sandbox(sandbox_id)
        except (RuntimeFailure, OSError) as err:
            self._around.record(pod, "Warning", "FailedKillPod", f"error killing pod: {err}")
            await asyncio.sleep(1)
            raise StepFailed("", "FailedKillPod", str(err)) from err

    async def _prepare(self, pod: Pod) -> None:
        if not pod.spec.volumes:
            return
        sources = await self._sources(pod, payload.references(pod))
        tokens = {wanted: await self._token(pod, wanted) for wanted in payload.tokens(pod)}
        payloads = {
            volume.name: payload.payload(pod, volume, sources, self._around.host, tokens)
            for volume in pod.spec.volumes
            if payload.is_filled(volume)
        }
        self._around.volumes.prepare(pod, payloads)

    async def refresh(self, pod: Pod) -> None:
        """Bring the volumes that the API fills up to date; what fails is tried in a minute."""
        try:
            await self._prepare(pod)
        except (RuntimeFailure, BadReference, ClientError, OSError) as err:
            self._around.record(pod, "Warning", "FailedMount", str(err))

    async def _token(self, pod: Pod, wanted: payload.TokenRequest) -> str:
        """A token of the Pod's service account, bound to the Pod (TokenRequest API)."""
        spec = {
            "audiences": [wanted.audience] if wanted.audience else [],
            "expirationSeconds": wanted.seconds,
            "boundObjectRef": {
                "kind": "Pod",
                "apiVersion": "v1",
                "name": pod.metadata.name,
                "uid": pod.metadata.uid,
            },
        }
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": spec}
        name = pod.spec.service_account_name or "default"
        answer = await self._around.client.post(
            kinds.SERVICE_ACCOUNT, pod.metadata.namespace, name, "token", body
        )
        return str(answer["status"]["token"])

    async def _sources(self, pod: Pod, wanted: frozenset[tuple[str, str]]) -> Sources:
        namespace = pod.metadata.namespace or ""
        data = await self._around.objects.fetch(namespace, wanted)
        return Sources(data, self._around.services())

    # -- containers ------------------------------------------------------------------------------

    async def start(self, pod: Pod, action: d.Start) -> None:
        """Create and run a container, then its postStart hook."""
        spec = spec_of(pod, action.name)
        try:
            container_id = await self._create(pod, spec, action)
        except (RuntimeFailure, BadReference, ClientError, OSError) as err:
            raise self._refused(pod, spec, err) from err
        record = self._around.record
        present = f'Container image "{spec.image}" already present on machine'
        record(pod, "Normal", "Pulled", present, spec.name)
        record(pod, "Normal", "Created", f"Created container: {spec.name}", spec.name)
        try:
            await self._around.runtime.start_container(container_id)
        except RuntimeFailure as err:
            record(pod, "Warning", "Failed", f"Error: {err}", spec.name)
            return  # it is a container that has ended: its restart is up to the policy
        record(pod, "Normal", "Started", f"Started container {spec.name}", spec.name)
        await self._post_start(pod, spec, container_id)

    async def _create(self, pod: Pod, spec: api.Container, action: d.Start) -> str:
        around = self._around
        sandboxes, _ = around.of(pod.metadata.uid)
        sandbox = next((it for it in sandboxes if it.id == action.sandbox_id), None)
        if sandbox is None:
            raise RuntimeFailure("the Pod's sandbox is gone", "CreateContainerError")
        addresses = around.host.addresses if sandbox.host_network else sandbox.addresses
        sources = await self._sources(pod, environment.references(pod))
        values = environment.variables(pod, spec, sources, around.host, addresses)
        mounts = around.volumes.mounts(pod, spec, action.attempt, values)
        config = render.container(
            pod,
            spec,
            action.attempt,
            sources=sources,
            host=around.host,
            addresses=addresses,
            mounts=mounts,
        )
        return await around.runtime.create_container(action.sandbox_id, config)

    def _refused(self, pod: Pod, spec: api.Container, err: Exception) -> StepFailed:
        """Kubelet's words for why a container could not be created."""
        reason = "CreateContainerConfigError"
        if isinstance(err, RuntimeFailure):
            reason = err.reason
        text = str(err)
        if reason == "ErrImagePull":
            never = spec.image_pull_policy == "Never"
            event = "ErrImageNeverPull" if never else "Failed"
            text = f'Failed to pull image "{spec.image}": {text}'
            self._around.record(pod, "Warning", event, text, spec.name)
            reason = "ErrImageNeverPull" if never else "ImagePullBackOff"
        else:
            self._around.record(pod, "Warning", "Failed", f"Error: {text}", spec.name)
        return StepFailed(spec.name, reason, text)

    async def _post_start(self, pod: Pod, spec: api.Container, container_id: str) -> None:
        hook = spec.lifecycle.post_start if spec.lifecycle else None
        if hook is None:
            return
        target = Target(container_id, spec, self._address(pod))
        result, why = await self._around.asker.ask(target, hook, _HOOK_SECONDS)
        if result is Result.FAILURE:
            self._around.record(
                pod, "Warning", "FailedPostStartHook", f"PostStartHook failed: {why}", spec.name
            )
            await self.kill(
                pod,
                d.Kill(container_id, spec.name, _LEAST_GRACE, "FailedPostStartHook", hook=False),
            )

    async def kill(self, pod: Pod, action: d.Kill) -> None:
        """The preStop hook, within the grace; then the signal, and what is left of the grace."""
        around = self._around
        around.record(pod, "Normal", "Killing", action.message, action.name)
        began = around.clock()
        spec = spec_of(pod, action.name)
        hook = spec.lifecycle.pre_stop if spec.lifecycle else None
        if hook is not None and action.hook and action.grace > 0:
            target = Target(action.container_id, spec, self._address(pod))
            result, why = await around.asker.ask(target, hook, action.grace)
            if result is Result.FAILURE:
                text = f"PreStopHook failed: {why}"
                around.record(pod, "Warning", "FailedPreStopHook", text, action.name)
        left = action.grace - (around.clock() - began)
        grace = max(left, _LEAST_GRACE if action.grace else 0.0)
        try:
            await around.runtime.stop_container(action.container_id, grace)
        except RuntimeFailure as err:
            around.record(pod, "Warning", "FailedKillPod", str(err), action.name)
            await asyncio.sleep(1)
            raise StepFailed(action.name, "FailedKillPod", str(err)) from err

    def _address(self, pod: Pod) -> str:
        sandboxes, _ = self._around.of(pod.metadata.uid)
        addresses = [it.addresses[0] for it in sandboxes if it.ready and it.addresses]
        return next(iter((*addresses, *self._around.host.addresses)), "127.0.0.1")

    # -- the end ---------------------------------------------------------------------------------

    async def clean_up(self, pod: Pod) -> None:
        """Remove everything that the node has of a Pod in which nothing runs."""
        sandboxes, _ = self._around.of(pod.metadata.uid)
        for sandbox in sandboxes:
            await self.end_sandbox(pod, sandbox.id, remove=True)
        try:
            for container in self._around.of(pod.metadata.uid)[1]:  # of a sandbox nobody knows
                await self._around.runtime.remove_container(container.id)
            self._around.volumes.remove(pod.metadata.uid)
            files.remove_tree(Path(render.log_directory(pod)))
        except (OSError, RuntimeFailure) as err:
            await asyncio.sleep(1)
            raise StepFailed("", "FailedKillPod", f"removing what is left: {err}") from err

    async def delete_object(self, pod: Pod) -> None:
        """Tell the API that the Pod has ended; only this very Pod, not a new one of its name."""
        meta = pod.metadata
        try:
            await self._around.client.delete(
                kinds.POD, meta.namespace, meta.name, uid=meta.uid, grace_period_seconds=0
            )
        except ApiError as err:
            if err.code not in (404, 409):  # gone already, or another Pod by now
                await asyncio.sleep(1)
                raise StepFailed("", "FailedKillPod", str(err)) from err
        except ClientError as err:
            await asyncio.sleep(1)
            raise StepFailed("", "FailedKillPod", str(err)) from err

    # -- what containers say in the end ----------------------------------------------------------

    def messages(self, pod: Pod, containers: tuple[Container, ...]) -> Mapping[str, str]:
        """The termination messages of the containers that have ended, by ID; each read once."""
        known = {}
        for container in containers:
            if container.phase is Phase.EXITED:
                if container.id not in self._messages:
                    self._messages[container.id] = self._message(pod, container)
                known[container.id] = self._messages[container.id]
        self._messages = known
        return known

    def _message(self, pod: Pod, container: Container) -> str:
        path = self._around.volumes.termination_log(pod, container.name, container.attempt)
        text = _head(path, _MESSAGE_BYTES)
        falls_back = spec_of(pod, container.name).termination_message_policy == _FALL_BACK
        if not text and falls_back and container.exit_code:
            text = last_words(_tail(Path(container.log_path), 2 * _LAST_BYTES))
        return text


def _head(path: Path, size: int) -> str:
    """The beginning of a file; nothing when there is none."""
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
    """The end of a log in CRI format without its time stamps, as kubelet cuts it."""
    texts = [fields[3] for line in log.splitlines() if len(fields := line.split(" ", 3)) == 4]
    return "\n".join(texts[-_LAST_LINES:])[-_LAST_BYTES:]


def spec_of(pod: Pod, name: str) -> api.Container:
    """The container of a Pod with this name; an empty one when it is there no more."""
    everyone = (*pod.spec.containers, *pod.spec.init_containers)
    return next((it for it in everyone if it.name == name), api.Container(name=name))
