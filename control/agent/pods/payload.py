"""The files of volumes that the API fills: ConfigMap, Secret, downwardAPI, projected. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.agent.pods.environment import Sources
from control.agent.pods.fields import Host, PodReferenceError, field, resource
from control.api import volume as api
from control.api.pod import Pod

_MODE = 0o644


@dataclass(frozen=True, slots=True)
class File:
    """One file of a volume."""

    content: bytes
    mode: int = _MODE


Payload = dict[str, File]  # by path below the volume


@dataclass(frozen=True, slots=True)
class TokenRequest:
    """A service account token that a projected volume asks for."""

    path: str
    audience: str
    seconds: int


def is_filled(volume: api.Volume) -> bool:
    """True if the volume's content comes from the API."""
    return bool(volume.config_map or volume.secret or volume.downward_api or volume.projected)


def references(pod: Pod) -> frozenset[tuple[str, str]]:
    """Return (kind, name) of every ConfigMap and Secret in the Pod's volumes."""
    found: set[tuple[str, str]] = set()
    for volume in pod.spec.volumes:
        for config_map, secret, _ in _parts(volume):
            if config_map:
                found.add(("ConfigMap", config_map.name))
            if secret:
                found.add(("Secret", secret.secret_name))
    return frozenset(found)


def tokens(pod: Pod) -> tuple[TokenRequest, ...]:
    """Return the service account tokens that the Pod's volumes ask for."""
    found = []
    for volume in pod.spec.volumes:
        for source in (volume.projected or {}).get("sources") or ():
            if wanted := source.get("serviceAccountToken"):
                seconds = int(wanted.get("expirationSeconds") or 3600)
                found.append(TokenRequest(wanted["path"], wanted.get("audience") or "", seconds))
    return tuple(found)


def payload(
    pod: Pod,
    volume: api.Volume,
    sources: Sources,
    host: Host,
    secrets: Mapping[TokenRequest, str] | None = None,
) -> Payload:
    """Return the files of one volume; raises PodReferenceError for a missing object or key."""
    files: Payload = {}
    for config_map, secret, downward in _parts(volume):
        mode = _default_mode(volume)
        if config_map:
            data = sources.get("ConfigMap", config_map.name, config_map.optional)
            files |= _keys(data, config_map.items, mode, config_map.optional, config_map.name)
        if secret:
            data = sources.get("Secret", secret.secret_name, secret.optional)
            files |= _keys(data, secret.items, mode, secret.optional, secret.secret_name)
        if downward:
            files |= _downward(pod, downward.items, mode, host)
    for wanted, token in (secrets or {}).items():
        if volume.projected and _projects(volume, wanted):
            files[_inside(wanted.path)] = File(
                token.encode(), 0o600 | (_default_mode(volume) & 0o44)
            )
    return files


_Part = tuple[api.ConfigMapVolume | None, api.SecretVolume | None, api.DownwardVolume | None]


def _parts(volume: api.Volume) -> Iterable[_Part]:
    """Yield a volume's sources; a projected volume has several, in a slightly different form."""
    if volume.projected is None:
        yield volume.config_map, volume.secret, volume.downward_api
        return
    for source in volume.projected.get("sources") or ():
        secret = dict(source["secret"]) if "secret" in source else None
        if secret is not None:
            secret["secretName"] = secret.pop("name", "")
        yield (
            api.ConfigMapVolume.parse(source["configMap"]) if "configMap" in source else None,
            api.SecretVolume.parse(secret) if secret is not None else None,
            api.DownwardVolume.parse(source["downwardAPI"]) if "downwardAPI" in source else None,
        )


def _projects(volume: api.Volume, wanted: TokenRequest) -> bool:
    sources = (volume.projected or {}).get("sources") or ()
    return any(
        (source.get("serviceAccountToken") or {}).get("path") == wanted.path for source in sources
    )


def _default_mode(volume: api.Volume) -> int:
    modes = [
        source.default_mode
        for source in (volume.config_map, volume.secret, volume.downward_api)
        if source
    ]
    if volume.projected is not None:
        modes.append(volume.projected.get("defaultMode"))
    return next((mode for mode in modes if mode is not None), _MODE)


def _keys(
    data: Mapping[str, bytes] | None,
    items: list[api.KeyToPath],
    mode: int,
    optional: bool | None,
    name: str,
) -> Payload:
    if data is None:
        return {}
    if not items:
        return {key: File(value, mode) for key, value in data.items()}
    files: Payload = {}
    for item in items:
        if item.key in data:
            own = item.mode if item.mode is not None else mode
            files[_inside(item.path)] = File(data[item.key], own)
        elif not optional:
            raise PodReferenceError(f"{name} references non-existent key: {item.key}")
    return files


def _downward(pod: Pod, items: list[api.DownwardFile], mode: int, host: Host) -> Payload:
    files: Payload = {}
    for item in items:
        own = item.mode if item.mode is not None else mode
        text = ""
        if item.field_ref:
            text = field(pod, item.field_ref.field_path, host, ())
        elif item.resource_field_ref:
            text = resource(
                pod, item.resource_field_ref.container_name or "", item.resource_field_ref, host
            )
        files[_inside(item.path)] = File(text.encode(), own)
    return files


def _inside(path: str) -> str:
    parts = path.split("/")
    if path.startswith("/") or ".." in parts or not path or parts[0].startswith(".."):
        raise PodReferenceError(f"invalid path: {path!r} must be below the volume")
    return path
