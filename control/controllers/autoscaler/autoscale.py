"""Look at an autoscaler once: ask for its target's scale and metrics, scale, write the status."""

from dataclasses import replace
from typing import Any

from control.api.autoscaling import AutoscalerStatus, HorizontalPodAutoscaler
from control.api.base import decode
from control.api.kinds import HORIZONTAL_POD_AUTOSCALER
from control.api.measured import POD_METRICS
from control.client.errors import ApiError
from control.client.events import EventRecorder
from control.client.rest import Client
from control.controllers.actions import Autoscale
from control.controllers.autoscaler.decide import (
    ABLE,
    Round,
    ScaleView,
    Verdict,
    is_ambiguous,
    measured,
    selected,
    simple,
)
from control.controllers.autoscaler.fetch import MetricSources
from control.controllers.autoscaler.metrics import Measurements
from control.controllers.autoscaler.rates import remember


class Autoscaling:
    """One look at one autoscaler."""

    def __init__(self, client: Client, action: Autoscale) -> None:
        self._client, self._action = client, action
        self._round = Round(action.autoscaler, action.now, action.settings)

    async def run(self, recorder: EventRecorder) -> HorizontalPodAutoscaler | None:
        """Scale if it is due; return the autoscaler if it was written. Raises ClientError."""
        status = await self._status()
        autoscaler = self._action.autoscaler
        for type_, reason, message in self._round.events:
            recorder.record(autoscaler, type_, reason, message)
        if status == autoscaler.status:
            return None
        changed = autoscaler.model_copy(update={"status": status})
        return await self._client.update_status(HORIZONTAL_POD_AUTOSCALER, changed)

    async def _status(self) -> AutoscalerStatus:
        scale = await self._scale()
        if scale is None:
            return self._round.unchanged()
        memory = self._action.memory
        memory.asked = memory.asked or [(scale.replicas, self._action.now)]
        verdict = simple(self._round, scale) or await self._by_metrics(scale)
        old = self._action.autoscaler.status
        if verdict.replicas is None:
            return self._round.status(scale.replicas, old.desired_replicas)
        if verdict.replicas == scale.replicas:
            return self._round.status(scale.replicas, scale.replicas)
        if not await self._rescale(scale, verdict.replicas, verdict.reason):
            return self._round.status(scale.replicas, old.desired_replicas)
        return self._round.status(scale.replicas, verdict.replicas, rescaled=True)

    async def _scale(self) -> ScaleView | None:
        """Return the scale of the target; None, and a condition, if there is none."""
        ref = self._action.autoscaler.spec.scale_target_ref
        kind = self._action.kind_of(ref)
        if kind is None:
            group = (ref.api_version or "").rpartition("/")[0]
            self._round.no_scale(f'no matches for kind "{ref.kind}" in group "{group}"')
            return None
        namespace = self._action.autoscaler.metadata.namespace
        try:
            wire = decode(await self._client.raw(kind.path(namespace, ref.name, "scale")))
        except ApiError as err:
            self._round.no_scale(err.status.message or str(err))
            return None
        spec, status = wire.get("spec") or {}, wire.get("status") or {}
        return ScaleView(
            spec.get("replicas", 0),
            status.get("selector", ""),
            wire,
            status.get("replicas", 0),
        )

    async def _by_metrics(self, scale: ScaleView) -> Verdict:
        labels = selected(self._round, scale)
        if labels is None:
            return Verdict(None)
        self._action.memory.selector = scale.selector
        pods = tuple(pod for pod in self._action.pods if labels.matches(pod.metadata.labels))
        if is_ambiguous(self._round, scale, pods, self._action.others):
            return Verdict(None)
        found = await self._measurements(scale.selector)
        return measured(self._round, scale, pods, found, self._action.memory)

    async def _measurements(self, selector: str) -> Measurements:
        specs = self._action.autoscaler.spec.metrics
        namespace = self._action.autoscaler.metadata.namespace or ""
        sources = MetricSources(self._client, namespace, self._action.kind_of)
        read = {at: await sources.read(spec, selector) for at, spec in enumerate(specs)}
        readings = {at: reading for at, reading in read.items() if reading is not None}
        found = Measurements(readings=readings, namespace=namespace)
        if not any(it.type in ("Resource", "ContainerResource") for it in specs):
            return found
        try:
            used = await self._client.list(POD_METRICS, namespace, label_selector=selector)
        except ApiError as err:
            return replace(found, error=err.status.message or str(err))
        return replace(found, pods=used.items)

    async def _rescale(self, scale: ScaleView, count: int, reason: str) -> bool:
        """Write the scale; False, and a condition, if the server refuses."""
        ref = self._action.autoscaler.spec.scale_target_ref
        kind = self._action.kind_of(ref)
        namespace = self._action.autoscaler.metadata.namespace
        spec: dict[str, Any] = dict(scale.wire.get("spec") or {})
        body = dict(scale.wire) | {"spec": spec | {"replicas": count}}
        said = f"New size: {count}; reason: {reason}"
        try:
            if kind is not None:
                await self._client.put(kind, namespace, ref.name, "scale", body)
        except ApiError as err:
            why = err.status.message or str(err)
            self._round.warn("FailedRescale", f"{said}; error: {why}")
            text = f"the HPA controller was unable to update the target scale: {why}"
            self._round.say(ABLE, False, "FailedUpdateScale", text)
            return False
        text = f"the HPA controller was able to update the target scale to {count}"
        self._round.say(ABLE, True, "SucceededRescale", text)
        self._round.events.append(("Normal", "SuccessfulRescale", said))
        behavior = self._action.autoscaler.spec.behavior
        now = self._action.now
        remember(self._action.memory, behavior, scale.replicas, count, now)
        return True
