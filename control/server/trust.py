"""Publish who signs clients, so that other servers of the cluster can ask whom to trust.

The scheduler, the controller manager and added API servers read the ConfigMap
``extension-apiserver-authentication`` at their start, and complain until it is there. Source:
k8s.io/kubernetes/pkg/controlplane/controller/clusterauthenticationtrust.
"""

import re
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

NAMESPACE = "kube-system"
NAME = "extension-apiserver-authentication"
_KEY = "client-ca-file"
_SLACK = timedelta(minutes=5)
_BLOCK = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)


def published(before: str, own: bytes, now: datetime) -> dict[str, str]:
    """Return the ConfigMap's data: what is there and this server's authorities (PEM), each once.

    Other API servers may have others, so theirs stay. Certificates that have ended are left out,
    and so is, in ``before``, what is no certificate.
    """
    found = dict.fromkeys([*_certificates(before.encode()), *_certificates(own)])
    alive = [each for each in found if each.not_valid_after_utc > now - _SLACK]
    pem = b"".join(each.public_bytes(Encoding.PEM) for each in alive)
    return {_KEY: pem.decode()} if pem else {}


def authorities(data: dict[str, str]) -> str:
    """Return the authorities of clients (PEM) that the ConfigMap's data has."""
    return data.get(_KEY, "")


def _certificates(bundle: bytes) -> list[x509.Certificate]:
    found = []
    for block in _BLOCK.findall(bundle):
        try:
            found.append(x509.load_pem_x509_certificate(block))
        except ValueError:
            continue  # somebody's text in the ConfigMap; the server's own file was read before
    return found
