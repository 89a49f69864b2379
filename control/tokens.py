"""Sign and verify tokens of ServiceAccounts: JSON Web Tokens (RFC 7519) by ES256 or RS256.

A verified signature is remembered, because a client shows its token with every request; the times
in the token are compared each time.
"""

import base64
import binascii
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import orjson
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import (
    decode_dss_signature,
    encode_dss_signature,
)

ISSUER = "https://kubernetes.default.svc.cluster.local"
# A token in a Secret has no end, and upstream's old issuer.
SECRET_ISSUER = "kubernetes/serviceaccount"  # noqa: S105  # a name, not a secret
_SECRET_CLAIM = "kubernetes.io/serviceaccount"  # noqa: S105
SECRET_TYPE = "kubernetes.io/service-account-token"  # noqa: S105  # a type, not a secret
SECRET_NAME = "kubernetes.io/service-account.name"  # noqa: S105
SECRET_UID = "kubernetes.io/service-account.uid"  # noqa: S105
# Labels of a Secret with a token: the dates of its last use, and since when it counts no more.
LAST_USED = "kubernetes.io/legacy-token-last-used"
INVALID_SINCE = "kubernetes.io/legacy-token-invalid-since"
# The ConfigMap that says since when uses are noted.
TRACKING_NAMESPACE = "kube-system"
TRACKING = "kube-apiserver-legacy-service-account-token-tracking"
_COORDINATE = 32  # bytes of each half of an ES256 signature (RFC 7518, 3.4)
_MOST_BYTES = 16 * 1024
_MOST_KEPT = 4096
PrivateKey = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey = ec.EllipticCurvePublicKey | rsa.RSAPublicKey
Claims = Mapping[str, Any]


class TokenKeyError(ValueError):
    """An unusable key file; the message names the file and the cause."""


@dataclass(frozen=True, slots=True)
class VerifyingKey:
    """A public key with its ID, which a token's header names."""

    id: str
    key: PublicKey

    @property
    def algorithm(self) -> str:
        """The name of the signature's algorithm."""
        return "ES256" if isinstance(self.key, ec.EllipticCurvePublicKey) else "RS256"

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Return True if the signature of the message is this key's."""
        try:
            if isinstance(self.key, rsa.RSAPublicKey):
                self.key.verify(signature, message, padding.PKCS1v15(), hashes.SHA256())
            elif len(signature) == 2 * _COORDINATE:
                self.key.verify(_to_der(signature), message, ec.ECDSA(hashes.SHA256()))
            else:
                return False
        except InvalidSignature:
            return False
        return True

    def jwk(self) -> dict[str, str]:
        """Return the key as a JSON Web Key (RFC 7517)."""
        made = {"use": "sig", "kid": self.id, "alg": self.algorithm}
        if isinstance(self.key, rsa.RSAPublicKey):
            public = self.key.public_numbers()
            return made | {"kty": "RSA", "n": _number(public.n), "e": _number(public.e)}
        point = self.key.public_numbers()
        x, y = (_encoded(value.to_bytes(_COORDINATE, "big")) for value in (point.x, point.y))
        return made | {"kty": "EC", "crv": "P-256", "x": x, "y": y}


