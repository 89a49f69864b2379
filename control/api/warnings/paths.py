"""What is warned of in volumes that put two files at one place. Pure.

Source: k8s.io/kubernetes/pkg/api/pod/warnings.go
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Wire = Mapping[str, Any]

# Files of one volume that are compared with each other, so that very many cost no square of them.
_COMPARED = 64
_OF_CERTIFICATE = {
    "certificateChainPath": "PodCertificate chain",
    "keyPath": "PodCertificate key",
    "credentialBundlePath": "PodCertificate credential bundle",
}


@dataclass(frozen=True, slots=True)
class VolumeFile:
    """A file of a volume, and where it comes from; empty if the volume has one source."""

    path: str
    source: str = ""

    def __str__(self) -> str:
        return f'"{self.path}" ({self.source})' if self.source else f'"{self.path}"'


def of_paths(volume: Wire) -> Iterator[str]:
    """Yield the warnings about the paths in one volume of a Pod."""
    named = f'volume "{volume.get("name", "")}"'
    for title, files in _files(volume):
        for one, other in _overlapping(files):
            yield f"{named} ({title}): overlapping paths: {one} with {other}"
    for source in (volume.get("projected") or {}).get("sources") or ():
        if not source:
            yield f"{named} (Projected) has no sources provided"


def _files(volume: Wire) -> Iterator[tuple[str, list[VolumeFile]]]:
    """Yield the sources of a volume, as warnings call them, with their files."""
    if found := volume.get("configMap"):
        yield f'ConfigMap "{found.get("name", "")}"', [*_items(found, "")]
    if found := volume.get("secret"):
        yield f'Secret "{found.get("secretName", "")}"', [*_items(found, "")]
    if found := volume.get("downwardAPI"):
        yield "DownwardAPI", [*_items(found, "")]
    if found := volume.get("projected"):
        sources = found.get("sources") or ()
        yield "Projected", [file for source in sources for file in _projected(source)]


def _items(source: Wire, title: str) -> Iterator[VolumeFile]:
    for item in source.get("items") or ():
        yield VolumeFile(item.get("path", ""), title)


def _projected(source: Wire) -> Iterator[VolumeFile]:
    for name, title in (("configMap", "ConfigMap"), ("secret", "Secret")):
        if found := source.get(name):
            yield from _items(found, f'{title} "{found.get("name", "")}"')
    yield from _items(source.get("downwardAPI") or {}, "DownwardAPI")
    if found := source.get("serviceAccountToken"):
        yield VolumeFile(found.get("path", ""), "ServiceAccountToken")
    if found := source.get("clusterTrustBundle"):
        name = found.get("name") or found.get("signerName") or ""
        yield VolumeFile(found.get("path", ""), f'ClusterTrustBundle "{name}"')
    for field, title in _OF_CERTIFICATE.items():
        if path := (source.get("podCertificate") or {}).get(field):
            yield VolumeFile(path, title)


def _overlapping(files: Iterable[VolumeFile]) -> Iterator[tuple[VolumeFile, VolumeFile]]:
    """Yield each file with the earlier ones that are it, above it or below it."""
    seen: list[VolumeFile] = []
    for given in files:
        file = VolumeFile(given.path.rstrip("/"), given.source)
        for other in seen:
            if file.path and other.path and _is_nested(f"{file.path}/", f"{other.path}/"):
                yield file, other
        if len(seen) < _COMPARED:
            seen.append(file)


def _is_nested(one: str, other: str) -> bool:
    return one.startswith(other) or other.startswith(one)
