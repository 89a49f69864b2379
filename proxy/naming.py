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
    hashed = hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
    return base64.b32encode(hashed)[:16].decode()
