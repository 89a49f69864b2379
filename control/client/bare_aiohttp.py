"""aiohttp, imported without the system's certificates.

It reads them twice while it is imported, for sessions that are not told whom to trust. None of ours
asks that of it, and it is 40 ms of each command's start. Import aiohttp from here where it may be
the first time.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_certificates() -> Iterator[None]:
    """OpenSSL's own variable says where the system's certificates are."""
    before = os.environ.get("SSL_CERT_FILE")
    os.environ["SSL_CERT_FILE"] = os.devnull
    try:
        yield
    finally:
        del os.environ["SSL_CERT_FILE"]
        if before is not None:
            os.environ["SSL_CERT_FILE"] = before


with _no_certificates():
    import aiohttp

__all__ = ["aiohttp"]
