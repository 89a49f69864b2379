"""ServiceAccount: creates the one named "default" in every namespace."""

from collections.abc import Iterator

from control.api import kinds
from control.api.cluster import ServiceAccount
from control.api.meta import ObjectMeta
from control.client.cache import Key
from control.controllers.actions import Action, Create
from control.controllers.loop import Source, itself, namespace_if_named
from control.controllers.state import ClusterState

_NAME = "default"


class ServiceAccountController:
    """Creates the default service accounts, also after their deletion."""

    component = "serviceaccount-controller"
    sources = (
        Source(kinds.NAMESPACE, itself),
        Source(kinds.SERVICE_ACCOUNT, namespace_if_named(_NAME)),
    )

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Create the service account of the namespace ``key``."""
        del now
        namespace = cluster[kinds.NAMESPACE].get(*key)
        if namespace is None or namespace.metadata.deletion_timestamp is not None:
            return
        if cluster[kinds.SERVICE_ACCOUNT].get(namespace.metadata.name, _NAME) is None:
            meta = ObjectMeta(name=_NAME, namespace=namespace.metadata.name)
            yield Create(kinds.SERVICE_ACCOUNT, ServiceAccount(metadata=meta))
