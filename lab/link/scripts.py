"""What the kernel is told, so that a cable is as a user wants it. Pure.

A cable has an end at the switch and one in the machine. Packets are lost at the switch, both ways,
by rules that draw lots; each end delays and paces what it sends. Each script begins with what
removes an earlier one's work.
"""

from dataclasses import dataclass

from lab.link.quality import USUAL_MTU, Quality, rate_text
from lab.spec import UPLINK

TABLE = "podwire-link"
_LOTS = 1_000_000
_BURST = 16_384  # bytes, at least; and 10 ms of the rate
_QUEUE = "400ms"  # what waits longer is dropped


@dataclass(frozen=True, slots=True)
class Kernel:
    """The queueing disciplines that the kernel has."""

    netem: bool
    tbf: bool


def rules(machine: str, want: Quality, kernel: Kernel) -> str:
    """Return the nftables script for the switch's network: loss, and pace where tbf is missing."""
    drops = []
    if want.loss:
        last = round(want.loss * _LOTS / 100) - 1  # nft refuses "< _LOTS", which all packets are
        drops.append(f"numgen random mod {_LOTS} <= {last} counter drop")
    if want.rate and not kernel.tbf:
        drops.append(
            f"limit rate over {want.rate // 8} bytes/second burst {_burst(want.rate)} bytes "
            "counter drop"
        )
    lines = [f"add table netdev {TABLE}"]
    for hook in ("ingress", "egress"):
        chain = f"netdev {TABLE} {machine}-{hook}"
        head = f'{{ type filter hook {hook} device "{machine}" priority 0; }}'
        lines += [f"add chain {chain} {head}", f"flush chain {chain}"]
        lines += [f"add rule {chain} {drop}" for drop in drops] or [f"delete chain {chain}"]
    return "".join(f"{line}\n" for line in lines)


def queues(device: str, want: Quality, kernel: Kernel) -> list[list[str]]:
    """Return tc(8)'s command lines for one end of a cable, after its qdisc was removed."""
    lines, parent = [], ["root", "handle", "1:"]
    add = ["tc", "qdisc", "add", "dev", device]
    if want.delay:
        lines.append([*add, *parent, "netem", "delay", f"{want.delay:g}ms", "limit", "10000"])
        parent = ["parent", "1:", "handle", "2:"]
    if want.rate and kernel.tbf:
        pace = ["rate", rate_text(want.rate), "burst", str(_burst(want.rate)), "latency", _QUEUE]
        lines.append([*add, *parent, "tbf", *pace])
    return lines


def unqueue(device: str) -> list[str]:
    """Return the command line that removes a device's qdisc; it fails if there is none."""
    return ["tc", "qdisc", "del", "dev", device, "root"]


def switch_end(machine: str, want: Quality) -> list[str]:
    """Return ``ip -batch`` lines for the switch's end."""
    state = "down" if want.down else "up"
    return [f"link set {machine} mtu {want.mtu or USUAL_MTU}", f"link set {machine} {state}"]


def machine_end(want: Quality) -> list[str]:
    """Return ``ip -batch`` lines for the machine's end."""
    return [f"link set {UPLINK} mtu {want.mtu or USUAL_MTU}"]


def _burst(rate: int) -> int:
    return max(_BURST, rate // 8 // 100)
