"""Authorize nodes: each reads its own Node, its own Pods, and what those name.

A node's relations come from the Pods that are bound to it. They are read again only when a node
asks after a Pod has changed, so that no write of a Pod costs anything here. Source:
https://kubernetes.io/docs/reference/access-authn-authz/node/ and
k8s.io/kubernetes/plugin/pkg/auth/authorizer/node
"""

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from control.api.kinds import CLUSTER_ROLE, PERSISTENT_VOLUME, POD
from control.api.persistent import ephemeral_claim
from control.server.access.attributes import AccessAttributes, Verdict, selected
from control.server.access.default_roles import default_roles
from control.server.access.rbac import Powers, rule_of
from control.server.state.watch_cache import KindCache, ObjectChange, WatchCache
from control.server.wire.info import storage_key
from control.server.wire.request import User

_PREFIX, _GROUP = "system:node:", "system:nodes"
LEASES = "kube-node-lease"
_READ = ("get", "list", "watch")
_LEASE_VERBS = ("get", "create", "update", "patch", "delete")
_NAMED = ("secretRef", "nodePublishSecretRef")
_NO_OPINION = Verdict(False)
Relation = tuple[str, str, str]  # resource, namespace, name


def node_of(user: User) -> str | None:
    """Return the name of the node that a user is; None for other users."""
    if _GROUP in user.groups and user.name.startswith(_PREFIX):
        return user.name.removeprefix(_PREFIX)
    return None


@cache
def _node_powers() -> Powers:
    """Return the rules of upstream's role ``system:node``."""
    (role,) = (
        wire
        for kind, wire in default_roles()
        if kind is CLUSTER_ROLE and wire["metadata"]["name"] == "system:node"
    )
    return Powers([(rule_of(rule), "") for rule in role["rules"]], ())


class NodeAuthorizer:
    """The mode ``Node``."""

    def __init__(self, watched: WatchCache) -> None:
        self._watched = watched
        self._relations = NodeRelations(watched)
        self._special = {
            "configmaps": self._read_named,
            "leases": _lease,
            "nodes": _node,
            "persistentvolumeclaims": self._claim,
            "persistentvolumes": self._volume,
            "pods": self._pod,
            "secrets": self._read_named,
            "serviceaccounts": self._token,
        }

    def decide(self, user: User, asked: AccessAttributes) -> Verdict:
        """Return whether a node may do it; others have to ask another mode."""
        node = node_of(user)
        if node is None:
            return _NO_OPINION
        if not node:
            return Verdict(False, f'unknown node for user "{user.name}"')
        if asked.group in ("", "coordination.k8s.io") and asked.resource in self._special:
            refusal = self._special[asked.resource](node, asked)
            if refusal:
                return Verdict(False, refusal)
        return Verdict(_node_powers().verdict(asked).allowed)

    def _read_named(self, node: str, asked: AccessAttributes) -> str:
        if asked.verb not in _READ:
            return "can only read resources of this type"
        if asked.subresource:
            return "cannot read subresource"
        if not asked.namespace:
            return "can only read namespaced object of this type"
        return self._related(node, asked)

    def _claim(self, node: str, asked: AccessAttributes) -> str:
        if asked.subresource not in ("", "status"):
            return "can only update status subresource"
        return self._related(node, asked)

    def _volume(self, node: str, asked: AccessAttributes) -> str:
        """Let a node read the volumes of its Pods' claims."""
        if asked.verb != "get" or asked.subresource:
            return "can only get individual resources of this type"
        key = storage_key(PERSISTENT_VOLUME, "", asked.name)
        item = self._watched.of(PERSISTENT_VOLUME).get(key)
        ref = item.wire["spec"].get("claimRef") if item is not None else None
        if ref:
            claim = "persistentvolumeclaims", ref.get("namespace", ""), ref.get("name", "")
            if self._relations.has(node, claim):
                return ""
        return f"no relationship found between node '{node}' and this object"

    def _token(self, node: str, asked: AccessAttributes) -> str:
        if asked.verb != "create" or asked.subresource != "token" or not asked.name:
            return "can only create tokens for individual service accounts"
        return self._related(node, asked)

    def _pod(self, node: str, asked: AccessAttributes) -> str:
        if asked.verb in ("list", "watch"):
            if selected(asked.selector, "spec.nodeName") == node:
                return ""
            if not (asked.name and asked.namespace):
                return "can only list/watch pods with spec.nodeName field selector"
            return self._related(node, asked)
        return self._related(node, asked) if asked.verb == "get" else ""

    def _related(self, node: str, asked: AccessAttributes) -> str:
        if not asked.name:
            return "No Object name found"
        if self._relations.has(node, (asked.resource, asked.namespace, asked.name)):
            return ""
        return f"no relationship found between node '{node}' and this object"


