"""All faults by name, in the order of docs/debug/faults.md."""

from debug.faults.acts.base import FaultError
from debug.faults.fault import Fault
from debug.faults.known import links, objects, pods, rules, state, unmade

_ALL = (links.FAULTS, rules.FAULTS, state.FAULTS, pods.FAULTS, objects.FAULTS, unmade.FAULTS)
FAULTS = {fault.name: fault for group in _ALL for fault in group}


def find(name: str) -> Fault:
    """Return a fault; raises FaultError, which lists them."""
    if name not in FAULTS:
        raise FaultError(f"no fault {name!r:.60}: there are {', '.join(FAULTS)}")
    return FAULTS[name]
