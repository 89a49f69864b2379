"""Tokens: fills Secrets of the type ``kubernetes.io/service-account-token``, and deletes them.

A Secret asks for a token by the annotation ``kubernetes.io/service-account.name``. The token has no
end; it counts as long as the Secret and the account exist. Source:
https://kubernetes.io/docs/concepts/security/service-accounts/#authenticating-credentials and
k8s.io/kubernetes/pkg/controller/serviceaccount (tokens_controller.go)
"""

import base64
from collections.abc import Iterator

from control.api import kinds
from control.api.cluster import Secret, ServiceAccount
from control.api.meta import Object, OwnerReference
from control.client.cache import Key
from control.controllers.actions import Action, Collect, Update
from control.controllers.loop import Source, itself
from control.controllers.state import ClusterState
from control.tokens import SECRET_NAME, SECRET_TYPE, SECRET_UID, TokenSigner, secret_claims


def _of_account(cluster: ClusterState, account: Object) -> Iterator[Key]:
    for secret in cluster[kinds.SECRET].within(account.metadata.namespace):
        if _account_of(secret) == account.metadata.name:
            yield secret.key


def _account_of(secret: Secret) -> str:
    """Return the name of a token Secret's account; empty for other Secrets."""
    return secret.metadata.annotations.get(SECRET_NAME, "") if secret.type == SECRET_TYPE else ""


class TokenSecretController:
    """Fills and ends token Secrets."""

    component = "tokens-controller"
    sources = (Source(kinds.SECRET, itself), Source(kinds.SERVICE_ACCOUNT, _of_account))

    def __init__(self, signer: TokenSigner, authority: str) -> None:
        self._signer = signer
        self._authority = authority

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Fill the Secret ``key``, or delete it if its account is gone or another one."""
        del now
        secret = cluster[kinds.SECRET].get(*key)
        if secret is None or not (name := _account_of(secret)):
            return
        account = cluster[kinds.SERVICE_ACCOUNT].get(secret.metadata.namespace, name)
        if account is None or _uid_of(secret) not in ("", account.metadata.uid):
            owner = OwnerReference(
                api_version="v1", kind="ServiceAccount", name=name, uid=_uid_of(secret)
            )
            absent = (kinds.SERVICE_ACCOUNT, secret.metadata.namespace, owner)
            yield Collect(kinds.SECRET, secret, (absent,), "Background")
        elif (filled := self._filled(secret, account)) != secret:
            yield Update(kinds.SECRET, filled)

    def _filled(self, secret: Secret, account: ServiceAccount) -> Secret:
        meta = secret.metadata
        namespace = meta.namespace or ""
        have = secret.data
        wanted = {"ca.crt": self._authority, "namespace": namespace}
        data = have | {key: _encoded(text) for key, text in wanted.items() if text}
        if not have.get("token"):
            claims = secret_claims(
                namespace, meta.name, account.metadata.name, account.metadata.uid
            )
            data["token"] = _encoded(self._signer.sign(claims))
        annotations = meta.annotations | {SECRET_UID: account.metadata.uid}
        noted = meta.model_copy(update={"annotations": annotations})
        if data == have and annotations == meta.annotations:
            return secret
        return secret.model_copy(update={"data": data, "metadata": noted})


def _uid_of(secret: Secret) -> str:
    return secret.metadata.annotations.get(SECRET_UID, "")


def _encoded(text: str) -> str:
    return base64.b64encode(text.encode()).decode()
