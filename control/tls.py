"""Loading certificates from files, with errors that name the file."""

import ssl
from pathlib import Path


class CertificateError(ValueError):
    """A certificate or key cannot be used; the text names the file and says why."""


def load_identity(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Have a side show this certificate (PEM), whose key it holds; raises CertificateError."""
    try:
        context.load_cert_chain(certificate, key)
    except OSError as err:
        raise CertificateError(f"certificate {certificate} with key {key}: {_cause(err)}") from err


def load_authority(context: ssl.SSLContext, authority: Path) -> None:
    """Have a side believe who this authority (PEM) has signed; raises CertificateError."""
    try:
        context.load_verify_locations(authority)
    except OSError as err:
        raise CertificateError(f"certificates of authority {authority}: {_cause(err)}") from err


def _cause(err: OSError) -> str:
    """OpenSSL's word in plain letters; it has none for a file without any PEM."""
    if isinstance(err, ssl.SSLError):
        return err.reason.replace("_", " ").lower() if err.reason else "no PEM in it"
    return err.strerror or str(err)
