"""Changes of policies that go past libnftables end in the tables that libnftables makes."""

import re
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest
from msgspec.structs import replace

from proxy.linux.libnftables import Libnftables
from proxy.model.errors import KernelRefusedError
from proxy.model.values import Family
from proxy.policy import kernel
from proxy.policy.index import PolicyIndex
from proxy.policy.kernel import RuleChange, RuleWriter
from proxy.policy.render import TABLE
from proxy.policy.ruleset import PolicyRuleset
from tests.support.cni.worker import Worker
from tests.support.proxy.cluster_table import CLUSTER_TABLE
from tests.support.proxy.policy_index import cluster, index
from tests.support.proxy.policy_table import TABLE as NAMESPACED
from tests.support.space import Space

ROWS = [policies for table in (NAMESPACED, CLUSTER_TABLE) for policies, *_ in table.values()]


class Written:
    """The ways of some changes: each as text, and, where it can be, as elements."""

    def __init__(self, *, by_text: bool) -> None:
        self.texts = self.elements = 0
        self._by_text = by_text

    def commit(self, writer: RuleWriter, change: RuleChange) -> None:
        """Commit a change, and note how."""
        if self._by_text:
            lines = (part.text(family, TABLE) for family, part in change.parts)
            Libnftables().commit(change.text + "".join(lines))
            self.texts += 1
            return
        texts: list[str] = []
        writer._nft.commit = lambda text: (texts.append(text), Libnftables().commit(text))
        writer.commit(change)
        self.texts, self.elements = self.texts + len(texts), self.elements + (not texts)


def play(row: int, by_text: bool) -> tuple[int, int]:
    """In the namespace: write a row's table, then have its Pods come, go and change their labels.

    Returns how many changes went as text, and how many as elements.
    """
    made, written = index(cluster(ROWS[row])), Written(by_text=by_text)
    rulesets = [PolicyRuleset(family, made) for family in Family]
    clear = kernel.clearing if by_text else kernel.deletion  # of what is there, if anything
    with closing(RuleWriter()) as writer:
        everything = made.everything()
        text = "".join(clear(one.family) + one.restart(everything, (), ()) for one in rulesets)
        writer.commit(RuleChange(text))
        for _ in steps(made):
            changes = made.take()
            parts = [(one.family, one.advance(changes, (), ())) for one in rulesets]
            written.commit(writer, RuleChange("", parts))
    return written.texts, written.elements


def steps(made: PolicyIndex) -> Iterator[None]:
    """Yield after each change: what comes last stays."""
    pods = sorted(made.pods.values(), key=lambda pod: pod.key)
    for pod, other in zip(pods, [*pods[1:], pods[0]], strict=True):
        made.set_pod(pod.key, None)
        yield
        made.set_pod(pod.key, pod)
        yield
        made.set_pod(pod.key, replace(pod, labels=other.labels))
        yield


def remove() -> None:
    """In the namespace."""
    kernel.remove()


def refused() -> str:
    """In the namespace: what is said of an element that is not there; a right change follows."""
    made = index(cluster(ROWS[0]))
    ruleset = PolicyRuleset(Family.V4, made)
    with closing(RuleWriter()) as writer:
        writer.commit(
            RuleChange("add table ip podwire-policy\n" + ruleset.restart(made.everything(), (), ()))
        )
        some = next(pod for pod in made.pods.values() if pod.is_local)
        made.set_pod(some.key, None)
        parts = [(Family.V4, ruleset.advance(made.take(), (), ()))]
        writer.commit(RuleChange("", parts))
        try:
            writer.commit(RuleChange("", parts))
        except KernelRefusedError as err:
            why = str(err)
        made.set_pod(some.key, some)
        writer.commit(RuleChange("", [(Family.V4, ruleset.advance(made.take(), (), ()))]))
    return why


@pytest.fixture
def node(spaces: Callable[[str], Space]) -> Iterator[tuple[Space, Worker]]:
    space = spaces("elements")
    worker = Worker(space)
    yield space, worker
    worker.stop()


def listed(space: Space) -> list[str]:
    """Return the parts of the tables' listing; elements have no order."""
    text = "".join(space.run("nft", "list", "table", one, TABLE) for one in ("ip", "ip6"))
    return sorted(part.strip() for part in re.split(r"[,{}\n]", text))


def test_both_ways_end_in_the_same_tables(node: tuple[Space, Worker]) -> None:
    space, worker = node
    past = 0
    for row in range(0, len(ROWS), 5):
        texts, elements = worker.call(play, row, False)
        found = listed(space)
        assert worker.call(play, row, True) == (texts + elements, 0)
        assert listed(space) == found, ROWS[row]
        past += elements
        worker.call(remove)
    assert past > 200


def test_what_the_kernel_refuses_is_told_and_the_next_change_works(
    node: tuple[Space, Worker],
) -> None:
    _, worker = node
    assert "nft: elements are refused: No such file" in worker.call(refused)
