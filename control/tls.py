"""Load certificates from files, with errors that name the file."""

import ssl
from pathlib import Path

RECORD = 16 * 1024  # bytes: the longest TLS record (RFC 8446, section 5.1)


class CertificateError(ValueError):
    """An unusable certificate or key; the message names the file and the cause."""


def load_identity(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Load the certificate (PEM) that a side shows, with its key; raises CertificateError."""
    try:
        context.load_cert_chain(certificate, key)
    except OSError as err:
        raise CertificateError(f"certificate {certificate} with key {key}: {_cause(err)}") from err


def load_authority(context: ssl.SSLContext, authority: Path) -> None:
    """Trust certificates that this authority (PEM) signed; raises CertificateError."""
    try:
        context.load_verify_locations(authority)
    except OSError as err:
        raise CertificateError(f"certificates of authority {authority}: {_cause(err)}") from err


def limit_buffers(size: int) -> None:
    """Let each TLS connection of this process allocate ``size`` bytes; asyncio's way is 256 KiB."""
    from asyncio.sslproto import SSLProtocol  # which those without TLS need not wait for

    SSLProtocol.max_size = size


def _cause(err: OSError) -> str:
    """Return OpenSSL's reason in words; it has none for a file without PEM."""
    if isinstance(err, ssl.SSLError):
        return err.reason.replace("_", " ").lower() if err.reason else "no PEM in it"
    return err.strerror or str(err)
