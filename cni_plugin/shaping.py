"""Bandwidth limits with traffic control; through pyroute2, which knows its many structures.

Source: tc-tbf(8), tc-u32(8), tc-mirred(8); the reference's bandwidth plugin.
"""

from __future__ import annotations

from pyroute2.iproute.linux import IPRoute

_ROOT_HANDLE, _INGRESS_HANDLE, _TARGET = 0x10000, 0xFFFF0000, 0x10001
_ETH_P_ALL = 0x0003
_LATENCY = "25ms"  # how long a packet may wait for the bucket, as the reference has it


def limit_rate(index: int, rate: int, burst: int) -> None:
    """Let a link send ``rate`` bytes per second, and ``burst`` bytes at once."""
    with IPRoute() as route:  # type: ignore[no-untyped-call]
        route.tc("replace", "tbf", index, _ROOT_HANDLE, rate=rate, latency=_LATENCY, burst=burst)


def redirect_ingress(index: int, to: int) -> None:
    """Send all that a link receives out of another device, which hands it back."""
    everything = ["0x0/0x0+0"]
    action = {"kind": "mirred", "direction": "egress", "action": "redirect", "ifindex": to}
    with IPRoute() as route:  # type: ignore[no-untyped-call]
        route.tc("add", "ingress", index, _INGRESS_HANDLE)
        route.tc(
            "add-filter", "u32", index, parent=_INGRESS_HANDLE, prio=1, protocol=_ETH_P_ALL,
            target=_TARGET, keys=everything, action=[action],
        )  # fmt: skip
