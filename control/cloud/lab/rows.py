"""The rows of machines.json: what a lab writes, and ``instances`` reads.

It imports no models of the API: every ``podwire lab node add`` would wait for them.
"""

from typing import Any

MACHINES, RUNNING = "machines.json", "running.json"
SCHEME = "lab://"


def describe(lab: str, name: str, ips: tuple[str, ...], zone: str) -> dict[str, Any]:
    """Return the row of machines.json for a machine."""
    return {"id": f"{SCHEME}{lab}/{name}", "ips": ips, "zone": zone, "region": lab}
