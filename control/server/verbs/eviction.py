"""Evict a Pod: delete it, if its PodDisruptionBudget allows one more to go.

Source: k8s.io/kubernetes/pkg/registry/core/pod/storage/eviction.go
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace as changed

from control.api.kinds import DISRUPTION_BUDGET, POD
from control.api.meta import LabelSelector
from control.api.policy import (
    ALWAYS_ALLOW,
    PodDisruptionBudget,
    allowed_condition,
)
from control.api.selectors import SelectorError, selects
from control.server.state.server import ServerState
from control.server.verbs.delete import Deleted, check_preconditions, delete_with, read_options
from control.server.verbs.marking import DeletionOptions
from control.server.verbs.modify import retried, rewrite
from control.server.verbs.read import find
from control.server.verbs.write import draft, replace
from control.server.wire import errors
from control.server.wire.decode import read_message
from control.server.wire.errors import StatusError
from control.server.wire.info import storage_prefix
from control.server.wire.item import Item, Wire
from control.server.wire.request import ApiRequest

# More evictions than this, which no controller has seen, are too many.
_MAX_DISRUPTED = 2000
_RETRY = 10
_TARGET = "DisruptionTarget"


async def evict(state: ServerState, request: ApiRequest) -> Deleted:
    """Delete a Pod with the options of a policy/v1 Eviction.

    Raises StatusError: 429 if its budget is spent, 400, 403, 404, 409, or 500 if it has several.
    """
    eviction = read_message("policy.Eviction", request.body.object())
    name = (eviction.get("metadata") or {}).get("name") or ""
    if name != request.info.name:
        raise errors.bad_request("name in URL does not match name in Eviction object")
    options = read_options(request, eviction.get("deleteOptions", {}))

    async def unguarded(pod: Item) -> Deleted | None:
        state.guard.check(request, pod, None)
        return await _unguarded(state, request, pod, options)

    if gone := await retried(state, request, unguarded):
        return gone
    return await _guarded(state, request, options)


async def _unguarded(
    state: ServerState, request: ApiRequest, pod: Item, options: DeletionOptions
) -> Deleted | None:
    """Delete a Pod that does not count; None if a budget may guard it."""
    metadata, phase = pod.wire["metadata"], (pod.wire.get("status") or {}).get("phase")
    if phase in ("Succeeded", "Failed") or "deletionTimestamp" in metadata:
        return await _ended(state, request, options)
    if phase != "Pending":
        return None
    try:
        return await _ended(state, request, _held_to(pod, options))
    except StatusError as err:
        if err.code != 409 or options.version:
            raise
        raise errors.conflict(POD, request.info.name, again=True) from err


async def _guarded(state: ServerState, request: ApiRequest, options: DeletionOptions) -> Deleted:
    """Delete a Pod that runs, if its budget lets it go."""
    pod = find(state, request.info)
    budgets = _budgets(state, pod)
    if len(budgets) > 1:
        why = "This pod has more than one PodDisruptionBudget, which the eviction subresource"
        raise StatusError(500, "", f"{why} does not support.")
    if not budgets:
        return await _ended(state, request, options)
    name = budgets[0].metadata.name
    if _is_ready(pod.wire) or not _spares_unready(budgets[0]):
        await _take(state, request, name, options)
        return await _ended(state, request, options)
    try:
        return await _ended(state, request, _held_to(pod, options))
    except StatusError as err:
        if err.code != 409 or options.version:
            raise
        raise _in_process(name) from err  # the Pod may have become ready


def _held_to(pod: Item, options: DeletionOptions) -> DeletionOptions:
    """Return options that delete this version of a Pod only."""
    return changed(options, version=options.version or str(pod.revision))


def _budgets(state: ServerState, pod: Item) -> list[PodDisruptionBudget]:
    metadata, found = pod.wire["metadata"], []
    prefix = storage_prefix(DISRUPTION_BUDGET, metadata["namespace"])
    for item in state.cache.of(DISRUPTION_BUDGET).items(prefix):
        selector = item.wire["spec"].get("selector")
        if selector is not None and _selects(selector, metadata.get("labels") or {}):
            found.append(PodDisruptionBudget.parse(dict(item.wire)))
    return found


def _selects(selector: Wire, labels: Mapping[str, str]) -> bool:
    try:
        return selects(LabelSelector.parse(selector), labels)
    except SelectorError:
        return False


def _is_ready(pod: Mapping[str, Any]) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any((it.get("type"), it.get("status")) == ("Ready", "True") for it in conditions)


def _spares_unready(budget: PodDisruptionBudget) -> bool:
    """True if a Pod that is not ready may go without a count: no healthy one is missed."""
    if budget.spec.unhealthy_pod_eviction_policy == ALWAYS_ALLOW:
        return True
    status = budget.status
    return status.current_healthy >= status.desired_healthy > 0


async def _take(
    state: ServerState, request: ApiRequest, name: str, options: DeletionOptions
) -> None:
    """Let one Pod less go, and note whose turn it was; raises StatusError (403, 409, 429)."""
    info = changed(
        request.info, kind=DISRUPTION_BUDGET, name=name, subresource="status", verb="update"
    )

    async def once(item: Item) -> None:
        budget = PodDisruptionBudget.parse(dict(item.wire))
        _check(budget)
        if not options.dry_run:
            wire = _taken(budget, request.info.name, state)
            await replace(state, info, item, draft(DISRUPTION_BUDGET, wire, item.managed))

    try:
        await retried(state, changed(request, info=info), once)
    except StatusError as err:
        if not err.again:
            raise
        raise _in_process(name) from err  # many go at once


def _check(budget: PodDisruptionBudget) -> None:
    status, name = budget.status, budget.metadata.name
    if (status.observed_generation or 0) < (budget.metadata.generation or 0):
        raise _in_process(name)
    if status.disruptions_allowed < 0:
        raise errors.forbidden(DISRUPTION_BUDGET, name, "pdb disruptions allowed is negative")
    if len(status.disrupted_pods) > _MAX_DISRUPTED:
        why = "DisruptedPods map too big - too many evictions not confirmed by PDB controller"
        raise errors.forbidden(DISRUPTION_BUDGET, name, why)
    if status.disruptions_allowed == 0:
        raise errors.budget_spent(
            f"The disruption budget {name} needs {status.desired_healthy} healthy pods and has"
            f" {status.current_healthy} currently"
        )


def _in_process(name: str) -> StatusError:
    why = f"The disruption budget {name} is still being processed by the server."
    return errors.budget_spent(why, retry=_RETRY)


def _taken(budget: PodDisruptionBudget, pod: str, state: ServerState) -> Wire:
    status = budget.status
    change: dict[str, Any] = {
        "disruptions_allowed": status.disruptions_allowed - 1,
        "disrupted_pods": status.disrupted_pods | {pod: state.timestamp()},
    }
    status = status.model_copy(update=change)
    if status.disruptions_allowed == 0:
        conditions = allowed_condition(status, state.now().timestamp())
        status = status.model_copy(update={"conditions": conditions})
    return budget.model_copy(update={"status": status}).wire()


async def _ended(state: ServerState, request: ApiRequest, options: DeletionOptions) -> Deleted:
    """Say on the Pod why it goes, and delete it."""
    if options.dry_run:
        return await delete_with(state, request, options)

    def noted(item: Item) -> Wire:
        check_preconditions(request, item, options)
        return _noted(item, state.timestamp())

    pod = await rewrite(state, request, noted)
    version = str(pod.revision) if options.version else ""
    return await delete_with(state, request, changed(options, version=version))


def _noted(item: Item, now: str) -> Wire:
    pod = item.fresh()
    status: dict[str, Any] = pod.setdefault("status", {})
    held = status.get("conditions") or []
    old: Wire = next((it for it in held if it.get("type") == _TARGET), {})
    since = old.get("lastTransitionTime") if old.get("status") == "True" else now
    target = {
        "type": _TARGET,
        "status": "True",
        "lastTransitionTime": since or now,
        "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting",
    }
    status["conditions"] = [*(it for it in held if it.get("type") != _TARGET), target]
    return pod