class TokenSigner:
    """The keys of a server's tokens, and its name as their issuer."""

    def __init__(
        self,
        key: PrivateKey,
        others: Sequence[PublicKey] = (),
        issuer: str = ISSUER,
        audiences: tuple[str, ...] = (),
    ) -> None:
        self.issuer = issuer
        self.audiences = audiences or (issuer,)
        self._private = key
        self.keys = tuple(
            VerifyingKey(_key_id(public), public) for public in (key.public_key(), *others)
        )
        self._verified: dict[str, Claims] = {}

    def sign(self, claims: Claims) -> str:
        """Return a token."""
        header = {"alg": self.keys[0].algorithm, "kid": self.keys[0].id}
        message = f"{_encoded(orjson.dumps(header))}.{_encoded(orjson.dumps(claims))}"
        if isinstance(self._private, rsa.RSAPrivateKey):
            signature = self._private.sign(message.encode(), padding.PKCS1v15(), hashes.SHA256())
        else:
            der = self._private.sign(message.encode(), ec.ECDSA(hashes.SHA256()))
            signature = b"".join(
                half.to_bytes(_COORDINATE, "big") for half in decode_dss_signature(der)
            )
        return f"{message}.{_encoded(signature)}"

    def verify(self, token: str, now: datetime) -> Claims | None:
        """Return the claims of a token that one of the keys has signed and that has not ended."""
        claims = self._verified.get(token)
        if claims is None:
            claims = self._read(token)
            if claims is None:
                return None
            if len(self._verified) >= _MOST_KEPT:
                self._verified.clear()
            self._verified[token] = claims
        if claims["iss"] == SECRET_ISSUER:
            return claims
        end, begin = claims.get("exp"), claims.get("nbf", 0)
        if not isinstance(end, int | float) or not isinstance(begin, int | float):
            return None
        return claims if begin <= now.timestamp() < end else None

    def _read(self, token: str) -> Claims | None:
        if len(token) > _MOST_BYTES or not token.isascii():
            return None
        message, _, signature = token.rpartition(".")
        try:
            header, claims = (orjson.loads(_decoded(part)) for part in message.split("."))
            signed = _decoded(signature)
        except (ValueError, binascii.Error):
            return None
        if not isinstance(header, dict) or not isinstance(claims, dict):
            return None
        named = [key for key in self.keys if header.get("kid") in (None, key.id)]
        good = any(
            key.algorithm == header.get("alg") and key.verifies(signed, message.encode())
            for key in named
        )
        return claims if good and claims.get("iss") in (self.issuer, SECRET_ISSUER) else None


def secret_claims(namespace: str, secret: str, account: str, uid: str) -> dict[str, str]:
    """Return the claims of a token that a Secret holds."""
    return {
        "iss": SECRET_ISSUER,
        "sub": f"system:serviceaccount:{namespace}:{account}",
        f"{_SECRET_CLAIM}/namespace": namespace,
        f"{_SECRET_CLAIM}/secret.name": secret,
        f"{_SECRET_CLAIM}/service-account.name": account,
        f"{_SECRET_CLAIM}/service-account.uid": uid,
    }


def load_private_key(path: Path) -> PrivateKey:
    """Read a private key (PEM): EC P-256 or RSA; raises TokenKeyError."""
    try:
        key = serialization.load_pem_private_key(path.read_bytes(), None)
    except (OSError, ValueError, TypeError) as err:
        raise TokenKeyError(f"service account key {path}: {err}") from err
    if not isinstance(key, ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey):
        raise TokenKeyError(f"service account key {path}: want an EC P-256 or an RSA key")
    _check_curve(path, key.public_key())
    return key


def load_public_key(path: Path) -> PublicKey:
    """Read a public key (PEM), also that of a private key or a certificate."""
    try:
        raw = path.read_bytes()
        key = (
            serialization.load_pem_private_key(raw, None).public_key()
            if b"PRIVATE KEY" in raw
            else serialization.load_pem_public_key(raw)
        )
    except (OSError, ValueError, TypeError) as err:
        raise TokenKeyError(f"service account key {path}: {err}") from err
    if not isinstance(key, ec.EllipticCurvePublicKey | rsa.RSAPublicKey):
        raise TokenKeyError(f"service account key {path}: want an EC P-256 or an RSA key")
    _check_curve(path, key)
    return key


def _check_curve(path: Path, key: PublicKey) -> None:
    if isinstance(key, ec.EllipticCurvePublicKey) and not isinstance(key.curve, ec.SECP256R1):
        raise TokenKeyError(f"service account key {path}: of the curves, use P-256")


def _key_id(key: PublicKey) -> str:
    """Return upstream's ID of a key: the digest of its DER form."""
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return _encoded(hashlib.sha256(der).digest())


def _to_der(signature: bytes) -> bytes:
    half = len(signature) // 2
    first, second = signature[:half], signature[half:]
    return encode_dss_signature(int.from_bytes(first, "big"), int.from_bytes(second, "big"))


def _number(value: int) -> str:
    return _encoded(value.to_bytes((value.bit_length() + 7) // 8, "big"))


def _encoded(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), b"-_", validate=True)
