"""Terms of affinity between Pods: which Pods a term means, and in which places. Pure.

https://kubernetes.io/docs/concepts/scheduling-eviction/assign-pod-node/#inter-pod-affinity-and-anti-affinity
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.api.meta import LabelSelector
from control.api.placement import PodAffinity, PodAffinityTerm
from control.api.pod import Pod
from control.api.selectors import Labels, from_model

Namespaces = Mapping[str, Mapping[str, str]]  # the labels of each, by name
Weighted = tuple[int, "Term"]

# The score of a placed Pod's required affinity, as upstream's hardPodAffinityWeight.
_REQUIRED = 1


@dataclass(frozen=True, slots=True)
class Term:
    """A set of Pods, and the node label whose values are the places in which they count."""

    key: str
    pods: Labels | None  # None means no Pod
    namespaces: frozenset[str]
    namespaces_like: Labels | None = None

    def means(self, pod: Pod, namespaces: Namespaces) -> bool:
        """Return True if the Pod is one of the set."""
        if self.pods is None or not self.pods.matches(pod.metadata.labels):
            return False
        namespace = pod.metadata.namespace or ""
        if namespace in self.namespaces:
            return True
        like = self.namespaces_like
        return like is not None and like.matches(namespaces.get(namespace, {}))


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of one Pod.

    ``wishes`` are its preferred terms with their weights, below zero for anti-affinity; ``pull`` is
    what it scores for Pods that are placed later.
    """

    near: tuple[Term, ...] = ()
    apart: tuple[Term, ...] = ()
    wishes: tuple[Weighted, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.near or self.apart or self.wishes)

    @property
    def pull(self) -> Iterable[Weighted]:
        """The wishes, and the required affinity with upstream's weight for it."""
        return (*((_REQUIRED, term) for term in self.near), *self.wishes)


def terms(pod: Pod) -> Terms:
    """Return the terms of a Pod."""
    affinity = pod.spec.affinity
    if affinity is None:
        return Terms()
    near, apart = affinity.pod_affinity, affinity.pod_anti_affinity
    return Terms(
        near=_required(pod, near),
        apart=_required(pod, apart),
        wishes=(*_preferred(pod, near, 1), *_preferred(pod, apart, -1)),
    )


def _required(pod: Pod, affinity: PodAffinity | None) -> tuple[Term, ...]:
    return tuple(_term(pod, item) for item in affinity.required) if affinity else ()


def _preferred(pod: Pod, affinity: PodAffinity | None, sign: int) -> tuple[Weighted, ...]:
    wanted = affinity.preferred if affinity else []
    return tuple((sign * item.weight, _term(pod, item.pod_affinity_term)) for item in wanted)


def _term(pod: Pod, item: PodAffinityTerm) -> Term:
    own = not item.namespaces and item.namespace_selector is None
    return Term(
        key=item.topology_key,
        pods=_labels(item.label_selector),
        namespaces=frozenset([pod.metadata.namespace or ""] if own else item.namespaces),
        namespaces_like=_labels(item.namespace_selector),
    )


def _labels(selector: LabelSelector | None) -> Labels | None:
    return None if selector is None else from_model(selector)
