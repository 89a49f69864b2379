"""Image references, short and full. Pure.

``tools``, ``docker.io/library/tools:latest`` and ``library/tools`` are one image. The rules are
those of distribution/reference ("ParseDockerRef"), as in every runtime.
"""

import re
from urllib.parse import quote, unquote

PAUSE = "docker.io/podwire/pause:1"  # ours, of the first process of a Pod's sandbox
_DOMAIN = re.compile(
    r"[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?(?::[0-9]+)?|\[[0-9a-fA-F:]+\](?::[0-9]+)?"
)
_PATH = re.compile(
    r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*"
)
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")


class ImageNameError(ValueError):
    """A text is not an image reference."""


def normalize(reference: str) -> str:
    """Return the full reference, such as ``docker.io/podwire/tools:latest``.

    Raises ImageNameError.
    """
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
        raise ImageNameError(f"{reference!r} is not an image reference: want [HOST/]NAME[:TAG]")
    if digest:
        return f"{domain}/{path}@{digest}"  # a digest makes a tag beside it redundant
    return f"{domain}/{path}:{tag or 'latest'}"


def complaint(reference: str, err: ImageNameError) -> str:
    """Return kubelet's words about an image reference that is none (reason InvalidImageName)."""
    return (
        f'Failed to apply default image tag "{reference}": couldn\'t parse image name '
        f'"{reference}": invalid reference format: {err}'
    )


def default_policy(reference: str) -> str:
    """Return the imagePullPolicy of a container without one: Always for ``latest``."""
    try:
        full = normalize(reference)
    except ImageNameError:
        return "IfNotPresent"
    return "Always" if full.endswith(":latest") and "@" not in full else "IfNotPresent"


def to_folder(full: str) -> str:
    """Return the folder name for a full reference: percent-encoded, without ``/``."""
    return quote(full, safe="")


def from_folder(folder: str) -> str:
    """Return the reference for a folder name."""
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
