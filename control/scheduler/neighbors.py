"""Affinity between Pods: what the placed Pods mean for one that waits. Pure.

Rules and texts are upstream's (pkg/scheduler/framework/plugins/interpodaffinity). As there, a Pod
that requires neighbors which nobody is yet may be the first of them, if it is one itself.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from control.scheduler.model import NodeInfo, PodInfo, Refusal
from control.scheduler.terms import Namespaces, Term

Place = tuple[str, str]  # the key and the value of a node's label

NOT_NEAR = Refusal(("node(s) didn't match pod affinity rules",), final=True)
NOT_APART = Refusal(("node(s) didn't match pod anti-affinity rules",))
UNWELCOME = Refusal(("node(s) didn't satisfy existing pods anti-affinity rules",))


@dataclass(slots=True)
class Neighbors:
    """For one Pod that waits, the number of placed Pods that each rule is about, by place."""

    info: PodInfo
    namespaces: Namespaces
    near: Counter[Place] = field(default_factory=Counter)
    apart: Counter[Place] = field(default_factory=Counter)
    unwelcome: Counter[Place] = field(default_factory=Counter)

    def count(self, other: PodInfo, node: NodeInfo, by: int = 1) -> None:
        """Add a placed Pod, or take it away."""
        mine, theirs = self.info.terms, other.terms
        if mine.near and all(self._means(term, other) for term in mine.near):
            self._add(self.near, mine.near, node, by)
        self._add(self.apart, (t for t in mine.apart if self._means(t, other)), node, by)
        self._add(self.unwelcome, (t for t in theirs.apart if self._means(t, self.info)), node, by)

    def refusal(self, node: NodeInfo) -> Refusal | None:
        """Return why the Pod cannot be on a node with these neighbors."""
        labels = node.node.metadata.labels
        if not self._is_near(labels):
            return NOT_NEAR
        places = ((term.key, labels.get(term.key, "")) for term in self.info.terms.apart)
        if any(self.apart[place] > 0 for place in places):
            return NOT_APART
        if self.unwelcome and any(self.unwelcome[place] > 0 for place in labels.items()):
            return UNWELCOME
        return None

    def _is_near(self, labels: Mapping[str, str]) -> bool:
        wanted = self.info.terms.near
        if not all(term.key in labels for term in wanted):
            return False
        if all(self.near[term.key, labels[term.key]] > 0 for term in wanted):
            return True
        return self.near.total() == 0 and all(self._means(term, self.info) for term in wanted)

    def _means(self, term: Term, info: PodInfo) -> bool:
        return term.means(info.pod, self.namespaces)

    @staticmethod
    def _add(counts: Counter[Place], found: Iterable[Term], node: NodeInfo, by: int) -> None:
        labels = node.node.metadata.labels
        for term in found:
            if term.key in labels:
                counts[term.key, labels[term.key]] += by


def measure(info: PodInfo, nodes: Iterable[NodeInfo], namespaces: Namespaces) -> Neighbors:
    """Count the Pods that the rules of a Pod, and of the placed ones, are about."""
    found = Neighbors(info, namespaces)
    asks = bool(info.terms.near or info.terms.apart)
    for node in nodes:
        for other in (node.pods if asks else node.particular).values():
            found.count(other, node)
    return found


def attraction(
    info: PodInfo, nodes: Iterable[NodeInfo], namespaces: Namespaces
) -> Mapping[Place, int]:
    """Return the weight of each place: what the Pod wishes, and what placed Pods wish of it."""
    found: Counter[Place] = Counter()
    asks = bool(info.terms.wishes)
    for node in nodes:
        labels = node.node.metadata.labels
        for other in (node.pods if asks else node.particular).values():
            for weight, term in info.terms.wishes:
                if term.key in labels and term.means(other.pod, namespaces):
                    found[term.key, labels[term.key]] += weight
            for weight, term in other.terms.pull:
                if term.key in labels and term.means(info.pod, namespaces):
                    found[term.key, labels[term.key]] += weight
    return found
