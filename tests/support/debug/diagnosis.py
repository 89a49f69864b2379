"""What doctor and trace say of a fault, and what the documentation says that they do."""

import re
from collections.abc import Sequence
from pathlib import Path

from debug.doctor.examine import examine, worst
from debug.model import Level
from debug.snapshot import take
from debug.trace.commands import ask, observe_all, told
from debug.trace.model import PacketTrace
from tests.support.debug.symptoms import Symptom, World

_ROW = re.compile(r"^\| `([a-z0-9-]+)` \| (\w+) \| (.*?) ?\|$", re.MULTILINE)
_BESIDE = "ICMP redirect"  # what a node says of its own way, whatever is broken


def read_rows(page: Path) -> dict[str, tuple[str, str]]:
    """Read the page's table: a fault's name -> doctor's level, and the trace of a packet."""
    return {name: (level, packet) for name, level, packet in _ROW.findall(page.read_text())}


def diagnosed(world: World, name: str) -> str:
    """What doctor says of a fault: the worst level of its findings."""
    found = examine(take(world.ground, machines=True), only=[name])
    return worst(one for one in found if one.check == name).value


def wrong(world: World) -> list[str]:
    """What doctor says that is wrong."""
    found = examine(take(world.ground, machines=True))
    return [
        f"{one.check} on {one.node}: {one.summary}"
        for one in found
        if one.level in (Level.WARN, Level.FAIL)
    ]


def traced(world: World, symptom: Symptom) -> str:
    """Ask for a symptom's packet, and say where it ends, and how."""
    if not symptom.traced:
        return ""
    source, destination, size, port = (*symptom.traced, "", "")[:4]
    options = {
        **{"count": 1, "wait": 0.5, "ttl": 64, "fragment": False, "handshake": False},
        **{"size": int(size or 0), "source_port": int(port or 0) or None},
    }
    asked = ask(source, destination, "default", world.ground)
    packet = _decisive(told(asked, observe_all(asked, options), 0).packets)
    where = {"unknown": "after"}.get(packet.outcome, "at")
    sized = f", {size} bytes" if size else ""
    end = f"{packet.name} {packet.outcome} {where} {packet.where}"
    return f"`{source}` → `{destination}`{sized}: {end}"


def _decisive(packets: Sequence[PacketTrace]) -> PacketTrace:
    """The packet that was lost, else the one that refuses, else the first."""
    told = [one for one in packets if one.name != _BESIDE]
    lost = [one for one in told if one.outcome != "arrived"]
    refusing = [one for one in told if "RST" in one.name]
    return [*lost, *refusing, *told][0]
