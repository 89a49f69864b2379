"""Create and correct the roles and bindings that every cluster has, from ``roles.txt``.

As upstream's at each start: what is missing comes back, what an administrator has added stays. An
object whose annotation ``rbac.authorization.kubernetes.io/autoupdate`` is not ``true`` is left
alone. Source: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#auto-reconciliation
"""

import asyncio
from collections.abc import Iterator
from functools import cache, partial
from importlib.resources import files
from itertools import chain
from typing import Any

from control.api.kinds import CLUSTER_ROLE, CLUSTER_ROLE_BINDING, ROLE, ROLE_BINDING, Kind
from control.api.rbac import GROUP
from control.server.state.server import ServerState
from control.server.verbs.create import make
from control.server.verbs.modify import Edited, modify
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.item import Item, Wire
from control.server.wire.request import SELF, SERVER_AGENT, ApiRequest

_AUTO = "rbac.authorization.kubernetes.io/autoupdate"
_AGGREGATE = "rbac.authorization.k8s.io/aggregate-to-"
_CONTROLLER = "system:controller:"
_VERBS = {
    "read": ("get", "list", "watch"),
    "write": ("create", "delete", "deletecollection", "patch", "update"),
}
Default = tuple[Kind, Wire]


async def ensure_roles(state: ServerState) -> None:
    """Create or correct the default roles and bindings; raises StatusError, StoreError."""
    await state.cache.fresh()
    await asyncio.gather(*(_ensure(state, kind, wanted) for kind, wanted in default_roles()))


async def _ensure(state: ServerState, kind: Kind, wanted: Wire) -> None:
    metadata = wanted["metadata"]
    namespace, name = metadata.get("namespace", ""), metadata["name"]
    info = RequestInfo("update", kind, namespace, name)
    request = ApiRequest(info, SELF, agent=SERVER_AGENT)
    item = state.cache.of(kind).get(storage_key(kind, namespace, name))
    if item is None:
        try:
            await make(state, request, wanted)
        except StatusError as err:
            if err.code != 409:  # another API server has created it
                raise
    elif item.wire["metadata"].get("annotations", {}).get(_AUTO) == "true":
        await modify(state, request, partial(_correct, wanted))


def _correct(wanted: Wire, _state: ServerState, _request: ApiRequest, old: Item) -> Edited:
    return Edited(_corrected(old, wanted))


def _corrected(old: Item, wanted: Wire) -> Wire:
    """Return an object with what it lacks of its default; rules that it has besides stay."""
    wire = old.fresh()
    wire["metadata"].pop("resourceVersion")
    labels = wire["metadata"].get("labels", {})
    wire["metadata"]["labels"] = labels | wanted["metadata"]["labels"]
    for part in ("rules", "subjects"):
        if part in wanted and "aggregationRule" not in wanted:
            present = wire.get(part) or []
            wire[part] = [*present, *(each for each in wanted[part] if each not in present)]
    if "aggregationRule" in wanted:
        wire["aggregationRule"] = wanted["aggregationRule"]
    return wire


@cache
def default_roles() -> tuple[Default, ...]:
    """Return every default role and binding; those that refer to others come last."""
    text = files(__package__).joinpath("roles.txt").read_text()
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    roles = list(_roles([line for line in lines if not line.startswith("Bind ")]))
    bindings = [_binding(line.split()[1:]) for line in lines if line.startswith("Bind ")]
    names = [wire["metadata"]["name"] for kind, wire in roles if kind is CLUSTER_ROLE]
    accounts = [name for name in names if name.startswith(_CONTROLLER)]
    bindings += [_binding([name, f"account:{name.removeprefix(_CONTROLLER)}"]) for name in accounts]
    return (*roles, *bindings)


def _roles(lines: list[str]) -> Iterator[Default]:
    role: Wire = {}
    for line in [*lines, "end"]:
        if line.startswith(" "):
            role["rules"].append(_rule(*line.split()))
            continue
        if role:
            yield (ROLE if role["kind"] == "Role" else CLUSTER_ROLE), role
        if line != "end":
            role = _begun(*line.split())


def _begun(kind: str, *words: str) -> Wire:
    namespace, words = (words[0], words[1:]) if kind == "Role" else ("", words)
    name, *marks = words
    labels = {f"{_AGGREGATE}{mark[1:]}": "true" for mark in marks if mark[0] == "+"}
    made = _object(kind, namespace, name, labels) | {"rules": []}
    for mark in marks:
        if mark[0] == "=":
            selector = {"matchLabels": {f"{_AGGREGATE}{mark[1:]}": "true"}}
            made["aggregationRule"] = {"clusterRoleSelectors": [selector]}
    return made


def _object(kind: str, namespace: str, name: str, labels: dict[str, str]) -> Wire:
    metadata: dict[str, Any] = {
        "name": name,
        "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"} | labels,
        "annotations": {_AUTO: "true"},
    }
    if namespace:
        metadata["namespace"] = namespace
    return {"kind": kind, "apiVersion": f"{GROUP}/v1", "metadata": metadata}


def _rule(verbs: str, group: str, resources: str, names: str = "") -> Wire:
    each = chain.from_iterable(_VERBS.get(verb, (verb,)) for verb in verbs.split(","))
    made: Wire = {"verbs": sorted(each)}
    if group == "url":
        return made | {"nonResourceURLs": resources.split(",")}
    made["apiGroups"] = ["" if one == "core" else one for one in group.split(",")]
    made["resources"] = resources.split(",")
    return made | ({"resourceNames": names.split(",")} if names else {})


def _binding(words: list[str]) -> Default:
    """Read ``NAME SUBJECT...`` (of the cluster) or ``NAMESPACE NAME ROLE SUBJECT...``."""
    namespaced = len(words) > 2 and ":" not in words[0]
    namespace, name, role, *subjects = words if namespaced else ["", words[0], *words]
    kind = "Role" if namespaced else "ClusterRole"
    made = _object(f"{kind}Binding", namespace, name, {})
    made["roleRef"] = {"apiGroup": GROUP, "kind": kind, "name": role}
    made["subjects"] = [_subject(*subject.split(":", 1)) for subject in subjects]
    return (ROLE_BINDING if namespaced else CLUSTER_ROLE_BINDING), made


def _subject(kind: str, name: str) -> Wire:
    if kind == "account":
        return {"kind": "ServiceAccount", "name": name, "namespace": "kube-system"}
    return {"kind": kind.capitalize(), "apiGroup": GROUP, "name": name}