def _node(node: str, asked: AccessAttributes) -> str:
    if asked.verb not in _READ or asked.name == node:
        return ""
    if not asked.name:
        return f"node '{node}' cannot read all nodes, only its own Node object"
    return f"node '{node}' cannot read '{asked.name}', only its own Node object"


def _lease(node: str, asked: AccessAttributes) -> str:
    if asked.verb not in _LEASE_VERBS:
        return "can only get, create, update, patch, or delete a node lease"
    if asked.namespace != LEASES:
        return f'can only access leases in the "{LEASES}" system namespace'
    if asked.verb != "create" and asked.name != node:
        return "can only access node lease with the same name as the requesting node"
    return ""


class NodeRelations:
    """The objects that the Pods of each node name."""

    def __init__(self, watched: WatchCache) -> None:
        self._cache = watched
        self._followed: KindCache | None = None
        self._changed: set[str] = set()
        self._pods: dict[str, tuple[str, frozenset[Relation]]] = {}  # key: (node, relations)
        self._by_node: dict[str, dict[Relation, int]] = {}

    def has(self, node: str, relation: Relation) -> bool:
        """Return True if a Pod of the node is this object, or names it."""
        if self._followed is not self._cache.of(POD):
            self._follow()
        while self._changed:
            self._update(self._changed.pop())
        return relation in self._by_node.get(node, {})

    def _follow(self) -> None:
        self._pods, self._by_node = {}, {}
        self._followed = self._cache.of(POD)
        self._followed.listeners.add(self._note)
        self._changed = {item.key for item in self._followed.items()}

    def _note(self, change: ObjectChange | None) -> None:
        if change is None:
            self._followed = None
        else:
            self._changed.add(change.item.key)

    def _update(self, key: str) -> None:
        item = self._followed.get(key) if self._followed else None
        pod = item.wire if item is not None else None
        node = pod["spec"].get("nodeName", "") if pod else ""
        found = frozenset(_relations(pod)) if pod and node else frozenset[Relation]()
        new = (node, found) if node else None
        old = self._pods.get(key)
        if old == new:
            return
        if old is not None:
            self._count(*old, -1)
            del self._pods[key]
        if new is not None:
            self._count(*new, 1)
            self._pods[key] = new

    def _count(self, node: str, relations: frozenset[Relation], step: int) -> None:
        counts = self._by_node.setdefault(node, {})
        for relation in relations:
            counts[relation] = counts.get(relation, 0) + step
            if not counts[relation]:
                del counts[relation]


def _relations(pod: Mapping[str, Any]) -> Iterator[Relation]:
    """Yield the Pod itself, and every object that it names."""
    metadata, spec = pod["metadata"], pod["spec"]
    namespace = metadata["namespace"]
    yield "pods", namespace, metadata["name"]
    for resource, name in named_in(spec):
        yield resource, namespace, name
    for volume in spec.get("volumes") or ():
        if "ephemeral" in volume:
            claim = ephemeral_claim(metadata["name"], volume.get("name", ""))
            yield "persistentvolumeclaims", namespace, claim


def named_in(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (resource, name) of every object that a Pod's spec names."""
    if account := spec.get("serviceAccountName"):
        yield "serviceaccounts", account
    yield from _of_containers(spec)
    yield from _of_volumes(spec)
    for secret in spec.get("imagePullSecrets") or ():
        yield "secrets", secret.get("name", "")


def _of_containers(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for part in ("containers", "initContainers", "ephemeralContainers"):
        for container in spec.get(part) or ():
            for source in container.get("envFrom") or ():
                yield from _names(source, "configMapRef", "secretRef")
            for variable in container.get("env") or ():
                source = variable.get("valueFrom") or {}
                yield from _names(source, "configMapKeyRef", "secretKeyRef")


def _names(source: Mapping[str, Any], config_map: str, secret: str) -> Iterator[tuple[str, str]]:
    if config_map in source:
        yield "configmaps", source[config_map].get("name", "")
    if secret in source:
        yield "secrets", source[secret].get("name", "")


def _of_volumes(spec: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for volume in spec.get("volumes") or ():
        yield from _names(volume, "configMap", "")
        for source in (volume.get("projected") or {}).get("sources") or ():
            yield from _names(source, "configMap", "secret")
        if claim := volume.get("persistentVolumeClaim"):
            yield "persistentvolumeclaims", claim.get("claimName", "")
        for source in volume.values():
            if isinstance(source, Mapping):
                yield from _secrets_of(source)


def _secrets_of(source: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the Secrets of one source of a volume, whatever its sort."""
    if name := source.get("secretName"):
        yield "secrets", name
    for field in _NAMED:
        if isinstance(found := source.get(field), Mapping):
            yield "secrets", found.get("name", "")


def pod_key(namespace: str, name: str) -> str:
    """Return the storage key of a Pod."""
    return storage_key(POD, namespace, name)
