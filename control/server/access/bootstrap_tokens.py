"""Find the user of a bootstrap token: a node that is about to join.

Source: k8s.io/kubernetes/plugin/pkg/auth/authenticator/token/bootstrap
"""

import hmac

from control.api.kinds import SECRET
from control.jointokens import (
    GROUP,
    SECRET_NAMESPACE,
    USER_PREFIX,
    JoinToken,
    TokenError,
    read_secret,
    secret_name,
)
from control.server.state.server import ServerState
from control.server.wire.info import storage_key
from control.server.wire.request import User


class BootstrapTokens:
    """The tokens in Secrets of the type ``bootstrap.kubernetes.io/token`` of kube-system."""

    def __init__(self, state: ServerState) -> None:
        self._state = state

    def user(self, text: str) -> User | None:
        """Return the user of a token; None if it is none, has ended, or is not to log in with."""
        try:
            given = JoinToken.parse(text)
        except TokenError:
            return None
        name = secret_name(given.id)
        item = self._state.cache.of(SECRET).get(storage_key(SECRET, SECRET_NAMESPACE, name))
        if item is None or item.wire["metadata"].get("deletionTimestamp"):
            return None
        held = read_secret(name, item.wire.get("type", ""), item.wire.get("data") or {})
        if held is None or not hmac.compare_digest(held.token.secret, given.secret):
            return None
        if "authentication" not in held.usages or held.has_ended(self._state.now()):
            return None
        groups = sorted({GROUP, *held.groups})
        return User(f"{USER_PREFIX}{given.id}", (*groups, "system:authenticated"))
