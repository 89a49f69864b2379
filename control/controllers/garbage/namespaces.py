"""Deletes the contents of terminating namespaces, then the namespaces.

https://kubernetes.io/docs/concepts/overview/working-with-objects/namespaces/. The entry
``kubernetes`` in spec.finalizers keeps a namespace until it is empty; the server refuses new
objects.
"""

from collections.abc import Iterator

from control.api import kinds
from control.api.meta import Object
from control.client.cache import Key
from control.controllers.actions import Action, Finalize, Purge
from control.controllers.garbage.collector import KINDS
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState

FINALIZER = "kubernetes"
_NAMESPACED = tuple(kind for kind in kinds.KINDS if kind.namespaced)


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
        """Empty the namespace ``key``, or finalize it if our informers know no object in it.

        ``Finalize`` checks on the server that the namespace is empty.
        """
        del now
        namespace = cluster[kinds.NAMESPACE].get(*key)
        if namespace is None or namespace.metadata.deletion_timestamp is None:
            return
        if FINALIZER not in namespace.spec.finalizers:
            return
        name = namespace.metadata.name
        left = [k for k in KINDS if k.namespaced and cluster[k].within(name)]
        if left:
            for kind in left:
                if any(i.metadata.deletion_timestamp is None for i in cluster[kind].within(name)):
                    yield Purge(kind, name)
            return
        for kind in _NAMESPACED:
            yield Purge(kind, name)
        keep = [word for word in namespace.spec.finalizers if word != FINALIZER]
        spec = namespace.spec.model_copy(update={"finalizers": keep})
        yield Finalize(namespace.model_copy(update={"spec": spec}), _NAMESPACED)
