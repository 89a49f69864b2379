"""Parse kubeconfig files.

Source: https://kubernetes.io/docs/reference/config-api/kubeconfig.v1/
"""

import base64
import binascii
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from control.reported import ReportedError

# Authentication methods of a user entry that need a program; podwire runs none.
_UNSUPPORTED = ("exec", "auth-provider")


class KubeconfigError(ReportedError, ValueError):
    """An unusable kubeconfig; the message names the file, the entry and the cause."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """The client's credentials: a certificate with its key (PEM), a token, or a password."""

    certificate: bytes | None = None
    key: bytes | None = None
    token: str | None = None
    token_file: Path | None = None
    basic: tuple[str, str] | None = None
    token_source: Callable[[], str] | None = None  # called for each request
    files: tuple[Path, Path] | None = None  # of the certificate and key, which may be renewed

    def reread(self) -> "Credentials":
        """Return these with what the files have now; raises OSError."""
        if self.files is None:
            return self
        certificate, key = (path.read_bytes() for path in self.files)
        return replace(self, certificate=certificate, key=key)


@dataclass(frozen=True, slots=True)
class ClientConfig:
    """The URL of an API server, its authority, and the client's credentials."""

    server: str
    ca: bytes | None = None
    insecure: bool = False
    server_name: str | None = None
    namespace: str = "default"
    credentials: Credentials = Credentials()


def load(path: str | Path, context: str | None = None) -> ClientConfig:
    """Read the configuration of a kubeconfig's context (current-context if None).

    Raises KubeconfigError.
    """
    file = Path(path)
    try:
        document = yaml.load(file.read_bytes(), Loader=yaml.CSafeLoader)  # it makes plain values
    except OSError as err:
        raise KubeconfigError(f"kubeconfig {file}: cannot be read: {err.strerror}") from err
    except (yaml.YAMLError, UnicodeDecodeError) as err:
        raise KubeconfigError(f"kubeconfig {file}: is not YAML: {_one_line(err)}") from err
    try:
        return parse(document, file.parent, context)
    except KubeconfigError as err:
        raise KubeconfigError(f"kubeconfig {file}: {err}") from err


def parse(document: Any, base: Path, context: str | None = None) -> ClientConfig:
    """Parse a decoded kubeconfig, whose relative paths start at ``base``."""
    if not isinstance(document, dict):
        raise KubeconfigError("is empty or not a mapping")
    name = context or document.get("current-context")
    if not name:
        raise KubeconfigError("has no current-context; set it with: kubectl config use-context")
    chosen = _entry(document, "contexts", "context", name)
    cluster = _entry(document, "clusters", "cluster", _word(chosen, "cluster", f"context {name}"))
    user_name = chosen.get("user")
    user = _entry(document, "users", "user", user_name) if user_name else {}
    where = f"cluster {chosen['cluster']}"
    return ClientConfig(
        server=_server(cluster, where),
        ca=_material(cluster, "certificate-authority", base, where),
        insecure=bool(cluster.get("insecure-skip-tls-verify", False)),
        server_name=cluster.get("tls-server-name"),
        namespace=chosen.get("namespace") or "default",
        credentials=_credentials(user, base, f"user {user_name}"),
    )


def _entry(document: dict[str, Any], plural: str, singular: str, name: Any) -> dict[str, Any]:
    entries = document.get(plural)
    for item in entries if isinstance(entries, list) else []:
        if isinstance(item, dict) and item.get("name") == name:
            found = item.get(singular)
            if isinstance(found, dict):
                return found
            raise KubeconfigError(f"{singular} {name} is not a mapping")
    known = [str(i.get("name")) for i in entries or [] if isinstance(i, dict)]
    raise KubeconfigError(f"has no {singular} named {name} (it has: {', '.join(known) or 'none'})")


def _word(mapping: dict[str, Any], key: str, where: str) -> str:
    value = mapping.get(key)
    if not isinstance(value, str) or not value:
        raise KubeconfigError(f"{where} has no {key}")
    return value


def _server(cluster: dict[str, Any], where: str) -> str:
    server = _word(cluster, "server", where)
    parts = urlsplit(server)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise KubeconfigError(f"{where} has the server {server!r}, which is not an http(s) URL")
    if cluster.get("proxy-url"):
        raise KubeconfigError(f"{where} has a proxy-url; podwire connects directly only")
    return server.rstrip("/")


def _credentials(user: dict[str, Any], base: Path, where: str) -> Credentials:
    for method in _UNSUPPORTED:
        if user.get(method):
            raise KubeconfigError(
                f"{where} uses {method}, which podwire does not run; "
                "give it a client certificate or a token"
            )
    certificate = _material(user, "client-certificate", base, where)
    key = _material(user, "client-key", base, where)
    if (certificate is None) != (key is None):
        missing = "client-key" if key is None else "client-certificate"
        raise KubeconfigError(
            f"{where} has no {missing}; a client certificate and its key go together"
        )
    token_file = user.get("tokenFile")
    return Credentials(
        certificate=certificate,
        key=key,
        token=user.get("token"),
        token_file=base / token_file if token_file else None,
        basic=(user["username"], user.get("password", "")) if user.get("username") else None,
        files=_files(user, base),
    )


def _files(user: dict[str, Any], base: Path) -> tuple[Path, Path] | None:
    """Return the files of a certificate and its key, if the kubeconfig names files for both."""
    names = ("client-certificate", "client-key")
    if any(user.get(f"{name}-data") or not user.get(name) for name in names):
        return None
    certificate, key = (base / str(user[name]) for name in names)
    return certificate, key


def _material(mapping: dict[str, Any], key: str, base: Path, where: str) -> bytes | None:
    """Return the PEM of ``KEY-data`` (inline, base64), else of the file ``KEY``, else None."""
    inline = mapping.get(f"{key}-data")
    if inline:
        try:
            return base64.b64decode(inline, validate=True)
        except (binascii.Error, ValueError, TypeError) as err:
            raise KubeconfigError(f"{where}: {key}-data is not base64: {err}") from err
    if not mapping.get(key):
        return None
    path = base / str(mapping[key])
    try:
        return path.read_bytes()
    except OSError as err:
        raise KubeconfigError(f"{where}: {key} {path} cannot be read: {err.strerror}") from err


def _one_line(err: Exception) -> str:
    return " ".join(str(err).split())
