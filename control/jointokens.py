"""Bootstrap tokens: what a new node shows, and by which it knows the cluster again. Pure.

A token is ``ID.SECRET``. The cluster keeps it in a Secret, whose ID signs the ConfigMap
``cluster-info``: whoever knows the token can tell that the cluster's address and authority in it
are genuine. Source: https://kubernetes.io/docs/reference/access-authn-authz/bootstrap-tokens/,
k8s.io/cluster-bootstrap, RFC 7515 (appendix F: detached content) and kubeadm.
"""

import base64
import hmac
import re
import secrets
import string
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Self

import orjson

SECRET_TYPE = "bootstrap.kubernetes.io/token"  # noqa: S105  # a type, not a secret
SECRET_NAMESPACE = "kube-system"  # noqa: S105
SECRET_PREFIX = "bootstrap-token-"  # noqa: S105
USER_PREFIX, GROUP = "system:bootstrap:", "system:bootstrappers"
# kubeadm's own group, so that its tokens and ours are the same.
NODE_GROUP = "system:bootstrappers:kubeadm:default-node-token"
INFO_NAMESPACE, INFO, INFO_KEY = "kube-public", "cluster-info", "kubeconfig"
INFO_PATH = f"/api/v1/namespaces/{INFO_NAMESPACE}/configmaps/{INFO}"
SIGNATURE_PREFIX = "jws-kubeconfig-"
USAGES = ("signing", "authentication")

_ID = re.compile(r"[a-z0-9]{6}")
_TOKEN = re.compile(r"([a-z0-9]{6})\.([a-z0-9]{16})")
_GROUPS = re.compile(r"system:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]")
_LETTERS = string.ascii_lowercase + string.digits


class TokenError(ValueError):
    """An unusable token, group or usage; the text says what is wanted."""


@dataclass(frozen=True, slots=True)
class JoinToken:
    """A token: its ID is public, its secret is not."""

    id: str
    secret: str

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read ``ID.SECRET``; raises TokenError, which does not repeat the text."""
        found = _TOKEN.fullmatch(text)
        if found is None:
            raise TokenError(
                "a token has 6 and 16 small letters and digits, as in abcdef.0123456789abcdef"
            )
        return cls(*found.groups())

    @classmethod
    def generate(cls) -> Self:
        """Make a random token."""
        drawn = [secrets.choice(_LETTERS) for _ in range(22)]
        return cls("".join(drawn[:6]), "".join(drawn[6:]))

    def __str__(self) -> str:
        return f"{self.id}.{self.secret}"

    def sign(self, content: str) -> str:
        """Return the detached signature (JWS, HS256) of a text."""
        header = _encoded(orjson.dumps({"alg": "HS256", "kid": self.id}))
        message = f"{header}.{_encoded(content.encode())}".encode()
        return f"{header}..{_encoded(hmac.digest(self.secret.encode(), message, 'sha256'))}"

    def verifies(self, signature: str, content: str) -> bool:
        """Return True if this token has signed a text."""
        return hmac.compare_digest(signature.encode(), self.sign(content).encode())


@dataclass(frozen=True, slots=True)
class TokenSecret:
    """A token as its Secret holds it; ``expires`` is None for a token without an end."""

    token: JoinToken
    usages: frozenset[str]
    groups: tuple[str, ...] = ()
    expires: datetime | None = None
    description: str = ""

    def wire(self) -> dict[str, Any]:
        """Return the Secret."""
        data = {"token-id": self.token.id, "token-secret": self.token.secret}
        data |= {f"usage-bootstrap-{usage}": "true" for usage in sorted(self.usages)}
        if self.groups:
            data["auth-extra-groups"] = ",".join(self.groups)
        if self.description:
            data["description"] = self.description
        if self.expires is not None:
            data["expiration"] = self.expires.strftime("%Y-%m-%dT%H:%M:%SZ")
        encoded = {key: base64.b64encode(text.encode()).decode() for key, text in data.items()}
        meta = {"name": secret_name(self.token.id), "namespace": SECRET_NAMESPACE}
        return {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": meta,
            "type": SECRET_TYPE,
            "data": encoded,
        }

    def has_ended(self, now: datetime) -> bool:
        """Return True if the token counts no more."""
        return self.expires is not None and self.expires <= now


def secret_name(token_id: str) -> str:
    """Return the name of a token's Secret."""
    return f"{SECRET_PREFIX}{token_id}"


def read_secret(name: str, type_: str, data: Mapping[str, str]) -> TokenSecret | None:
    """Read a Secret with base64 data; None if it is no token, or not one of this name.

    A token whose end cannot be read has ended, as upstream.
    """
    if type_ != SECRET_TYPE:
        return None
    plain = {key: _plain(value) for key, value in data.items()}
    try:
        token = JoinToken.parse(f"{plain.get('token-id', '')}.{plain.get('token-secret', '')}")
        groups = check_groups(filter_empty(plain.get("auth-extra-groups", "")))
    except TokenError:
        return None
    if name != secret_name(token.id):
        return None
    usages = frozenset(each for each in USAGES if plain.get(f"usage-bootstrap-{each}") == "true")
    ends = plain.get("expiration", "")
    return TokenSecret(
        token, usages, groups, _moment(ends) if ends else None, plain.get("description", "")
    )


def token_id(text: str) -> str:
    """Return the ID in ``ID`` or ``ID.SECRET``; raises TokenError."""
    return text if _ID.fullmatch(text) else JoinToken.parse(text).id


def check_groups(groups: Collection[str]) -> tuple[str, ...]:
    """Return the groups of a token; raises TokenError for one that a token may not have."""
    for group in groups:
        if not _GROUPS.fullmatch(group):
            raise TokenError(f"group {group!r}: a token's groups begin with {GROUP}:")
    return tuple(groups)


def check_usages(usages: Collection[str]) -> frozenset[str]:
    """Return the usages of a token; raises TokenError for unknown ones."""
    if unknown := [usage for usage in usages if usage not in USAGES]:
        raise TokenError(f"usage {unknown[0]!r}: want {' or '.join(USAGES)}")
    return frozenset(usages)


def filter_empty(text: str) -> list[str]:
    """Return the words of a text with commas."""
    return [word for word in text.split(",") if word]


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return datetime.fromtimestamp(0, UTC)
    return moment if moment.tzinfo else datetime.fromtimestamp(0, UTC)


def _plain(value: str) -> str:
    try:
        return base64.b64decode(value, validate=True).decode()
    except ValueError:
        return ""


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
