"""The extension servers that serve groups of the API, as APIServices name them.

Values only: ``control/server/aggregation`` asks the servers and carries requests to them.
Source: https://kubernetes.io/docs/concepts/extend-kubernetes/api-extension/apiserver-aggregation/
"""

import binascii
from base64 import b64decode
from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct, field

_PORT = 443
GroupVersion = tuple[str, str]


class Extension(Struct, frozen=True):
    """One group and version that a Service serves; ``authority`` is PEM, empty for the system's.

    ``unverified`` leaves the server's certificate unchecked. The priorities order groups and the
    versions of one group, the highest first.
    """

    name: str
    group: str
    version: str
    namespace: str
    service: str
    port: int = _PORT
    authority: bytes = b""
    unverified: bool = False
    group_priority: int = 0
    version_priority: int = 0
    uid: str = ""

    @property
    def group_version(self) -> GroupVersion:
        """Return (group, version)."""
        return self.group, self.version

    @property
    def path(self) -> str:
        """Return the path of the resources."""
        return f"/apis/{self.group}/{self.version}"

    @property
    def host(self) -> str:
        """Return the name that the server's certificate must have."""
        return f"{self.service}.{self.namespace}.svc"


class Discovered(Struct, frozen=True):
    """What an extension server says of a group and version.

    ``resources`` are those of an ``APIVersionDiscovery``. ``schema`` is the hash of its OpenAPI v3
    document; None if it has none.
    """

    resources: tuple[dict[str, Any], ...] = ()
    fresh: bool = False
    schema: str | None = None


class Extensions(Struct):
    """All extensions by group and version, which of them answer, and what they say."""

    by_version: dict[GroupVersion, Extension] = field(default_factory=dict)
    available: set[GroupVersion] = field(default_factory=set)
    discovered: dict[GroupVersion, Discovered] = field(default_factory=dict)
    priorities: dict[GroupVersion, tuple[int, int]] = field(default_factory=dict)

    def replace(self, wires: Iterable[Mapping[str, Any]]) -> None:
        """Take the present APIServices."""
        self.by_version, self.available, self.priorities = {}, set(), {}
        for wire in wires:
            spec = wire.get("spec") or {}
            at = spec.get("group") or "", spec.get("version") or ""
            self.priorities[at] = (
                spec.get("groupPriorityMinimum") or 0,
                spec.get("versionPriority") or 0,
            )
            if (extension := read(wire)) is None:
                continue
            self.by_version[at] = extension
            if is_available(wire):
                self.available.add(at)
        for gone in self.discovered.keys() - self.by_version.keys():
            del self.discovered[gone]

    def at(self, path: str) -> Extension | None:
        """Return the extension that serves a path; None if this server does."""
        if not self.by_version or not path.startswith("/apis/"):
            return None
        parts = path.split("/", 4)
        return self.by_version.get((parts[2], parts[3])) if len(parts) > 3 else None

    def said(self, at: GroupVersion) -> Discovered:
        """Return what is known of a group and version."""
        return self.discovered.get(at, Discovered())


def read(wire: Mapping[str, Any]) -> Extension | None:
    """Return the extension of an APIService; None if this server itself serves it."""
    spec = wire.get("spec") or {}
    service = spec.get("service")
    if not service or not spec.get("group"):
        return None
    try:
        authority = b64decode(spec.get("caBundle") or "", validate=True)
    except (binascii.Error, ValueError):
        authority = b"no PEM"  # stored by somebody else: no certificate is right
    return Extension(
        wire["metadata"]["name"],
        spec["group"],
        spec.get("version") or "",
        service.get("namespace") or "",
        service.get("name") or "",
        service.get("port") or _PORT,
        authority,
        bool(spec.get("insecureSkipTLSVerify")),
        spec.get("groupPriorityMinimum") or 0,
        spec.get("versionPriority") or 0,
        wire["metadata"].get("uid") or "",
    )


def condition_of(wire: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the condition Available of an APIService; an empty one if it has none."""
    conditions = (wire.get("status") or {}).get("conditions") or ()
    return next((each for each in conditions if each.get("type") == "Available"), {})


def is_available(wire: Mapping[str, Any]) -> bool:
    """Return True if an APIService's server answers."""
    return condition_of(wire).get("status") == "True"
