"""Breaks and heals: records, changes, and undoes, one command at a time."""

import time
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from control.client.errors import ClientError
from control.reported import ReportedError
from debug.cluster import read_cluster
from debug.faults import journal, keep
from debug.faults.acts.base import FaultError, Stage
from debug.faults.fault import Fault
from debug.faults.journal import AnyAct, Broken
from debug.faults.scene import BRIDGE, Scene, Wish
from debug.kernel.read import read_space
from debug.places import SWITCH, Ground, PlaceError, inside, of_lab
from lab.spec import LabSpec
from lab.state import LabDir
from lab.status import look

_WORKS = (OSError, ReportedError)


@dataclass(frozen=True, slots=True)
class Healed:
    """What was healed, and what could not be, with the causes."""

    faults: tuple[str, ...]
    problems: tuple[str, ...] = ()


def stage_of(lab: LabDir) -> Stage:
    """The running lab; raises PlaceError."""
    return Stage(of_lab(lab.name), lab.path, lambda node, part: _pid(lab, node, part))


def _pid(lab: LabDir, node: str, component: str) -> int | None:
    parts = (part for one in look(lab).machines if one.name == node for part in one.components)
    return next((part.pid for part in parts if part.name == component), None)


def read_scene(spec: LabSpec, ground: Ground, wish: Wish, hold: bool) -> Scene:
    """Read what faults are planned from; raises FaultError."""
    if ground.kubeconfig is None:
        raise FaultError("the lab has no kubeconfig")
    try:
        cluster = read_cluster(ground.kubeconfig)
    except ClientError as err:
        raise FaultError(f"the API: {err}") from err
    names = [node.name for node in spec.nodes]
    places = [place for place in ground.nodes() if place.node in names and place.node != SWITCH]
    if not places:
        raise FaultError("no node of the lab runs: podwire lab start")
    ports = {place.node: inside(place, _ports) for place in places}
    nodes = tuple(place.node for place in places)
    return Scene(cluster, nodes, spec.proxy, spec.overlay, wish, hold, ports)


def _ports() -> tuple[str, ...]:
    state = read_space()
    bridge = state.named(BRIDGE)
    return tuple(link.name for link in state.links if bridge and link.master == bridge.index)


def break_(
    lab: LabDir, spec: LabSpec, fault: Fault, wish: Wish, seconds: float, hold: bool = True
) -> Broken:
    """Make a fault, and have it healed in time; one that is there already is made whole.

    Raises FaultError, PlaceError, OSError.
    """
    if fault.plan is None:
        raise FaultError(f"{fault.name} cannot be made in a lab: {fault.why_not}")
    with lab.changing():
        stage = stage_of(lab)
        scene = read_scene(spec, stage.ground, wish, hold)
        there = journal.load(lab.path)
        until = time.time() + seconds
        again = next((b for b in there if (b.fault, b.node) == (fault.name, scene.node)), None)
        made = replace(again, until=until) if again else _planned(fault, scene, stage, until)
        others = tuple(one for one in there if one is not again)
        _refuse_overlap(made, others)
        return _carry_out(lab, stage, made, others)


def _planned(fault: Fault, scene: Scene, stage: Stage, until: float) -> Broken:
    assert fault.plan is not None  # noqa: S101  # break_ looked
    acts = tuple(act.prepared(stage) for act in fault.plan(scene))
    return Broken(fault.name, scene.node, until, acts)  # type: ignore[arg-type]  # all acts are known


def _refuse_overlap(made: Broken, others: Sequence[Broken]) -> None:
    """Two faults that change the same thing could not be healed in any order."""
    for other in others:
        if same := {a.key for a in made.acts} & {a.key for a in other.acts} - {""}:
            raise FaultError(
                f"{made.name} changes what {other.name} has changed ({', '.join(sorted(same))}); "
                f"heal that first: podwire heal {other.fault}"
            )


def _carry_out(lab: LabDir, stage: Stage, made: Broken, others: tuple[Broken, ...]) -> Broken:
    if made.timer is not None:
        keep.stop(made.timer)
    journal.store(lab.path, (*others, made))
    made = replace(made, timer=_start_timer(lab, made))
    journal.store(lab.path, (*others, made))
    try:
        for act in made.acts:
            act.do(stage)
    except _WORKS:
        _undo(stage, made.acts)
        journal.store(lab.path, others)
        if made.timer is not None:
            keep.stop(made.timer)
        raise
    return made


def _start_timer(lab: LabDir, made: Broken) -> journal.Timer:
    keeper = lab.keeper()
    if keeper is None:
        raise FaultError(f"lab {lab.name} is not up")

    def heal_it() -> None:
        done = heal(lab, made.fault, made.node, by=time.time())
        print(*done.faults, *done.problems, sep="\n")

    return keep.start(lab, keeper.pid, made.name, made.until, heal_it)


def heal(lab: LabDir, fault: str = "", node: str = "", by: float | None = None) -> Healed:
    """Undo faults: all, or those of a name and a node; with ``by``, those that end until then.

    What cannot be undone stays recorded. Raises FaultError, PlaceError, OSError.
    """
    with lab.changing():
        there = journal.load(lab.path)
        stage = stage_of(lab)
        healed, problems, left = [], [], list(there)
        for one in there:
            due = by is None or one.until <= by
            if fault in ("", one.fault) and node in ("", one.node) and due:
                if found := _undo(stage, one.acts):
                    problems += [f"{one.name}: {text}" for text in found]
                    continue
                left.remove(one)
                healed.append(one)
                journal.store(lab.path, tuple(left))
        for one in healed:
            if one.timer is not None:
                keep.stop(one.timer)
        return Healed(tuple(one.name for one in healed), tuple(problems))


def _undo(stage: Stage, acts: Sequence[AnyAct]) -> list[str]:
    """Undo acts, the last one first; return what went wrong. The rest is undone all the same."""
    problems = []
    for act in reversed(acts):
        try:
            act.undo(stage)
        except PlaceError:
            continue  # what the act changed has gone with its namespace
        except _WORKS as err:
            problems.append(str(err))
    return problems
