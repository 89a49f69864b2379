"""What all objects of a namespace use of a quota together. Pure.

Source: k8s.io/kubernetes/pkg/controller/resourcequota (syncResourceQuota)
"""

from collections.abc import Iterable, Mapping
from typing import Any

from control.api.amounts import Amounts, add, masked, parsed, shown
from control.api.quantity import ZERO
from control.api.quota.model import ResourceQuota, ResourceQuotaStatus
from control.api.quota.scopes import in_scopes
from control.api.quota.usage import matching, usage

Wire = Mapping[str, Any]


def counted(
    quota: ResourceQuota, objects: Mapping[str, Iterable[Wire]], now: float
) -> ResourceQuotaStatus:
    """Return the status of a quota; ``objects`` has the namespace's objects by resource.

    What is used of a resource that none of them has stays as it was said.
    """
    hard, used = quota.spec.hard, parsed(quota.status.used)
    for resource, wires in objects.items():
        used |= dict.fromkeys(matching(resource, hard), ZERO)
        used |= masked(_total(quota, resource, wires, now), matching(resource, hard))
    return ResourceQuotaStatus(hard=hard, used=shown(masked(used, hard)))


def _total(quota: ResourceQuota, resource: str, wires: Iterable[Wire], now: float) -> Amounts:
    total: Amounts = {}
    for wire in wires:
        if in_scopes(resource, quota.spec, wire):
            add(total, usage(resource, wire, now))
    return total
