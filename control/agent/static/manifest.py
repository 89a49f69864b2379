"""Reads the file of a static Pod, as kubelet does: defaults, checks, name and UID. Pure.

Source: k8s.io/kubernetes/pkg/kubelet/config, applyDefaults and tryDecodeSinglePod
"""

import hashlib
import re
from datetime import UTC, datetime
from typing import Any

import orjson
import yaml

from control.agent.pods.static import CONFIG_HASH, CONFIG_SEEN, CONFIG_SOURCE, StaticPod
from control.agent.static.references import references
from control.api import kinds
from control.api.defaults.pod import default_pod
from control.api.errors import errors_in_new
from control.api.types.conform import conform
from control.api.types.scalars import WrongTypeError

Wire = dict[str, Any]

MOST_BYTES = 1 << 20
_MOST_LEVELS = 60
_FOLDER = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,61}[A-Za-z0-9])?")
_TOLERATION = {"operator": "Exists", "effect": "NoExecute"}
_TIME = "tag:yaml.org,2002:timestamp"


class ManifestError(ValueError):
    """A file is not the manifest of a Pod that can be a static one; the text says why."""


class _Loader(yaml.CSafeLoader):
    """Reads times as the texts that they are in JSON."""

    yaml_implicit_resolvers = {
        first: [it for it in known if it[0] != _TIME]
        for first, known in yaml.CSafeLoader.yaml_implicit_resolvers.items()
    }


def parse(raw: bytes, file: str, node: str, now: float) -> StaticPod:
    """Return the Pod of a file (YAML or JSON) on a node; raises ManifestError."""
    wire = _conformed(_load(raw))
    if not wire["metadata"].get("name"):
        raise ManifestError("invalid pod: name is needed for the pod")
    made = _of_node(wire, file, node, now)
    if named := next(references(made["spec"]), None):
        raise ManifestError(f"static pods may not reference {named}")
    pod = StaticPod.parse(default_pod(made))
    if errors := errors_in_new(kinds.POD, pod):
        raise ManifestError(f"invalid pod: {'; '.join(map(str, errors[:10]))}")
    return pod


def _load(raw: bytes) -> Any:
    if len(raw) > MOST_BYTES:
        raise ManifestError(f"it has over {MOST_BYTES >> 20} MiB")
    try:
        _bound(raw)
        return yaml.load(raw, Loader=_Loader)  # noqa: S506  a CSafeLoader: it makes plain values
    except (yaml.YAMLError, UnicodeError, ValueError) as err:
        raise ManifestError(f"it is no YAML: {' '.join(str(err).split())[:300]}") from err


def _bound(raw: bytes) -> None:
    """Refuse what makes much of a small text, or calls too deep; raises YAMLError."""
    depth = 0
    for event in yaml.parse(raw, Loader=yaml.CSafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent)
        depth -= isinstance(event, yaml.CollectionEndEvent)
        if depth > _MOST_LEVELS:
            raise yaml.YAMLError(f"it is nested over {_MOST_LEVELS} levels deep")
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError("it has an alias (*NAME): write the value out")


def _conformed(value: Any) -> Wire:
    if not isinstance(value, dict) or (value.get("apiVersion"), value.get("kind")) != ("v1", "Pod"):
        raise ManifestError("it is no object of apiVersion v1 and kind Pod")
    try:
        wire, _ = conform(kinds.POD, value)
    except WrongTypeError as err:
        raise ManifestError(f"invalid pod: {err}") from err
    return {"metadata": {}, "spec": {}, **wire}


def _of_node(wire: Wire, file: str, node: str, now: float) -> Wire:
    """Return a Pod with what makes it this node's; raises ManifestError."""
    meta, spec = wire["metadata"], wire["spec"]
    uid = meta.get("uid") or _uid(wire, file, node)
    if not _FOLDER.fullmatch(uid):  # its folders have this name
        raise ManifestError(
            "invalid pod: metadata.uid: use at most 63 letters, digits, '-' and '.'"
        )
    notes = {CONFIG_HASH: uid, CONFIG_SEEN: _moment(now), CONFIG_SOURCE: "file"}
    others = [it for it in spec.get("tolerations", ()) if it != _TOLERATION]
    return wire | {
        "metadata": meta
        | {
            "name": f"{meta['name']}-{node}",
            "namespace": meta.get("namespace") or "default",
            "uid": uid,
            "annotations": meta.get("annotations", {}) | notes,
        },
        "spec": spec | {"nodeName": node, "tolerations": [*others, _TOLERATION]},
        "status": {"phase": "Pending"},
    }


def _uid(wire: Wire, file: str, node: str) -> str:
    """Return a UID that another content, file or node does not have."""
    content = orjson.dumps(wire, option=orjson.OPT_SORT_KEYS)
    marks = f"host:{node}file:{file}".encode()
    return hashlib.sha256(content + marks).hexdigest()[:32]


def _moment(now: float) -> str:
    return datetime.fromtimestamp(now, UTC).isoformat().replace("+00:00", "Z")
