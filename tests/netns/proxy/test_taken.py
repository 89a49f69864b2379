"""Addresses that new containers get: what the plugin writes, and what the proxy makes of it."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from ipaddress import ip_address

import pytest
from msgspec.structs import replace

from cni_plugin.linux.tenancy import take_over
from proxy.model.values import Family
from proxy.policy import kernel
from proxy.policy.index import PolicyIndex
from proxy.policy.kernel import RuleChange, RuleWriter
from proxy.policy.peers.taken import TakenAddresses
from proxy.policy.render import TABLE
from proxy.policy.ruleset import PolicyRuleset
from tests.support.cni.worker import Worker
from tests.support.proxy.policy_index import cluster, index
from tests.support.proxy.policy_table import TABLE as ROWS
from tests.support.space import Space

FAMILIES = tuple(Family)


class Process:
    """A proxy's policies, with the table's Pods in its API."""

    def __init__(self) -> None:
        self.index: PolicyIndex = index(cluster(next(iter(ROWS.values()))[0]))
        self.taken = TakenAddresses(self.index)
        self._rulesets = [PolicyRuleset(family, self.index) for family in FAMILIES]

    def start(self, give: Callable[[], object] = bool, *, kept: bool = True) -> None:
        """Write the tables anew; ``give`` is done when that is prepared, and not yet committed."""
        clear = kernel.clearing if kept else kernel.deletion
        self.taken.begin_anew(FAMILIES)
        everything = self.index.everything()
        text = "".join(
            clear(one.family) + one.restart(everything, (), ()) for one in self._rulesets
        )
        text += self.taken.closing(FAMILIES, kept=kept)
        give()
        self._commit(RuleChange(text))

    def sync(self) -> None:
        """Follow the API and the plugin."""
        self.taken.look(FAMILIES)
        changes = self.index.take()
        parts = [(one.family, one.advance(changes, (), ())) for one in self._rulesets]
        self._commit(RuleChange("", [*parts, *self.taken.opening(FAMILIES)]))
        self.taken.opened()

    def _commit(self, change: RuleChange) -> None:
        with closing(RuleWriter()) as writer:
            writer.commit(change)


_process: list[Process] = []


def start(kept: bool = True) -> None:
    """In the namespace: a new process, whose API still has the table's Pods as they were."""
    _process[:] = [Process()]
    _process[0].start(kept=kept)


def start_while_given(uid: str) -> tuple[str, ...]:
    """In the namespace: as ``start``, and meanwhile ``give``."""
    _process[:] = [Process()]
    given: list[str] = []
    _process[0].start(lambda: given.extend(give(uid)))
    return tuple(given)


def sync() -> None:
    """In the namespace."""
    _process[0].sync()


def give(uid: str) -> tuple[str, ...]:
    """In the namespace: the plugin gives the first Pod's addresses to a container; return them."""
    addresses = _first().addresses
    take_over(addresses, uid)
    return tuple(map(str, addresses))


def late_status() -> None:
    """In the namespace: the API tells of the Pod that had the addresses."""
    one = _first()
    _process[0].index.set_pod(one.key, replace(one, labels={"late": "yes"}))


def status(uid: str) -> None:
    """In the namespace: the API tells of the container's Pod."""
    one = replace(_first(), key=("ns", uid), uid=uid, sandbox=uid)
    _process[0].index.set_pod(one.key, one)


def guarded(address: str) -> str:
    """In the namespace: the name of the Pod whose policies hold for an address."""
    post = _process[0].index.posts.get(ip_address(address))
    return post.pod[1] if post else ""


def _first():
    pods = cluster([]).pods
    return min((one for one in pods if one.is_local), key=lambda one: one.key)


@pytest.fixture
def node(spaces: Callable[[str], Space]) -> Iterator[tuple[Space, Worker]]:
    space = spaces("taken")
    worker = Worker(space)
    worker.call(start)
    yield space, worker
    worker.stop()


def closed(space: Space) -> dict[str, str]:
    """Return the addresses in the set, with the comment of each."""
    found = {}
    for family in ("ip", "ip6"):
        text = space.run("nft", "list", "set", family, TABLE, "taken")
        elements = re.search(r"elements = \{(.*?)\}", text, re.S)
        for one in elements[1].split(",") if elements else ():
            address, _, comment = one.strip().partition(" comment ")
            found[address] = comment.strip('"')
    return found


def test_a_new_process_keeps_closed_what_the_api_gives_to_an_ended_pod(
    node: tuple[Space, Worker],
) -> None:
    space, worker = node
    taken = worker.call(give, "new")
    for kept in (True, True, False, False):  # each has to find what the one before has left
        worker.call(start, kept)
        assert closed(space) == dict.fromkeys(taken, "new")
        assert [worker.call(guarded, one) for one in taken] == ["", ""]
    worker.call(late_status)
    worker.call(sync)
    assert closed(space) == dict.fromkeys(taken, "new")
    worker.call(status, "new")
    worker.call(sync)
    assert closed(space) == {}
    assert [worker.call(guarded, one) for one in taken] == ["new", "new"]


def test_what_is_taken_while_the_table_is_written_anew_stays_closed(
    node: tuple[Space, Worker],
) -> None:
    space, worker = node
    taken = worker.call(start_while_given, "new")
    assert {one.version for one in map(ip_address, taken)} == set(FAMILIES)
    assert closed(space) == dict.fromkeys(taken, "new")
    worker.call(late_status)
    worker.call(sync)
    assert closed(space) == dict.fromkeys(taken, "new")
    assert [worker.call(guarded, one) for one in taken] == ["", ""]
    worker.call(status, "new")
    worker.call(sync)
    assert closed(space) == {}
    assert [worker.call(guarded, one) for one in taken] == ["new", "new"]


def test_the_last_of_two_new_containers_has_the_address(node: tuple[Space, Worker]) -> None:
    space, worker = node
    worker.call(give, "first")
    taken = worker.call(give, "second")
    worker.call(status, "first")
    worker.call(sync)
    assert closed(space) == dict.fromkeys(taken, "second")
    worker.call(status, "second")
    worker.call(sync)
    assert closed(space) == {}
    assert [worker.call(guarded, one) for one in taken] == ["second", "second"]


def test_a_runtime_that_tells_no_uid_closes_until_the_next_change(
    node: tuple[Space, Worker],
) -> None:
    space, worker = node
    taken = worker.call(give, "")
    worker.call(sync)
    assert closed(space) == dict.fromkeys(taken, "")
    worker.call(status, "other")
    worker.call(sync)
    assert closed(space) == {}
