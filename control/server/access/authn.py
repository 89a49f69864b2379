"""Authenticate requests by client certificate (CN is the user, O the groups) or bearer token.

Source: https://kubernetes.io/docs/reference/access-authn-authz/authentication/
"""

import csv
import hmac
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from control.jointokens import INFO_PATH
from control.server.access.accounts import AccountTokens
from control.server.access.bootstrap_tokens import BootstrapTokens
from control.server.wire.request import User

_ALL = "system:authenticated"
# The user of requests without credentials.
ANONYMOUS = User("system:anonymous", ("system:unauthenticated",))


class TokenFileError(ValueError):
    """An unreadable token file; the message names the line."""


@dataclass(frozen=True, slots=True)
class Authenticator:
    """Find users by certificate and by token; ``trusting`` (tests) takes everyone as admin."""

    tokens: Mapping[str, User] = field(default_factory=dict)
    trusting: bool = False
    accounts: AccountTokens | None = None
    bootstrap: BootstrapTokens | None = None

    def user(self, certificate: Mapping[str, Any] | None, authorization: str) -> User | None:
        """Return the user of a request; None if it has no valid credentials.

        ``certificate`` is the verified result of ssl's getpeercert, or None.
        """
        if certificate:
            return user_of_certificate(certificate)
        scheme, _, token = authorization.partition(" ")
        if scheme.lower() == "bearer" and token:
            return self._by_token(token.strip())
        return User("test", ("system:masters", _ALL)) if self.trusting else None

    def _by_token(self, token: str) -> User | None:
        # Compare every token in constant time, so that the delay reveals nothing. Bytes of a header
        # that are no UTF-8 are surrogates here.
        given = token.encode("utf-8", "surrogatepass")
        matches = [
            user
            for known, user in self.tokens.items()
            if hmac.compare_digest(known.encode(), given)
        ]
        if matches:
            return matches[0]
        if self.bootstrap and (joining := self.bootstrap.user(token)):
            return joining
        found = self.accounts.user(token) if self.accounts else None
        return found[0] if found else None

    def invites(self, method: str, path: str, authorization: str) -> bool:
        """Return True for a request without credentials that a new node begins with.

        It reads ``cluster-info``, whose signature is what it trusts; the authorizer decides.
        """
        asked = (method, path) == ("GET", INFO_PATH)
        return self.bootstrap is not None and asked and not authorization


def user_of_certificate(certificate: Mapping[str, Any]) -> User | None:
    """Return the user in a certificate's subject (CN and O); None without a CN."""
    pairs = [pair for names in certificate.get("subject", ()) for pair in names]
    names = [value for key, value in pairs if key == "commonName"]
    groups = [value for key, value in pairs if key == "organizationName"]
    return User(names[0], (*groups, _ALL)) if names else None


def load_tokens(path: Path) -> dict[str, User]:
    """Read lines of ``token,user,uid[,"group1,group2"]``; raises TokenFileError."""
    try:
        rows = list(csv.reader(path.read_text().splitlines()))
    except (OSError, UnicodeDecodeError, csv.Error) as err:
        raise TokenFileError(f"token file {path}: {err}") from err
    tokens = {}
    for number, row in enumerate(rows, 1):
        if len(row) < 3 or not row[0]:
            raise TokenFileError(f"token file {path}, line {number}: expected token,user,uid")
        groups = row[3].split(",") if len(row) > 3 else []
        tokens[row[0]] = User(row[1], (*groups, _ALL), row[2])
    return tokens
