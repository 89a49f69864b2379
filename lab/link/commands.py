"""Carries out ``podwire lab link``."""

import dataclasses
import json

import click

from lab.link import cable
from lab.link.quality import LinkError, Quality, check_mtu, parse_delay, parse_loss, parse_rate
from lab.shared import need_root, plain_errors, running
from lab.spec import LabSpec
from lab.status import locate


def link(name: str, machine: str, output: str, **wanted: object) -> None:
    """Change a machine's cable, or show how it is."""
    need_root()
    lab, spec = running(name)
    with plain_errors(), lab.changing():
        links = cable.recorded(lab)
        before = links.get(machine, Quality())
        want = merge(before, spec, wanted)
        if machine == "switch":
            raise LinkError("the switch has a cable to each machine: name a machine")
        place, switch = locate(lab, machine), locate(lab, "switch")
        if want != before or wanted["clear"]:
            has = cable.kernel()
            cable.require(want, has)
            cable.apply(switch.pid, place.pid, machine, want, has)
            cable.record(lab, links | {machine: want})
    if output == "json":
        click.echo(json.dumps({"machine": machine, **dataclasses.asdict(want)}))
    else:
        click.echo(f"lab {name}: the link of {machine} {want}")


def merge(before: Quality, spec: LabSpec, wanted: dict[str, object]) -> Quality:
    """Return a cable with the options that were given; the others stay. Raises LinkError."""
    base = Quality() if wanted["clear"] else before
    given: dict[str, object] = {}
    for option, parse in (("delay", parse_delay), ("loss", parse_loss), ("rate", parse_rate)):
        if wanted[option] is not None:
            given[option] = parse(str(wanted[option]))
    if wanted["mtu"] is not None:
        given["mtu"] = check_mtu(int(str(wanted["mtu"])), with_ipv6=6 in spec.families)
    if wanted["down"] is not None:
        given["down"] = wanted["down"]
    return dataclasses.replace(base, **given)  # type: ignore[arg-type]  # parsed just now
