"""ServiceAccount admission: give a new Pod its account's token and image pull secrets. Pure.

Source: https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/ and
k8s.io/kubernetes/plugin/pkg/admission/serviceaccount
"""

from collections.abc import Mapping
from typing import Any

from control.api.kinds import SERVICE_ACCOUNT
from control.server.state.server import ServerState
from control.server.verbs.prepare import generated_name
from control.server.wire.info import storage_key
from control.server.wire.item import Wire

_PATH = "/var/run/secrets/kubernetes.io/serviceaccount"
_ROOT_CA = "kube-root-ca.crt"
_SECONDS = 3607  # upstream's: by it, a server knows the tokens that it has asked for itself
_MODE = 0o644
_MIRROR = "kubernetes.io/config.mirror"
_CONTAINERS = ("containers", "initContainers")


def is_mirror(pod: Mapping[str, Any]) -> bool:
    """Return True for the mirror of a static Pod, which has no account."""
    return _MIRROR in pod["metadata"].get("annotations", {})


def refused_mirror(spec: Wire) -> str:
    """Return why a mirror may not be created: its node wrote it, and must gain nothing by it."""
    if spec.get("serviceAccountName"):
        return "a mirror pod may not reference service accounts"
    volumes = spec.get("volumes") or []
    sources = [each for v in volumes for each in v.get("projected", {}).get("sources") or []]
    if any("secret" in each for each in (*volumes, *sources)):
        return "a mirror pod may not reference secrets"
    if any("serviceAccountToken" in each for each in sources):
        return "a mirror pod may not use ServiceAccountToken volume projections"
    return ""


def complete(state: ServerState, namespace: str, spec: Wire) -> Wire:
    """Return a Pod's spec with what its account gives; an account that is absent gives a token."""
    key = storage_key(SERVICE_ACCOUNT, namespace, spec["serviceAccountName"])
    item = state.cache.of(SERVICE_ACCOUNT).get(key)
    account = item.wire if item is not None else {}
    if not spec.get("imagePullSecrets") and account.get("imagePullSecrets"):
        spec = spec | {"imagePullSecrets": list(account["imagePullSecrets"])}
    if state.config.mounts_tokens and _mounts(spec, account):
        return _with_token(spec)
    return spec


def _mounts(spec: Wire, account: Mapping[str, Any]) -> bool:
    """Return True unless the Pod, or else its account, wants no token."""
    wanted = spec.get("automountServiceAccountToken")
    return bool(account.get("automountServiceAccountToken", True) if wanted is None else wanted)


def _with_token(spec: Wire) -> Wire:
    """Mount the token into each container that mounts nothing at its path."""
    name = generated_name("kube-api-access-")
    mount = {"name": name, "readOnly": True, "mountPath": _PATH}
    made = dict(spec)
    for part in _CONTAINERS:
        if part in spec:
            made[part] = [_mounted(container, mount) for container in spec[part]]
    if all(made.get(part) == spec.get(part) for part in _CONTAINERS):
        return spec
    return made | {"volumes": [*spec.get("volumes", []), _volume(name)]}


def _mounted(container: Wire, mount: Wire) -> Wire:
    present = container.get("volumeMounts", [])
    if any(other.get("mountPath") == _PATH for other in present):
        return container
    return container | {"volumeMounts": [*present, mount]}


def _volume(name: str) -> Wire:
    namespace = {"apiVersion": "v1", "fieldPath": "metadata.namespace"}
    sources = [
        {"serviceAccountToken": {"expirationSeconds": _SECONDS, "path": "token"}},
        {"configMap": {"name": _ROOT_CA, "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        {"downwardAPI": {"items": [{"path": "namespace", "fieldRef": namespace}]}},
    ]
    return {"name": name, "projected": {"sources": sources, "defaultMode": _MODE}}
