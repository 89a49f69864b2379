"""Keeps aiohttp from reading the system's certificate authorities as it is imported."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

# Where OpenSSL looks for the system's authorities: nowhere.
_NOWHERE = {"SSL_CERT_FILE": os.devnull, "SSL_CERT_DIR": os.devnull}


@contextmanager
def no_system_authorities() -> Iterator[None]:
    """Hide the system's certificate authorities, which aiohttp reads as it is imported.

    That is a third of its import, and 2 MB. They are for the context of those who bring none, and
    each part brings its own.
    """
    kept = {name: os.environ.get(name) for name in _NOWHERE}
    os.environ |= _NOWHERE
    try:
        yield
    finally:
        for name, value in kept.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
