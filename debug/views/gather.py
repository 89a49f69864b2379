"""Reads all nodes and the API's objects, once or until they agree."""

import time
from concurrent.futures import ThreadPoolExecutor

from debug.machine.read import proxy_mode
from debug.options import objects
from debug.places import SWITCH, Ground, Place, inside_if_there
from debug.views.join import NodeState, join
from debug.views.layers import UnreadError, read
from debug.views.report import ServicesReport
from lab.spec import CONTROL_NAMES

_SETTLING = 0.5  # seconds: a change of an object is on its way to the kernel for some of them
_TRIES = 3
_APART = (*CONTROL_NAMES, SWITCH)  # machines of a lab that have no proxy


def gather(ground: Ground, node: str = "") -> ServicesReport:
    """Return what all nodes have, or one; what differs still does after a moment."""
    found = _once(ground, node)
    for _ in range(_TRIES - 1):
        if not any(one.is_wrong for one in found.frontends):
            break
        time.sleep(_SETTLING)
        found = _once(ground, node)
    return found


def _once(ground: Ground, node: str) -> ServicesReport:
    places = (ground.node(node),) if node else ground.nodes()
    unread: list[str] = []
    cluster = objects(ground, unread)
    unread = [f"{line}; nodes are compared with each other alone" for line in unread]
    with ThreadPoolExecutor(max(len(places), 1)) as pool:
        answers = list(pool.map(_state, places))
    states = []
    for place, answer in zip(places, answers, strict=True):
        if isinstance(answer, str):
            unread.append(f"{place.name}: {answer}")
        elif answer.layers or node or place.node not in _APART:
            states.append(answer)
    return join(states, cluster, unread)


def _state(place: Place) -> NodeState | str:
    try:
        layers = read(place)
    except UnreadError as err:
        return str(err)
    return NodeState(place.node, layers, inside_if_there(place, proxy_mode, ""))
