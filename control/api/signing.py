"""Read a PKCS#10 request for a certificate, which anybody may have written. Pure.

Source: RFC 2986; k8s.io/kubernetes/pkg/apis/certificates (helpers.go).
"""

import base64
import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import NameOID

_BEGIN = re.compile(r"^-----BEGIN ([^\n]*)-----[ \t\r]*$", re.M)
_FAULTS = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)

PublicKey = rsa.RSAPublicKey | ec.EllipticCurvePublicKey | ed25519.Ed25519PublicKey


class SigningError(ValueError):
    """A request or a certificate that cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class Asked:
    """What a request asks for, and the key that it proves to have."""

    subject: x509.Name
    key: PublicKey
    dns_names: tuple[str, ...] = ()
    emails: tuple[str, ...] = ()
    ips: tuple[IPv4Address | IPv6Address, ...] = ()
    uris: tuple[str, ...] = ()

    @property
    def groups(self) -> list[str]:
        """The organizations of the subject, which are groups of the user."""
        return self._values(NameOID.ORGANIZATION_NAME)

    @property
    def user(self) -> str:
        """The common name of the subject: the last one, as Go's."""
        return (self._values(NameOID.COMMON_NAME) or [""])[-1]

    def _values(self, oid: x509.ObjectIdentifier) -> list[str]:
        return [str(one.value) for one in self.subject.get_attributes_for_oid(oid)]


def read_request(encoded: str) -> Asked:
    """Read a request, base64 of PEM, and check its signature; raises SigningError."""
    try:
        text = base64.b64decode(encoded, validate=True).decode("ascii", "replace")
        begin = _BEGIN.search(text)
        if begin is None or begin[1] != "CERTIFICATE REQUEST":
            raise SigningError("PEM block type must be CERTIFICATE REQUEST")
        request = x509.load_pem_x509_csr(text[begin.start() :].encode())
        if not request.is_signature_valid:
            raise SigningError("the signature of the request is not of its key")
        return _asked(request)
    except SigningError:
        raise
    except _FAULTS as err:
        raise SigningError(f"the request cannot be read: {err}") from err


def _asked(request: x509.CertificateSigningRequest) -> Asked:
    key = request.public_key()
    if not isinstance(key, PublicKey):
        raise SigningError("only keys of RSA, ECDSA and Ed25519 are supported")
    try:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return Asked(request.subject, key)
    return Asked(
        request.subject,
        key,
        tuple(names.get_values_for_type(x509.DNSName)),
        tuple(names.get_values_for_type(x509.RFC822Name)),
        tuple(
            ip
            for ip in names.get_values_for_type(x509.IPAddress)
            if isinstance(ip, IPv4Address | IPv6Address)
        ),
        tuple(names.get_values_for_type(x509.UniformResourceIdentifier)),
    )


def host_names(made: x509.Certificate | x509.CertificateSigningRequest) -> frozenset[str]:
    """Return the DNS names and addresses of a certificate, or of a request for one."""
    try:
        names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return frozenset()
    addresses = map(str, names.get_values_for_type(x509.IPAddress))
    return frozenset((*names.get_values_for_type(x509.DNSName), *addresses))


def check_certificate(encoded: str) -> None:
    """Check that base64 text is one or more certificates in PEM; raises SigningError."""
    try:
        raw = base64.b64decode(encoded, validate=True)
        for begin in _BEGIN.findall(text := raw.decode("ascii", "replace")):
            if begin != "CERTIFICATE":
                raise SigningError(f'only CERTIFICATE PEM blocks are allowed, found "{begin}"')
        if "-----BEGIN " not in text:
            raise SigningError("must contain one or more CERTIFICATE PEM blocks")
        x509.load_pem_x509_certificates(raw)
    except SigningError:
        raise
    except _FAULTS as err:
        raise SigningError(f"the certificate cannot be read: {err}") from err
