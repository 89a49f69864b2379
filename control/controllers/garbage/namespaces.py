"""Deletes the contents of terminating namespaces, then the namespaces.

https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/. The entry
``kubernetes`` in spec.finalizers keeps a namespace until it is empty; the server refuses new
objects. ``contents`` is what is done to a namespace; this module says when.
"""

from collections.abc import Iterator

from control.api import kinds
from control.api.meta import Object
from control.client.cache import Key
from control.controllers.actions import Action, Empty
from control.controllers.garbage.collector import KINDS
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

FINALIZER = "kubernetes"


def _its_namespace(cluster: ClusterState, item: Object) -> Iterator[Key]:
    namespace = cluster[kinds.NAMESPACE].get(None, item.metadata.namespace or "")
    if namespace is not None and namespace.metadata.deletion_timestamp is not None:
        yield namespace.key


def _went(_: Object | None, new: Object | None) -> bool:
    return new is None


class NamespaceController:
    """Empties terminating namespaces, then finalizes them."""

    component = "namespace-controller"
    sources = (
        Source(kinds.NAMESPACE, itself),
        *(Source(kind, _its_namespace, _went) for kind in KINDS if kind.namespaced),
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Empty the namespace ``key``, if it is on its way out, and finalize it.

        It is tried again whenever an object of it goes, and after a while, until it is empty.
        """
        namespace = cluster[kinds.NAMESPACE].get(*key)
        if namespace is None or namespace.metadata.deletion_timestamp is None:
            return
        if FINALIZER in namespace.spec.finalizers:
            keep = (word for word in namespace.spec.finalizers if word != FINALIZER)
            yield Empty(namespace, tuple(keep), now)
