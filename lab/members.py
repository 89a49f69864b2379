"""Which nodes a lab may have: their names, numbers, labels and taints. Pure."""

import dataclasses
import re
from collections.abc import Sequence

from control.api.validation.node_labels import may_set
from control.api.validation.text import label_value, qualified_name
from lab.spec import (
    CONTROL_NAMES,
    MAX_HOLLOW,
    MAX_NODES,
    ZONE,
    LabSpec,
    LabSpecError,
    NodeSpec,
    require_room,
)

# A node's name is that of its cable, too: 15 characters (IFNAMSIZ). A "-" ends it in names of logs.
_NODE = re.compile(r"[a-z][a-z0-9]{0,14}")
_TAKEN = (*CONTROL_NAMES, "switch", "lab", "lo")  # the lab's own machines, links and logs
_EFFECTS = ("NoSchedule", "PreferNoSchedule", "NoExecute")


def new_nodes(
    spec: LabSpec,
    names: Sequence[str],
    labels: Sequence[str] = (),
    taints: Sequence[str] = (),
    zone: str = "",
) -> tuple[NodeSpec, ...]:
    """Return the nodes to add; without names, one with the next free number.

    Raises LabSpecError.
    """
    pairs = [_label("--label", text) for text in labels]
    if zone:
        pairs.append(_label("--zone", f"{ZONE}={zone}"))
    marks = tuple(check_taint("--taint", text) for text in taints)
    found: list[NodeSpec] = []
    for given in names or [""]:
        nodes = (*spec.nodes, *found)
        number = free_number(nodes)
        name = check_node_name("NODE", given or f"node{number}", nodes)
        found.append(NodeSpec(name, number, tuple(pairs), marks))
    check_count(len(spec.nodes) + len(found), spec.pod_cidrs, spec.hollow)
    return tuple(found)


def more_hollow(spec: LabSpec, count: int) -> LabSpec:
    """Return a lab with so many more hollow nodes; raises LabSpecError."""
    hollow = spec.hollow + count
    if hollow > MAX_HOLLOW:
        raise LabSpecError(
            f"--hollow {count}: lab {spec.name} has {spec.hollow}, and may have {MAX_HOLLOW}"
        )
    require_room(len(spec.nodes) + hollow, spec.pod_cidrs)
    return dataclasses.replace(spec, hollow=hollow)


def zoned(spec: LabSpec, zones: Sequence[str]) -> LabSpec:
    """Return a lab whose nodes are in zones, NODE=ZONE each; raises LabSpecError."""
    found = {node.name: node for node in spec.nodes}
    for text in zones:
        name, equals, zone = text.partition("=")
        if not equals:
            raise LabSpecError(f"--zone {text!r}: want NODE=ZONE")
        label = check_label(f"--zone {text}:", ZONE, zone)
        found[name] = dataclasses.replace(spec.node(name), labels=(label,))
    return dataclasses.replace(spec, nodes=tuple(found.values()))


def check_count(count: int, pod_cidrs: tuple[str, ...], hollow: int = 0) -> None:
    """Refuse a number of nodes that a lab cannot have; raises LabSpecError."""
    if not 1 <= count <= MAX_NODES:
        raise LabSpecError(f"{count} nodes: a lab has 1 to {MAX_NODES} nodes")
    require_room(count + hollow, pod_cidrs)


def free_number(nodes: Sequence[NodeSpec]) -> int:
    """Return the lowest number of no node whose name, nodeN, is free as well."""
    taken = {node.number for node in nodes}
    names = {node.name for node in nodes}
    free = set(range(1, 2 * len(nodes) + 2)) - taken
    return min(number for number in free if f"node{number}" not in names)


def check_node_name(where: str, name: str, others: Sequence[NodeSpec]) -> str:
    """Return the name of a node that another node does not have; raises LabSpecError."""
    if not _NODE.fullmatch(name) or name in _TAKEN:
        raise LabSpecError(
            f"{where} {name!r}: use 1 to 15 lower-case letters and digits, a letter first; "
            f"{', '.join(_TAKEN)} are taken"
        )
    if name in {node.name for node in others}:
        raise LabSpecError(f"{where} {name!r}: the lab has a node of this name already")
    return name


def _label(where: str, text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise LabSpecError(f"{where} {text!r}: want KEY=VALUE")
    return check_label(where, key, value)


def check_label(where: str, key: str, value: str) -> tuple[str, str]:
    """Return a label that a node may give itself; raises LabSpecError."""
    if problems := [*qualified_name(key), *label_value(value)]:
        raise LabSpecError(f"{where} {key}={value}: {'; '.join(problems)}")
    if not may_set(key):
        raise LabSpecError(
            f"{where} {key}={value}: a node may not give itself this label of Kubernetes; "
            f"give it later: kubectl label node NAME {key}={value}"
        )
    return key, value


def check_taint(where: str, text: str) -> str:
    """Return a taint KEY[=VALUE]:EFFECT; raises LabSpecError."""
    mark, _, effect = text.rpartition(":")
    key, _, value = mark.partition("=")
    problems = [*qualified_name(key), *label_value(value)]
    if effect not in _EFFECTS:
        problems.append(f"want KEY[=VALUE]:EFFECT, with EFFECT one of {', '.join(_EFFECTS)}")
    if problems:
        raise LabSpecError(f"{where} {text!r}: {'; '.join(problems)}")
    return text
