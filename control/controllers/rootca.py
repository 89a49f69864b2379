"""RootCACertPublisher: keeps the ConfigMap ``kube-root-ca.crt`` in every namespace.

Source: k8s.io/kubernetes/pkg/controller/certificates/rootcacertpublisher
"""

from collections.abc import Iterator

from control.api import kinds
from control.api.cluster import ConfigMap
from control.api.meta import ObjectMeta
from control.client.cache import Key
from control.controllers.actions import Action, Create, Update
from control.controllers.loop import Source, itself, namespace_if_named
from control.controllers.state import ClusterState

NAME = "kube-root-ca.crt"
_FILE = "ca.crt"
_DESCRIPTION = {
    "kubernetes.io/description": (
        "Contains a CA bundle that can be used to verify the kube-apiserver when using internal"
        " endpoints such as the internal service IP or kubernetes.default.svc. No other usage is"
        " guaranteed across distributions of Kubernetes clusters."
    )
}


class RootCAController:
    """Publishes the authority (PEM) of the API server's certificate, also after its deletion."""

    component = "root-ca-cert-publisher"
    sources = (Source(kinds.NAMESPACE, itself), Source(kinds.CONFIG_MAP, namespace_if_named(NAME)))

    def __init__(self, authority: str) -> None:
        self._data = {_FILE: authority}

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Create or correct the ConfigMap of the namespace ``key``."""
        del now
        namespace = cluster[kinds.NAMESPACE].get(*key)
        if namespace is None or namespace.metadata.deletion_timestamp is not None:
            return
        there = cluster[kinds.CONFIG_MAP].get(namespace.metadata.name, NAME)
        if there is None:
            meta = ObjectMeta(
                name=NAME, namespace=namespace.metadata.name, annotations=_DESCRIPTION
            )
            yield Create(kinds.CONFIG_MAP, ConfigMap(metadata=meta, data=self._data))
        elif there.data != self._data:
            yield Update(kinds.CONFIG_MAP, there.model_copy(update={"data": self._data}))
