"""What is counted of webhooks and policies, by upstream's names and labels.

Source: k8s.io/apiserver/pkg/admission/metrics, and .../plugin/policy/{validating,mutating}/metrics
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from control.metrics import Registry
from control.server.wire.errors import StatusError

ADMIT, VALIDATE = "admit", "validate"
# The admission plugins by whose names upstream counts.
MUTATING_HOOKS, VALIDATING_HOOKS = "MutatingAdmissionWebhook", "ValidatingAdmissionWebhook"
MUTATING_POLICIES, VALIDATING_POLICIES = "MutatingAdmissionPolicy", "ValidatingAdmissionPolicy"
CALL_FAILED, OUR_ERROR, NO_ERROR = "calling_webhook_error", "apiserver_internal_error", "no_error"
_SECONDS = (0.005, 0.025, 0.1, 0.5, 1.0, 2.5)
_HOOK_SECONDS = (*_SECONDS, 10.0, 25.0)
_CEL_SECONDS = (0.0000005, 0.001, 0.01, 0.1, 1.0)
_MOST_CODE = 600
_OUT_OF_BUDGET = "validation failed due to running out of cost budget"


class AdmissionMetrics:
    """All that is counted of what is asked about writes."""

    def __init__(self, registry: Registry) -> None:
        timed = partial(registry.histogram, buckets=_SECONDS)
        labels = ("type", "operation", "rejected")
        self._step = timed(
            "apiserver_admission_step_admission_duration_seconds",
            "Admission sub-step latency histogram in seconds, broken out for each operation and"
            " step type (validate or admit).",
            *labels,
        )
        self._controller = timed(
            "apiserver_admission_controller_admission_duration_seconds",
            "Admission controller latency histogram in seconds, identified by name and broken out"
            " for each operation and type (validate or admit).",
            *("name", *labels),
        )
        self._add_hooks(registry)
        self.validating = PolicyMetrics(registry, "validating", ("enforcement_action",))
        self.mutating = PolicyMetrics(registry, "mutating")

    def _add_hooks(self, registry: Registry) -> None:
        of = "Admission webhook {}, identified by name, for each admission type and operation"
        labels = ("name", "type", "operation")
        self._hook = registry.histogram(
            "apiserver_admission_webhook_admission_duration_seconds",
            of.format("latency in seconds"),
            *(*labels, "rejected"),
            buckets=_HOOK_SECONDS,
        )
        self._requests = registry.counter(
            "apiserver_admission_webhook_request_total",
            of.format("requests, by the HTTP code of their answer"),
            *(*labels, "code", "rejected"),
        )
        self._rejections = registry.counter(
            "apiserver_admission_webhook_rejection_count",
            of.format("rejections, by what was wrong, and their HTTP code"),
            *(*labels, "error_type", "rejection_code"),
        )
        self._fail_open = registry.counter(
            "apiserver_admission_webhook_fail_open_count",
            "Admission webhooks that failed and were ignored, identified by name, for each type",
            *("name", "type"),
        )

    @contextmanager
    def step(self, kind: str, operation: str) -> Iterator[None]:
        """Time all that is asked in one step of a write."""
        with _timed(partial(self._step.observe, kind, operation)):
            yield

    @contextmanager
    def controller(self, name: str, kind: str, operation: str) -> Iterator[None]:
        """Time all webhooks, or policies, of one sort."""
        with _timed(partial(self._controller.observe, name, kind, operation)):
            yield

    def called(self, hook: tuple[str, str, str], began: float, code: int, wrong: str = "") -> None:
        """Count a call of a webhook (name, type, operation); ``wrong`` is why it refuses."""
        rejected, shown = _flag(bool(wrong)), str(min(code, _MOST_CODE))
        self._requests.add(*hook, shown, rejected)
        self._hook.observe(*hook, rejected, value=time.monotonic() - began)
        if wrong:
            self._rejections.add(*hook, wrong, shown)

    def failed_open(self, name: str, kind: str) -> None:
        """Count a failure of a webhook that is ignored."""
        self._fail_open.add(name, kind)


class PolicyMetrics:
    """What is counted of the expressions of policies of one sort."""

    def __init__(self, registry: Registry, sort: str, more: tuple[str, ...] = ()) -> None:
        labels = ("policy", "policy_binding", "error_type", *more)
        self._checks = registry.counter(
            f"apiserver_{sort}_admission_policy_check_total",
            f"Checks of {sort} admission policies, by policy, binding and what was wrong",
            *labels,
        )
        self._seconds = registry.histogram(
            f"apiserver_{sort}_admission_policy_check_duration_seconds",
            f"Latency of single expressions of {sort} admission policies in seconds",
            *labels,
            buckets=_CEL_SECONDS,
        )

    def checked(self, seconds: float, policy: str, binding: str, wrong: str, *action: str) -> None:
        """Count one expression of a policy where it is bound."""
        self._checks.add(policy, binding, wrong, *action)
        self._seconds.observe(policy, binding, wrong, *action, value=seconds)


def error_type(message: str) -> str:
    """Return how upstream's metrics name what is wrong with an expression. Pure."""
    if message.startswith("compilation"):
        return "compile_error"
    return "out_of_budget" if message.startswith(_OUT_OF_BUDGET) else "invalid_error"


@contextmanager
def _timed(observe: Callable[..., None]) -> Iterator[None]:
    began, rejected = time.monotonic(), False
    try:
        yield
    except StatusError:
        rejected = True
        raise
    finally:
        observe(_flag(rejected), value=time.monotonic() - began)


def _flag(value: bool) -> str:
    return "true" if value else "false"
