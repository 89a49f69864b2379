"""Import aiohttp without loading the system's certificates.

aiohttp loads them twice during its import, for sessions without an SSL context. podwire has no
such session, and the loading takes 40 ms of each command's start. Modules that may be the first to
import aiohttp import it from here.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def _no_certificates() -> Iterator[None]:
    """Point OpenSSL's SSL_CERT_FILE at an empty file."""
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
