"""What is warned of in a Secret whose certificate and key are no pair. Pure.

Source: crypto/tls.X509KeyPair, whose texts these are, as k8s.io/kubernetes/pkg/registry/core/secret
calls it.
"""

import base64
import binascii
import re
from collections.abc import Iterator, Mapping
from typing import Any

_BLOCK = re.compile(rb"-----BEGIN ([^-\n]+)-----\s*\n(?:[^\n]*\n)*?-----END \1-----", re.MULTILINE)
_NO_CERTIFICATE = "tls: failed to find any PEM data in certificate input"
_NO_KEY = "tls: failed to find any PEM data in key input"


def of_secret(wire: Mapping[str, Any]) -> Iterator[str]:
    """Yield why the certificate and the key of a Secret for TLS are no pair."""
    if wire.get("type") != "kubernetes.io/tls":
        return
    data = wire.get("data") or {}
    certificate, key = (_bytes(data.get(name)) for name in ("tls.crt", "tls.key"))
    if why := _wrong_certificate(certificate) or _wrong_key(key) or _mismatch(certificate, key):
        yield why


def _bytes(text: str | None) -> bytes:
    try:
        return base64.b64decode(text or "")
    except (binascii.Error, ValueError):
        return b""


def _names(pem: bytes) -> list[str]:
    return [match[1].decode(errors="replace") for match in _BLOCK.finditer(pem)]


def _wrong_certificate(pem: bytes) -> str:
    found = _names(pem)
    if "CERTIFICATE" in found:
        return ""
    if not found:
        return _NO_CERTIFICATE
    if len(found) == 1 and found[0].endswith("PRIVATE KEY"):
        return (
            "tls: failed to find certificate PEM data in certificate input, but did find a private"
            " key; PEM inputs may have been switched"
        )
    return (
        'tls: failed to find "CERTIFICATE" PEM block in certificate input after skipping PEM blocks'
        f" of the following types: [{' '.join(found)}]"
    )


def _wrong_key(pem: bytes) -> str:
    found = _names(pem)
    if any(name == "PRIVATE KEY" or name.endswith(" PRIVATE KEY") for name in found):
        return ""
    if not found:
        return _NO_KEY
    if found == ["CERTIFICATE"]:
        return "tls: found a certificate rather than a key in the PEM for the private key"
    return (
        'tls: failed to find PEM block with type ending in "PRIVATE KEY" in key input after'
        f" skipping PEM blocks of the following types: [{' '.join(found)}]"
    )


def _mismatch(certificate: bytes, key: bytes) -> str:
    # A large import, and only for such Secrets.
    from cryptography import x509
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        public = x509.load_pem_x509_certificate(certificate).public_key()
    except (ValueError, UnsupportedAlgorithm):
        return "x509: malformed certificate"
    try:
        private = load_pem_private_key(key, None).public_key()
    except (TypeError, ValueError, UnsupportedAlgorithm):
        return "tls: failed to parse private key"
    if type(public) is not type(private):
        return "tls: private key type does not match public key type"
    return "" if public == private else "tls: private key does not match public key"
