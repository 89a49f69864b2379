"""TokenCleaner: deletes the Secrets of tokens that have ended.

Source: k8s.io/kubernetes/pkg/controller/bootstrap (tokencleaner.go)
"""

from collections.abc import Iterable, Iterator

from control.api import kinds
from control.api.cluster import Secret
from control.client.cache import Key
from control.controllers.actions import Action, Again, Delete
from control.controllers.bootstrap.signing import is_token, token_of
from control.controllers.loop import Source
from control.controllers.state import ClusterState


def _tokens(_: ClusterState, item: Secret) -> Iterable[Key]:
    return (item.key,) if is_token(item) else ()


class TokenCleaner:
    """Deletes a token's Secret at the token's end."""

    component = "token-cleaner"
    sources = (Source(kinds.SECRET, _tokens),)

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Delete the Secret ``key``, or look again when its token has ended."""
        secret = cluster[kinds.SECRET].get(*key)
        held = token_of(secret) if secret is not None else None
        if secret is None or held is None or held.expires is None:
            return
        left = held.expires.timestamp() - now
        if left <= 0:
            yield Delete(kinds.SECRET, secret)
        else:
            yield Again(left + 1)
