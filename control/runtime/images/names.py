"""Image references: what a Pod writes, and what it means. Pure.

``tools``, ``docker.io/library/tools:latest`` and ``library/tools`` are one image; the rules are
those of distribution/reference ("ParseDockerRef"), which every runtime follows.
"""

import re
from urllib.parse import quote, unquote

_DOMAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?"
)
_PATH = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class InvalidName(ValueError):
    """A text that is no image reference."""


def normalise(reference: str) -> str:
    """The full reference, such as ``docker.io/podwire/tools:latest``; raises InvalidName."""
    rest, _, digest = reference.partition("@")
    name, tag = _split_tag(rest)
    domain, path = _split_domain(name)
    valid = (
        _DOMAIN.fullmatch(domain)
        and len(path) <= 255
        and _PATH.fullmatch(path)
        and (tag is None or _TAG.fullmatch(tag))
        and (_DIGEST.fullmatch(digest) or ("@" not in reference))
    )
    if not valid:
        raise InvalidName(f"{reference!r} is not an image reference: want [HOST/]NAME[:TAG]")
    if digest:
        return f"{domain}/{path}@{digest}"  # a digest says more than a tag beside it
    return f"{domain}/{path}:{tag or 'latest'}"


def default_policy(reference: str) -> str:
    """The imagePullPolicy of a container that names none: Always for ``latest``."""
    try:
        full = normalise(reference)
    except InvalidName:
        return "IfNotPresent"
    return "Always" if full.endswith(":latest") and "@" not in full else "IfNotPresent"


def to_folder(full: str) -> str:
    """The folder name for a full reference: percent-encoded, so that no ``/`` is left."""
    return quote(full, safe="")


def from_folder(folder: str) -> str:
    """The reference that a folder name stands for."""
    return unquote(folder)


def _split_tag(rest: str) -> tuple[str, str | None]:
    name, colon, tag = rest.rpartition(":")
    if not colon or "/" in tag:  # the colon was a port's
        return rest, None
    return name, tag


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, path = name.partition("/")
    is_domain = slash and ("." in first or ":" in first or first == "localhost")
    domain, path = (first, path) if is_domain else ("docker.io", name)
    if domain == "index.docker.io":
        domain = "docker.io"
    if domain == "docker.io" and "/" not in path:
        path = f"library/{path}"
    return domain, path
