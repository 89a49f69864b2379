"""Signs certificates with the key of an authority, as upstream's local signer does (RFC 5280).

Source: k8s.io/kubernetes/pkg/controller/certificates/authority
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID

from control.api.signing import Asked

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey

DEFAULT_LIFETIME = timedelta(days=365)
_SHORTEST = timedelta(minutes=10)
# Clocks of nodes may be behind; a certificate of a short life lives all of it.
_BACKDATED, _SHORT = timedelta(minutes=5), timedelta(hours=8)

_EXTENDED = {
    "client auth": ExtendedKeyUsageOID.CLIENT_AUTH,
    "server auth": ExtendedKeyUsageOID.SERVER_AUTH,
}


class AuthorityError(ValueError):
    """An authority that cannot sign; the message says why."""


@dataclass(frozen=True, slots=True)
class SigningAuthority:
    """The certificate and key of an authority; ``lifetime`` is the longest that it gives."""

    certificate: x509.Certificate
    key: PrivateKey
    lifetime: timedelta = DEFAULT_LIFETIME

    @classmethod
    def load(
        cls, certificate: Path, key: Path, lifetime: timedelta = DEFAULT_LIFETIME
    ) -> "SigningAuthority":
        """Read the files (PEM); raises AuthorityError."""
        try:
            authority = x509.load_pem_x509_certificate(certificate.read_bytes())
            secret = serialization.load_pem_private_key(key.read_bytes(), None)
        except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as err:
            raise AuthorityError(f"authority {certificate} with key {key}: {err}") from err
        if not isinstance(secret, PrivateKey):
            raise AuthorityError(f"key {key}: want a key of RSA, ECDSA or Ed25519")
        if secret.public_key() != authority.public_key():
            raise AuthorityError(f"key {key} is not the key of certificate {certificate}")
        return cls(authority, secret, lifetime)

    def sign(self, asked: Asked, usages: Collection[str], seconds: int | None, now: float) -> bytes:
        """Return a certificate (PEM) for ``seconds``, or less; raises AuthorityError."""
        moment = datetime.fromtimestamp(now, UTC)
        until = self.certificate.not_valid_after_utc
        if moment >= until:
            raise AuthorityError(f"the signer has expired: NotAfter={until.isoformat()}")
        lifetime = self._lifetime(seconds)
        ends = moment + (lifetime if lifetime < _SHORT else lifetime - _BACKDATED)
        builder = (
            x509.CertificateBuilder()
            .subject_name(asked.subject)
            .issuer_name(self.certificate.subject)
            .public_key(asked.key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(moment - _BACKDATED)
            .not_valid_after(min(ends, until))
        )
        for extension, critical in self._extensions(asked, usages):
            builder = builder.add_extension(extension, critical=critical)
        made = builder.sign(self.key, _hash_for(self.key))
        return made.public_bytes(serialization.Encoding.PEM)

    def _lifetime(self, seconds: int | None) -> timedelta:
        if seconds is None:
            return self.lifetime
        return min(max(timedelta(seconds=seconds), _SHORTEST), self.lifetime)

    def _extensions(
        self, asked: Asked, usages: Collection[str]
    ) -> list[tuple[x509.ExtensionType, bool]]:
        made: list[tuple[x509.ExtensionType, bool]] = [
            (x509.BasicConstraints(ca=False, path_length=None), True),
            (self._identifier(), False),
        ]
        if used := _key_usage(usages):
            made.append((used, True))
        if extended := [oid for usage, oid in _EXTENDED.items() if usage in usages]:
            made.append((x509.ExtendedKeyUsage(extended), False))
        if names := _names(asked):
            made.append((x509.SubjectAlternativeName(names), not list(asked.subject)))
        return made

    def _identifier(self) -> x509.AuthorityKeyIdentifier:
        kind = x509.SubjectKeyIdentifier
        try:
            own = self.certificate.extensions.get_extension_for_class(kind).value
        except x509.ExtensionNotFound:
            return x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())
        return x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(own)


def _hash_for(key: PrivateKey) -> hashes.SHA256 | None:
    return None if isinstance(key, ed25519.Ed25519PrivateKey) else hashes.SHA256()


def _key_usage(usages: Collection[str]) -> x509.KeyUsage | None:
    signs, enciphers = "digital signature" in usages, "key encipherment" in usages
    if not signs and not enciphers:
        return None
    return x509.KeyUsage(
        digital_signature=signs,
        key_encipherment=enciphers,
        content_commitment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )


def _names(asked: Asked) -> list[x509.GeneralName]:
    return [
        *map(x509.DNSName, asked.dns_names),
        *map(x509.RFC822Name, asked.emails),
        *map(x509.IPAddress, asked.ips),
        *map(x509.UniformResourceIdentifier, asked.uris),
    ]
