"""BootstrapSigner: signs the ConfigMap ``cluster-info`` with each token that may sign.

Source: k8s.io/kubernetes/pkg/controller/bootstrap (bootstrapsigner.go)
"""

from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from control.api import kinds
from control.api.cluster import ConfigMap, Secret
from control.client.cache import Key
from control.controllers.actions import Action, Again, Update
from control.controllers.loop import Source
from control.controllers.state import ClusterState
from control.jointokens import (
    INFO,
    INFO_KEY,
    INFO_NAMESPACE,
    SECRET_NAMESPACE,
    SECRET_TYPE,
    SIGNATURE_PREFIX,
    TokenSecret,
    read_secret,
)

_KEY = (INFO_NAMESPACE, INFO)


def is_token(secret: Secret) -> bool:
    """Return True for a Secret that is to hold a token."""
    return secret.type == SECRET_TYPE and secret.metadata.namespace == SECRET_NAMESPACE


def token_of(secret: Secret) -> TokenSecret | None:
    """Return the token of such a Secret; None if it holds none."""
    return read_secret(secret.metadata.name, secret.type or "", secret.data)


def _info(_: ClusterState, item: ConfigMap) -> Iterable[Key]:
    return (item.key,) if item.key == _KEY else ()


def _signed_by(_: ClusterState, item: Secret) -> Iterable[Key]:
    return (_KEY,) if is_token(item) else ()


class BootstrapSigner:
    """Keeps a signature for each token in ``cluster-info``, and no other one."""

    component = "bootstrap-signer"
    sources = (Source(kinds.CONFIG_MAP, _info), Source(kinds.SECRET, _signed_by))

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Write the signatures; look again when the first of the tokens ends."""
        info = cluster[kinds.CONFIG_MAP].get(*key)
        if info is None or (content := info.data.get(INFO_KEY)) is None:
            return
        tokens = list(_signers(cluster, now))
        kept = {k: text for k, text in info.data.items() if not k.startswith(SIGNATURE_PREFIX)}
        signed = {f"{SIGNATURE_PREFIX}{each.token.id}": each.token.sign(content) for each in tokens}
        if (data := kept | signed) != info.data:
            yield Update(kinds.CONFIG_MAP, info.model_copy(update={"data": data}))
        ends = [each.expires.timestamp() for each in tokens if each.expires is not None]
        if ends:
            yield Again(min(ends) - now + 1)


def _signers(cluster: ClusterState, now: float) -> Iterator[TokenSecret]:
    moment = datetime.fromtimestamp(now, UTC)
    for secret in cluster[kinds.SECRET].within(SECRET_NAMESPACE):
        held = token_of(secret)
        if held is not None and "signing" in held.usages and not held.has_ended(moment):
            yield held
