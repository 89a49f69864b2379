"""Whether an object fits into a quota, and what it leaves of it. Pure.

Source: k8s.io/apiserver/pkg/admission/plugin/resourcequota (CheckRequest)
"""

from collections.abc import Mapping
from typing import Any

from control.api.amounts import Amounts, add, masked, parsed, shown
from control.api.quantity import ZERO, Quantity
from control.api.quota.model import ResourceQuota, ResourceQuotaStatus
from control.api.quota.scopes import in_scopes
from control.api.quota.usage import matching, unmet, usage

Wire = Mapping[str, Any]


class QuotaError(Exception):
    """An object that a quota does not allow; the text is upstream's."""


def charged(
    quota: ResourceQuota, resource: str, new: Wire, old: Wire | None, now: float
) -> ResourceQuotaStatus | None:
    """Return the status of a quota with a new object, or with the next version of an old one.

    None if it uses nothing of the quota, or not more than before. Raises QuotaError.
    """
    hard, used = parsed(quota.status.hard), parsed(quota.status.used)
    names = matching(resource, hard)
    if not names or not in_scopes(resource, quota.spec, new):
        return None
    name = quota.metadata.name
    if why := unmet(resource, names, new):
        raise QuotaError(f"failed quota: {name}: {why}")
    if not used.keys() >= set(names):
        raise QuotaError(f"status unknown for quota: {name}, resources: {','.join(sorted(names))}")
    asked = masked(_more(quota, resource, new, old, now), hard)
    if not asked:
        return None
    total = dict(used)
    add(total, asked)
    if over := [each for each in asked if total[each] > hard[each]]:
        parts = (masked(amounts, over) for amounts in (asked, used, hard))
        texts = [_listed(part) for part in parts]
        raise QuotaError(
            f"exceeded quota: {name}, requested: {texts[0]}, used: {texts[1]}, limited: {texts[2]}"
        )
    return quota.status.model_copy(update={"used": shown(total)})


def _more(quota: ResourceQuota, resource: str, new: Wire, old: Wire | None, now: float) -> Amounts:
    """Return what an object uses more than its old version did, if the quota counted that."""
    after = usage(resource, new, now)
    if below := [name for name, amount in after.items() if amount < ZERO]:
        raise QuotaError(f"quota usage is negative for resource(s): {','.join(sorted(below))}")
    before: Amounts = {}
    if old is not None and in_scopes(resource, quota.spec, old):
        before = usage(resource, old, now)
    grown = {name: amount - before.get(name, ZERO) for name, amount in after.items()}
    return {name: amount for name, amount in grown.items() if amount > ZERO}


def _listed(amounts: Mapping[str, Quantity]) -> str:
    return ",".join(f"{name}={amounts[name]}" for name in sorted(amounts))
