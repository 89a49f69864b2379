"""Names made of API objects' text, safe for every kernel interface and tool."""

import base64
import hashlib
import re

_UNSAFE = re.compile(r"[^A-Za-z0-9._/:>\[\]\- ]")


def plain(text: str, limit: int) -> str:
    """Return ``text`` for a comment: nothing in it ends quotes or a line. Cut at ``limit``."""
    return _UNSAFE.sub("_", text)[:limit]


def digest(text: str) -> str:
    """Return 16 characters that stand for ``text``: kube-proxy's hash, as in debugging guides."""
    return base64.b32encode(_hashed(text))[:16].decode()


def number_of(text: str) -> int:
    """Return 64 bits that stand for ``text``."""
    return int.from_bytes(_hashed(text)[:8], "big")


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
