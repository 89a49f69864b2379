"""Which objects of the API a Pod names; a static Pod names none. Pure.

Source: k8s.io/kubernetes/pkg/api/pod, HasAPIObjectReference
"""

from collections.abc import Iterator
from typing import Any

Wire = dict[str, Any]

_CONTAINERS = ("containers", "initContainers", "ephemeralContainers")
_ENV = {"configMapKeyRef": "configmaps", "secretKeyRef": "secrets"}
_ENV_FROM = {"configMapRef": "configmaps", "secretRef": "secrets"}
_VOLUMES = {
    "configMap": "configmaps (via configmap volumes)",
    "secret": "secrets (via secret volumes)",
    "csi": "csidrivers (via CSI volumes)",
    "glusterfs": "endpoints (via glusterFS volumes)",
    "persistentVolumeClaim": "persistentvolumeclaims",
    "ephemeral": "persistentvolumeclaims (via ephemeral volumes)",
    "azureFile": "secrets (via azureFile volumes)",
}
_PROJECTED = {
    "configMap": "configmaps (via projected volumes)",
    "secret": "secrets (via projected volumes)",
    "serviceAccountToken": "serviceaccounts (via projected volumes)",
    "clusterTrustBundle": "clustertrustbundles",
    "podCertificate": "podcertificates",
}
_SECRET = ("secretRef", "secretName")  # of volumes of the field's older kinds


def references(spec: Wire) -> Iterator[str]:
    """Yield the kind of each object that a Pod's spec names, in upstream's words."""
    if spec.get("serviceAccountName"):
        yield "serviceaccounts"
    if spec.get("imagePullSecrets"):
        yield "secrets"
    for part in _CONTAINERS:
        for container in spec.get(part, ()):
            yield from _of_container(container)
    if spec.get("resourceClaims"):
        yield "resourceclaims"
    for volume in spec.get("volumes", ()):
        yield from _of_volume(volume)


def _of_container(container: Wire) -> Iterator[str]:
    for source in container.get("envFrom", ()):
        yield from (kind for name, kind in _ENV_FROM.items() if name in source)
    for variable in container.get("env", ()):
        source = variable.get("valueFrom", {})
        yield from (kind for name, kind in _ENV.items() if name in source)


def _of_volume(volume: Wire) -> Iterator[str]:
    yield from (kind for name, kind in _VOLUMES.items() if name in volume)
    for source in volume.get("projected", {}).get("sources", ()):
        yield from (kind for name, kind in _PROJECTED.items() if name in source)
    for source in volume.values():
        if isinstance(source, dict) and any(source.get(name) for name in _SECRET):
            yield "secrets"
