"""No part of podwire has more rights than upstream's default roles and ``rights.yaml`` give it.

``upstream_roles.txt`` says what kube-apiserver 1.36.2 grants. What is granted beside it has to be
in the manifest that makes podwire's parts run on such a server.
"""

import hashlib
from collections.abc import Iterator, Mapping
from itertools import product
from pathlib import Path
from typing import Any

import yaml

from control.server.access.default_roles import default_roles
from lab.dns import role

ROLES = Path(__file__).with_name("upstream_roles.txt")
RIGHTS = Path(__file__).parents[4] / "examples/upstream/rights.yaml"
# Podwire's DNS reads EndpointSlices, as CoreDNS, which brings a role of its own for them.
MORE = {("ClusterRole", "", "system:kube-dns")}
# Of the manifest of metrics-server, whose part podwire's API server takes.
METRICS = ("ClusterRole", "", "system:aggregated-metrics-reader")
Name = tuple[str, str, str]
Permissions = frozenset[tuple[str, str, str, str]]


def permissions(role: Mapping[str, Any]) -> Permissions:
    """Return each verb, group, resource and name of a role; the group of a path is ``url``."""
    return frozenset(one for rule in role.get("rules") or [] for one in _of(rule))


def _of(rule: Mapping[str, Any]) -> Iterator[tuple[str, str, str, str]]:
    names = rule.get("resourceNames") or [""]
    for verb in rule["verbs"]:
        yield from ((verb, "url", path, "") for path in rule.get("nonResourceURLs") or [])
        groups, resources = rule.get("apiGroups") or [], rule.get("resources") or []
        yield from ((verb, *each) for each in product(groups, resources, names))


def digest(found: Permissions) -> str:
    return hashlib.sha256(repr(sorted(found)).encode()).hexdigest()[:16]


def own() -> dict[Name, Permissions]:
    roles = (wire for _, wire in default_roles() if wire["kind"] in ("Role", "ClusterRole"))
    return {
        (role["kind"], role["metadata"].get("namespace", ""), role["metadata"]["name"]): (
            permissions(role)
        )
        for role in roles
        if "aggregationRule" not in role
    }


def upstream() -> dict[Name, str]:
    rows = [line.split() for line in ROLES.read_text().splitlines() if not line.startswith("#")]
    return {(kind, space.strip("-"), name): given for kind, space, name, given in rows}


def rights() -> dict[Name, Permissions]:
    objects = yaml.safe_load_all(RIGHTS.read_text())
    return {
        (each["kind"], each["metadata"].get("namespace", ""), each["metadata"]["name"]): (
            permissions(each)
        )
        for each in objects
        if each["kind"] in ("Role", "ClusterRole")
    }


def test_each_default_role_permits_what_upstreams_does():
    found = {name: digest(granted) for name, granted in own().items() if name not in MORE}
    wanted = {name: given for name, given in upstream().items() if name not in MORE}
    assert {name: found.get(name) for name in wanted} == wanted


def test_what_is_granted_beside_upstreams_roles_is_in_the_manifest():
    extra = {name: granted for name, granted in own().items() if name not in upstream()}
    extra.pop(METRICS)
    given = rights()
    coredns = given.pop(("ClusterRole", "", "system:coredns"))
    assert extra == given
    assert permissions(role()) == coredns
