"""ADD's decisions, and the comparison of CHECK; all of it is pure.

``plan_add`` is the entry. The mode decides how the interface is made (``bridge``, ``ptp``, or
``others``, which makes none); ``extras`` adds port mappings, bandwidth and the like to any of them.
This room may import ``spec``, and the kernel's constants from ``linux.uapi``.
"""

from collections.abc import Callable

from cni_plugin.plan.bridge import plan_bridge
from cni_plugin.plan.extras import plan_extras
from cni_plugin.plan.others import plan_chained, plan_loopback
from cni_plugin.plan.ptp import plan_ptp
from cni_plugin.plan.wiring import Plan
from cni_plugin.spec.config import Mode
from cni_plugin.spec.kernel_state import StateBeforeAdd
from cni_plugin.spec.request import Request
from cni_plugin.spec.result import Result

_MODES: dict[Mode, Callable[[Request, Result, StateBeforeAdd], Plan]] = {
    "bridge": plan_bridge,
    "ptp": plan_ptp,
    "loopback": plan_loopback,
    "chained": plan_chained,
}


def plan_add(request: Request, lease: Result, state: StateBeforeAdd) -> Plan:
    """The operations that make the requested attachment, with the addresses of ``lease``."""
    wired = _MODES[request.conf.wiring](request, lease, state)
    return plan_extras(request, wired)


__all__ = ["Plan", "plan_add"]
