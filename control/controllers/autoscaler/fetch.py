"""Ask adapters for metrics: custom.metrics.k8s.io and external.metrics.k8s.io.

They are extension servers behind the API server. Source: k8s.io/metrics/pkg/client
"""

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from control.api.autoscaling import MetricSpec, OtherMetric, ScaleTarget
from control.api.base import decode
from control.api.kinds import Kind
from control.api.meta import LabelSelector
from control.api.selectors import format_labels
from control.client.errors import ApiError, OversizeError
from control.client.rest import Client
from control.controllers.autoscaler.other import NOTHING_OUTSIDE
from control.controllers.autoscaler.reading import (
    CUSTOM,
    EXTERNAL,
    NO_CUSTOM,
    Reading,
    of_external,
    of_object,
    of_pods,
    version_of,
)
from control.controllers.autoscaler.replicas import MetricError

_FROM_CUSTOM = "unable to fetch metrics from custom metrics API"
_FROM_EXTERNAL = "unable to fetch metrics from external metrics API"
_MOST_BYTES = 8 * 1024 * 1024  # of an answer: adapters are anybody's
Read = Callable[[dict[str, Any]], Reading]
KindOf = Callable[[ScaleTarget], Kind | None]


class MetricSources:
    """The metrics of one look at an autoscaler."""

    def __init__(self, client: Client, namespace: str, kind_of: KindOf) -> None:
        self._client, self._namespace, self._kind_of = client, namespace, kind_of
        self._version = ""

    async def read(self, spec: MetricSpec, selector: str) -> Reading | None:
        """Return the values of a metric; None for one of a resource."""
        if spec.type == "Pods" and spec.pods is not None:
            return await self._of_pods(spec.pods, selector)
        if spec.type == "Object" and spec.object is not None:
            return await self._of_object(spec.object)
        if spec.type == "External" and spec.external is not None:
            return await self._of_external(spec.external)
        return None

    async def _of_pods(self, spec: OtherMetric, selector: str) -> Reading:
        where = f"namespaces/{self._namespace}/pods/*/{_part(spec.metric.name)}"
        query = {"labelSelector": selector, "metricLabelSelector": _labels(spec)}
        return await self._of_custom(where, query, of_pods)

    async def _of_object(self, spec: OtherMetric) -> Reading:
        about = spec.described_object or ScaleTarget()
        name, query = _part(spec.metric.name), {"metricLabelSelector": _labels(spec)}
        group = (about.api_version or "").rpartition("/")[0]
        if (group, about.kind) == ("", "Namespace"):
            # As upstream: of no other namespace than its own.
            return await self._of_custom(
                f"namespaces/{self._namespace}/metrics/{name}", query, of_object
            )
        kind = self._kind_of(about)
        if kind is None:
            qualified = f"{about.kind}.{group}" if group else about.kind
            why = f'no matches for kind "{about.kind}" in group "{group}"'
            return Reading(
                error=f"{_FROM_CUSTOM}: unable to map kind {qualified} to resource: {why}"
            )
        resource = f"{kind.plural}.{kind.group}" if kind.group else kind.plural
        where = f"namespaces/{self._namespace}/{resource}/{_part(about.name)}/{name}"
        return await self._of_custom(where, query, of_object)

    async def _of_external(self, spec: OtherMetric) -> Reading:
        path = f"/apis/{EXTERNAL}/v1beta1/namespaces/{self._namespace}/{_part(spec.metric.name)}"
        try:
            return of_external(await self._get(path, {"labelSelector": _labels(spec)}))
        except MetricError as err:
            return Reading(error=str(err))
        except ApiError as err:
            if err.code == 404:
                return NOTHING_OUTSIDE
            return Reading(error=f"{_FROM_EXTERNAL}: {err.status.message or err}")

    async def _of_custom(self, where: str, query: dict[str, str], read: Read) -> Reading:
        try:
            version = await self._custom_version()
            return read(await self._get(f"/apis/{CUSTOM}/{version}/{where}", query))
        except MetricError as err:
            return Reading(error=str(err))
        except ApiError as err:
            return Reading(error=f"{_FROM_CUSTOM}: {err.status.message or err}")

    async def _custom_version(self) -> str:
        """Return the version that the API server prefers; raises MetricError, ApiError."""
        if not self._version:
            try:
                group = await self._get(f"/apis/{CUSTOM}", {})
            except ApiError as err:
                if err.code != 404:
                    raise
                raise MetricError(f"{_FROM_CUSTOM}: {NO_CUSTOM}") from err
            self._version = version_of(group)
        return self._version

    async def _get(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        given = urlencode({name: value for name, value in query.items() if value})
        try:
            body = await self._client.raw(f"{path}?{given}" if given else path, most=_MOST_BYTES)
            found = decode(body)
        except OversizeError as err:
            raise MetricError(str(err)) from err
        except ValueError as err:
            raise MetricError(f"{path}: the answer is no JSON") from err
        if not isinstance(found, dict):
            raise MetricError(f"{path}: the answer is no JSON object")
        return found


def _labels(spec: OtherMetric) -> str:
    selector = spec.metric.selector
    return format_labels(LabelSelector.parse(selector)) if selector else ""


def _part(name: str) -> str:
    return quote(name, safe="")
