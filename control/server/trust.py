"""Publish who signs clients and front proxies, so that other servers know whom to trust.

The scheduler, the controller manager and added API servers read the ConfigMap
``extension-apiserver-authentication`` at their start, and complain until it is there. Source:
k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

import orjson
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

NAMESPACE = "kube-system"
NAME = "extension-apiserver-authentication"
CLIENT, PROXY = "client-ca-file", "requestheader-client-ca-file"
_ALLOWED = "requestheader-allowed-names"
_HEADERS = {
    "requestheader-username-headers": ["X-Remote-User"],
    "requestheader-uid-headers": ["X-Remote-Uid"],
    "requestheader-group-headers": ["X-Remote-Group"],
    "requestheader-extra-headers-prefix": ["X-Remote-Extra-"],
}
Data = Mapping[str, str]
_SLACK = timedelta(minutes=5)
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def published(key: str, before: Data, own: bytes, now: datetime) -> dict[str, str]:
    """Return an entry of the ConfigMap: what is there and this server's authorities (PEM).

    Other API servers may have others, so theirs stay. Certificates that have ended are left out,
    and so is, in ``before``, what is no certificate.
    """
    known = _certificates(before.get(key, "").encode())
    found = dict.fromkeys([*known, *_certificates(own)])
    alive = [each for each in found if each.not_valid_after_utc > now - _SLACK]
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in alive)
    return {key: pem.decode()} if pem else {}


def headers(before: Data, allowed_names: Sequence[str]) -> dict[str, str]:
    """Return the entries that say in which headers a front proxy names users (JSON lists)."""
    names = list(dict.fromkeys([*_names(before.get(_ALLOWED, "")), *allowed_names]))
    if not allowed_names:
        names = []  # every name
    lists = _HEADERS | {_ALLOWED: names}
    return {name: orjson.dumps(values).decode() for name, values in lists.items()}


def _names(text: str) -> list[str]:
    try:
        found = orjson.loads(text or "[]")
    except orjson.JSONDecodeError:
        return []
    return [each for each in found if isinstance(each, str)] if isinstance(found, list) else []


def _certificates(bundle: bytes) -> list[x509.Certificate]:
    found = []
    for block in _BLOCK.findall(bundle):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            continue  # somebody's text in the ConfigMap; the server's own file was read before
    return found
