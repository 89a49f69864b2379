"""Names for what comes from API objects: safe wherever a kernel or a tool takes them."""

import base64
import hashlib
import re

_UNSAFE = re.compile(r"[^A-Za-z0-9._/:>\[\]\- ]")


def plain(text: str, limit: int) -> str:
    """``text`` for a comment: nothing that could end quotes or a line, cut at ``limit``."""
    return _UNSAFE.sub("_", text)[:limit]


def digest(text: str) -> str:
    """16 characters that stand for ``text`` (kube-proxy's own hash: debugging guides know it)."""
    return base64.b32encode(_hashed(text))[:16].decode()


def number_of(text: str) -> int:
    """64 bits that stand for ``text``."""
    return int.from_bytes(_hashed(text)[:8], "big")


def _hashed(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
