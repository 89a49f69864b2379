"""This machine's architecture, as Go and so Kubernetes and OCI call it."""

import platform

_NAMES = {
    "x86_64": "amd64",
    "aarch64": "arm64",
    "armv7l": "arm",
    "ppc64le": "ppc64le",
    "s390x": "s390x",
    "riscv64": "riscv64",
}


def architecture() -> str:
    """Return GOARCH's value, such as ``amd64``."""
    return _NAMES.get(platform.machine(), platform.machine())
