"""Registry credentials of Secrets and of the node, and which of them an image needs. Pure.

A key such as ``*.example.com/team`` is a host, perhaps with a port, with ``*`` inside its parts,
and the beginning of a path. The most specific key is tried first.

Sources: k8s.io/kubernetes/pkg/credentialprovider (keyring.go, config.go, secrets/secrets.go)
"""

import base64
import binascii
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

from pydantic import BaseModel, ValidationError

from control.runtime.base import Credentials

JSON_TYPE, JSON_KEY = "kubernetes.io/dockerconfigjson", ".dockerconfigjson"
OLD_TYPE, OLD_KEY = "kubernetes.io/dockercfg", ".dockercfg"
_DEFAULT = "index.docker.io"


class KeyringError(ValueError):
    """A Secret or file of registry credentials is not valid; the text names it."""


@dataclass(frozen=True, slots=True)
class SecretRef:
    """The Secret that credentials are from."""

    namespace: str
    name: str
    uid: str


@dataclass(frozen=True, slots=True)
class PullSecret:
    """A Secret that a Pod names in ``imagePullSecrets``."""

    ref: SecretRef
    type: str
    data: Mapping[str, bytes]


@dataclass(frozen=True, slots=True)
class Login:
    """Credentials, and the Secret that has them; those without one are the node's own."""

    credentials: Credentials
    secret: SecretRef | None = None

    @property
    def hash(self) -> str:
        """A hash by which the same credentials in two Secrets are known."""
        pair = [self.credentials.user, self.credentials.password]
        return hashlib.sha256(json.dumps(pair).encode()).hexdigest()


class _Entry(BaseModel):
    username: str | None = None
    password: str | None = None
    auth: str | None = None


class _File(BaseModel):
    auths: dict[str, _Entry] | None = None


class _OldFile(BaseModel):
    auths: dict[str, _Entry]


class Keyring:
    """Credentials by registry."""

    def __init__(self) -> None:
        self._logins: dict[str, list[Login]] = {}

    def add_secret(self, secret: PullSecret) -> None:
        """Add what a Secret has; one of another type has nothing. Raises KeyringError."""
        ref, old = secret.ref, secret.type == OLD_TYPE
        key = {JSON_TYPE: JSON_KEY, OLD_TYPE: OLD_KEY}.get(secret.type, "")
        data = secret.data.get(key)
        if data:
            self.add(data, f"Secret {ref.namespace}/{ref.name}, key {key}", ref, old=old)

    def add(self, data: bytes, where: str, secret: SecretRef | None = None, *, old: bool) -> None:
        """Add the credentials of a Docker configuration; raises KeyringError.

        ``old`` is the form of .dockercfg, without ``auths``.
        """
        for place, entry in _parse(data, where, old=old).items():
            key = _key(place)
            if key:
                login = Login(_credentials(entry, f"{where}, registry {place}"), secret)
                self._logins.setdefault(key, []).append(login)

    def lookup(self, repository: str) -> tuple[Login, ...]:
        """Return the credentials for a full image name without its tag, the best ones first."""
        keys = sorted(self._logins, reverse=True)
        found = [key for key in keys if _matches(key, repository)]
        if not found and repository.startswith("docker.io/") and _DEFAULT in self._logins:
            found = [_DEFAULT]
        return tuple(login for key in found for login in self._logins[key])


def lookup(repository: str, keyrings: Iterable[Keyring]) -> tuple[Login, ...]:
    """Return the credentials of several keyrings, one after the other."""
    return tuple(login for keyring in keyrings for login in keyring.lookup(repository))


def _parse(data: bytes, where: str, *, old: bool) -> dict[str, _Entry]:
    try:
        if old:
            return _OldFile.model_validate({"auths": json.loads(data)}).auths
        return _File.model_validate_json(data).auths or {}
    except (ValidationError, ValueError) as err:
        # Never the parser's text: it shows what it has read, a password perhaps.
        raise KeyringError(f"{where}: no valid Docker configuration in JSON") from err


def _credentials(entry: _Entry, where: str) -> Credentials:
    if not entry.auth:
        return Credentials(entry.username or "", entry.password or "")
    text = entry.auth.strip().rstrip("=")
    try:
        decoded = base64.b64decode(text + "=" * (-len(text) % 4), validate=True).decode()
        user, password = decoded.split(":", 1)
    except (binascii.Error, ValueError) as err:
        raise KeyringError(f"{where}: auth is not base64 of USER:PASSWORD") from err
    return Credentials(user, password)


def _key(place: str) -> str:
    """Return HOST[:PORT][/PATH] of an entry's name; empty if that is no address."""
    scheme = place.startswith(("https://", "http://"))
    try:
        url = urlsplit(place if scheme else f"https://{place}")
    except ValueError:
        return ""
    path = url.path[3:] if url.path.startswith(("/v1/", "/v2/")) else url.path
    host = url.netloc.rpartition("@")[2]
    return host + path if path not in ("", "/") else host


def _matches(pattern: str, repository: str) -> bool:
    (host, path), (wanted_host, wanted_path) = _split(pattern), _split(repository)
    (parts, port), (wanted, wanted_port) = _labels(host), _labels(wanted_host)
    return (
        port == wanted_port
        and len(parts) == len(wanted)
        and wanted_path.startswith(path)
        and all(fnmatchcase(label, part) for part, label in zip(parts, wanted, strict=True))
    )


def _split(text: str) -> tuple[str, str]:
    host, slash, path = text.partition("/")
    return host, slash + path


def _labels(host: str) -> tuple[list[str], str]:
    name, colon, port = host.rpartition(":")
    if not colon or host.endswith("]"):
        name, port = host, ""
    return name.strip("[]").split("."), port
