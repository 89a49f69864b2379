"""Histories of concurrent clients, while servers are killed and links are cut, are linearizable.

    PODWIRE_DISTURBANCES=60 PODWIRE_SEED=7 bin/test tests/netns/test_histories.py

is a longer run of another order.
"""

import os
import random
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.control.histories import linear, watched
from tests.support.control.histories.clients import load
from tests.support.control.histories.model import History, Outcome
from tests.support.control.histories.site import Site, site
from tests.support.space import Space
from tests.support.spaces import spaces

__all__ = ["spaces"]
DISTURBANCES = int(os.environ.get("PODWIRE_DISTURBANCES", "0"))
SEED = int(os.environ.get("PODWIRE_SEED", "1"))

pytestmark = [pytest.mark.netns, pytest.mark.timeout(300 + 10 * DISTURBANCES)]

Disturbance = Callable[[Site, random.Random], None]


def a_server_is_killed(here: Site, chance: random.Random) -> None:
    machine = chance.choice(here.machines)
    machine.kill()
    time.sleep(chance.uniform(0, 0.5))
    machine.start()


def all_servers_are_killed(here: Site, chance: random.Random) -> None:
    for machine in here.machines:
        machine.kill()
    for machine in here.machines:
        machine.start()


def the_leader_is_killed(here: Site, chance: random.Random) -> None:
    leader = here.leader().etcd
    assert leader
    leader.kill()
    time.sleep(chance.uniform(0, 2))
    leader.start()


def the_leader_is_cut_off(here: Site, chance: random.Random) -> None:
    """Its API server and clients still reach it; the others elect another."""
    leader = here.leader()
    leader.cut_peers()
    time.sleep(chance.uniform(1, 4))
    leader.mend_peers()


def a_machine_is_unplugged(here: Site, chance: random.Random) -> None:
    machine = chance.choice(here.machines)
    here.link(machine, "down")
    time.sleep(chance.uniform(0.5, 3))
    here.link(machine, "up")


def a_disk_is_full(here: Site, chance: random.Random) -> None:
    """SQLite refuses writes until there is room. A member of etcd ends, and is started again."""
    machine = chance.choice(here.machines)
    machine.fill()
    time.sleep(chance.uniform(1, 2))
    machine.make_room()
    if machine.etcd:
        machine.etcd.kill()
        machine.etcd.start()


def a_clock_jumps(here: Site, chance: random.Random) -> None:
    """It jumps by a day, back by some minutes, or to where it was."""
    chance.choice(here.machines).set_clock(chance.choice((86_400, -120, 0)))


OF_ONE: tuple[Disturbance, ...] = (
    *(a_server_is_killed,) * 3,
    a_disk_is_full,
    *(a_clock_jumps,) * 2,
)
OF_THREE: tuple[Disturbance, ...] = (
    a_server_is_killed,
    all_servers_are_killed,
    the_leader_is_killed,
    the_leader_is_cut_off,
    a_machine_is_unplugged,
    a_disk_is_full,
    a_clock_jumps,
)


@pytest.mark.parametrize(
    ("store", "count", "table"),
    [("sqlite", 1, OF_ONE), ("etcd", 3, OF_THREE)],
    ids=["sqlite", "etcd"],
)
def test_nothing_is_lost_and_all_see_one_order(
    store: str,
    count: int,
    table: tuple[Disturbance, ...],
    tmp_path: Path,
    spaces: Callable[[str], Space],
) -> None:
    chance = random.Random(SEED)
    plan = (
        chance.choices(table, k=DISTURBANCES) if DISTURBANCES else chance.sample(table, len(table))
    )
    file = tmp_path / "history.json"
    with site(tmp_path, spaces, store, count) as here, here.history(file):
        for disturb in plan:
            time.sleep(chance.uniform(0.5, 1.5))  # of calls that nothing disturbs
            disturb(here, chance)
        time.sleep(1)
    history = load(file)
    assert not (found := linear.faults(history) + watched.faults(history)), "\n".join(found[:5])
    assert said_much(history), "the clients were answered too seldom to say anything"


def said_much(history: History) -> bool:
    """Whether each kind of answer occurred."""
    found = {(call.verb, call.outcome) for call in history.calls}
    done = [call for call in history.calls if call.writes and call.done]
    unknown = any(call.outcome is Outcome.UNKNOWN for call in history.calls)
    return len(done) > 80 and len(history.lists) > 10 and len(found) > 8 and unknown
