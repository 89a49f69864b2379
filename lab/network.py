"""The network of a lab as scripts for ``ip -batch``: a bridge, and a cable to each machine."""

import socket
import subprocess
from collections.abc import Sequence

from lab.spec import SWITCHES, UPLINK, LabSpec, Machine

BRIDGE = "switch"


class LabNetworkError(Exception):
    """``ip`` refused a line; the text has its message."""


def switch_script(spec: LabSpec) -> list[str]:
    """Return the script for the bridge: the machines' default route, which forwards nothing."""
    lines = [
        "link set lo up",
        f"link add {BRIDGE} type bridge stp_state 0 forward_delay 0 mcast_snooping 0",
        f"link set {BRIDGE} up",
    ]
    return lines + [_address(str(SWITCHES[family]), BRIDGE) for family in spec.families]


def _address(address: str, device: str) -> str:
    return f"addr add {address} dev {device}{' nodad' if ':' in address else ''}"


def cable_script(machine: Machine, pid: int) -> list[str]:
    """Return the script for a cable from the switch to the network namespace of ``pid``."""
    return [
        f"link add {machine.name} type veth peer name {UPLINK} netns {pid}",
        f"link set {machine.name} master {BRIDGE} up",
    ]


def unplug(machine: Machine) -> None:
    """Remove a machine's cable from this process's network namespace, if there is one.

    Raises LabNetworkError.
    """
    try:
        if is_plugged(machine):
            run_script([f"link del {machine.name}"])
    except LabNetworkError:
        if is_plugged(machine):  # else the kernel was quicker
            raise


def is_plugged(machine: Machine) -> bool:
    """True if this process's network namespace has the cable of a machine."""
    return any(name == machine.name for _, name in socket.if_nameindex())


def machine_script(spec: LabSpec, machine: Machine) -> list[str]:
    """Return the script for a machine's end: addresses, and a default route to the switch."""
    lines = ["link set lo up", f"link set {UPLINK} up"]
    lines += [_address(address, UPLINK) for address in machine.addresses]
    for family in spec.families:
        option = "-6 " if family == 6 else ""
        lines.append(f"{option}route add default via {SWITCHES[family].ip}")
    return lines


def run_script(lines: Sequence[str]) -> None:
    """Run a script in this process's network namespace; raises LabNetworkError."""
    for family, batch in (
        ("-4", [x for x in lines if not x.startswith("-6 ")]),
        ("-6", [x[3:] for x in lines if x.startswith("-6 ")]),
    ):
        if not batch:
            continue
        text = "".join(f"{line}\n" for line in batch)
        argv = ["ip", *([family] if family == "-6" else []), "-batch", "-"]
        done = subprocess.run(argv, input=text, text=True, capture_output=True, check=False)
        if done.returncode:
            raise LabNetworkError(f"ip -batch: {done.stderr.strip()}")
