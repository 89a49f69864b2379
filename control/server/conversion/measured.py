"""What is counted of conversion webhooks, by upstream's names and labels.

Source: k8s.io/apiextensions-apiserver/pkg/apiserver/conversion/metrics.go
"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from control.metrics import Registry
from control.server.wire.errors import StatusError

CALL, MALFORMED, PARTIAL, INVALID = (
    f"conversion_webhook_{sort}_failure"
    for sort in (
        *("call", "malformed_response", "partial_response"),
        "invalid_converted_object",
    )
)
_SECONDS = tuple(0.001 * 2**power for power in range(15))
_LONG_SECONDS = (
    *(0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 30.0, 45.0, 60.0),
)


class Call:
    """One call of a webhook, and what has gone wrong with it; empty for nothing."""

    wrong = ""


class ConversionMetrics:
    """All that is counted of conversion webhooks."""

    def __init__(self, registry: Registry) -> None:
        self._of_kind = registry.histogram(
            "apiserver_crd_conversion_webhook_duration_seconds",
            "CRD webhook conversion duration in seconds",
            *("crd_name", "from_version", "to_version", "succeeded"),
            buckets=_SECONDS,
        )
        labels = ("result", "failure_type")
        self._requests = registry.counter(
            "apiserver_conversion_webhook_request_total",
            "Counter for conversion webhook requests with success/failure and failure error type",
            *labels,
        )
        self._seconds = registry.histogram(
            "apiserver_conversion_webhook_duration_seconds",
            "Conversion webhook request latency",
            *labels,
            buckets=_LONG_SECONDS,
        )

    @contextmanager
    def call(self, definition: str, old: str, new: str) -> Iterator[Call]:
        """Count a conversion of objects of a definition from a version into another one."""
        began, call = time.monotonic(), Call()
        try:
            yield call
        except StatusError:
            self._count(definition, old, new, call.wrong, began)
            raise
        self._count(definition, old, new, "", began)

    def _count(self, definition: str, old: str, new: str, wrong: str, began: float) -> None:
        seconds, result = time.monotonic() - began, "failure" if wrong else "success"
        self._of_kind.observe(definition, old, new, "false" if wrong else "true", value=seconds)
        self._requests.add(result, wrong)
        self._seconds.observe(result, wrong, value=seconds)
