"""Namespaces hold their Pods to a level of the Pod Security Standards."""

from typing import Any

import pytest

from control.api.podsecurity import LEVELS, violations
from tests.support.control.requests import MERGE, Api, deployment, pod

LABEL = "pod-security.kubernetes.io/"
GOOD = {
    "allowPrivilegeEscalation": False,
    "runAsNonRoot": True,
    "capabilities": {"drop": ["ALL"]},
    "seccompProfile": {"type": "RuntimeDefault"},
}


def spec(context: dict[str, Any] | None = None, **more: Any) -> dict[str, Any]:
    """A Pod's spec that every level allows but for what is given."""
    container = {"name": "c", "image": "i", "securityContext": GOOD | (context or {})}
    return {"containers": [container | more.pop("container", {})]} | more


def host_path(name: str) -> dict[str, Any]:
    return {"name": name, "hostPath": {"path": "/"}}


PROBE = {"livenessProbe": {"httpGet": {"port": 80, "host": "192.0.2.1"}}}
PORT = {"ports": [{"containerPort": 80, "hostPort": 8080}]}
# (what is given, what is said at baseline, what is said at restricted)
CASES = [
    (spec(), "", ""),
    (
        spec({"privileged": True}),
        'privileged (container "c" must not set securityContext.privileged=true)',
        None,
    ),
    (
        spec(hostNetwork=True, hostPID=True),
        "host namespaces (hostNetwork=true, hostPID=true)",
        None,
    ),
    (
        spec(volumes=[host_path("a"), host_path("b")]),
        'hostPath volumes (volumes "a", "b")',
        'restricted volume types (volumes "a", "b" use restricted volume type "hostPath")',
    ),
    (spec(container=PORT), 'hostPort (container "c" uses hostPort 8080)', None),
    (
        spec(container=PROBE),
        'probe or lifecycle host (container "c" uses probe or lifecycle host "192.0.2.1")',
        None,
    ),
    (
        spec({"capabilities": {"drop": ["ALL"], "add": ["NET_ADMIN"]}}),
        'non-default capabilities (container "c" must not include "NET_ADMIN" in'
        " securityContext.capabilities.add)",
        'unrestricted capabilities (container "c" must not include "NET_ADMIN" in'
        " securityContext.capabilities.add)",
    ),
    (
        spec({"capabilities": {"add": ["CHOWN"]}}),
        "",
        'unrestricted capabilities (container "c" must set'
        ' securityContext.capabilities.drop=["ALL"]; container "c" must not include "CHOWN" in'
        " securityContext.capabilities.add)",
    ),
    (spec({"capabilities": {"drop": ["ALL"], "add": ["NET_BIND_SERVICE"]}}), "", ""),
    (
        spec({"procMount": "Unmasked"}),
        'procMount (container "c" must not set securityContext.procMount to "Unmasked")',
        None,
    ),
    (
        spec({"seccompProfile": {"type": "Unconfined"}}),
        'seccompProfile (container "c" must not set securityContext.seccompProfile.type to'
        ' "Unconfined")',
        None,
    ),
    (
        spec({"seccompProfile": None}),
        "",
        'seccompProfile (pod or container "c" must set securityContext.seccompProfile.type to'
        ' "RuntimeDefault" or "Localhost")',
    ),
    (
        spec({"seccompProfile": None}, securityContext={"seccompProfile": {"type": "Localhost"}}),
        "",
        "",
    ),
    (
        spec(securityContext={"seLinuxOptions": {"type": "spc_t", "user": "u"}}),
        'seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: type "spc_t"; user may'
        " not be set)",
        None,
    ),
    (
        spec(securityContext={"sysctls": [{"name": "kernel.msgmax", "value": "1"}]}),
        "forbidden sysctls (kernel.msgmax)",
        None,
    ),
    (
        spec({"appArmorProfile": {"type": "Unconfined"}}),
        'forbidden AppArmor profile (container "c" must not set AppArmor profile type to'
        ' "Unconfined")',
        None,
    ),
    (
        spec({"allowPrivilegeEscalation": None}),
        "",
        'allowPrivilegeEscalation != false (container "c" must set'
        " securityContext.allowPrivilegeEscalation=false)",
    ),
    (
        spec({"runAsNonRoot": None}),
        "",
        'runAsNonRoot != true (pod or container "c" must set securityContext.runAsNonRoot=true)',
    ),
    (spec({"runAsNonRoot": None}, securityContext={"runAsNonRoot": True}), "", ""),
    (
        spec({"runAsNonRoot": False}, securityContext={"runAsNonRoot": True}),
        "",
        'runAsNonRoot != true (container "c" must not set securityContext.runAsNonRoot=false)',
    ),
    (
        spec(securityContext={"runAsUser": 0}),
        "",
        "runAsUser=0 (pod must not set runAsUser=0)",
    ),
]


@pytest.mark.parametrize(("given", "baseline", "restricted"), CASES)
def test_each_check_says_what_upstreams_says(
    given: dict[str, Any], baseline: str, restricted: str | None
) -> None:
    assert violations(given, "privileged") == ""
    assert violations(given, "baseline") == baseline
    assert violations(given, "restricted") == (baseline if restricted is None else restricted)


@pytest.mark.parametrize("part", ["initContainers", "ephemeralContainers"])
def test_other_containers_are_checked_too(part: str) -> None:
    other = {"name": "o", "image": "i", "securityContext": GOOD | {"privileged": True}}
    assert violations(spec(**{part: [other]}), "baseline").startswith('privileged (container "o"')


def test_the_usual_pod_violates_the_restricted_level_in_upstreams_words() -> None:
    plain = {"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]}
    assert violations(plain, "restricted") == (
        'allowPrivilegeEscalation != false (containers "a", "b" must set'
        " securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers"
        ' "a", "b" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod'
        ' or containers "a", "b" must set securityContext.runAsNonRoot=true), seccompProfile (pod'
        ' or containers "a", "b" must set securityContext.seccompProfile.type to "RuntimeDefault"'
        ' or "Localhost")'
    )


async def named(api: Api, **labels: str) -> str:
    """Make a namespace with these labels, and return its path."""
    given = {f"{LABEL}{name.replace('_', '-')}": value for name, value in labels.items()}
    await api.make("/api/v1/namespaces", {"metadata": {"name": "safe", "labels": given}})
    return "/api/v1/namespaces/safe"


async def test_a_namespace_refuses_pods_that_violate_its_level(api: Api) -> None:
    path = await named(api, enforce="baseline", enforce_version="v1.30")
    refused = await api("POST", f"{path}/pods", pod(hostNetwork=True))
    assert (refused.code, refused["message"]) == (
        403,
        'pods "p" is forbidden: violates PodSecurity "baseline:v1.30": host namespaces'
        " (hostNetwork=true)",
    )
    assert (await api("POST", f"{path}/pods?dryRun=All", pod(hostNetwork=True))).code == 403
    assert (await api("POST", f"{path}/pods", pod())).code == 201


async def test_writers_are_warned_of_pods_and_workloads(api: Api) -> None:
    path = await named(api, warn="restricted")
    made = await api("POST", f"{path}/pods", pod())
    assert made.code == 201
    assert 'would violate PodSecurity \\"restricted:latest\\": allow' in made.warnings[0]
    workloads = path.replace("/api/v1", "/apis/apps/v1")
    assert (await api("POST", f"{workloads}/deployments", deployment())).warnings
    scaled = await api("PATCH", f"{workloads}/deployments/d", {"spec": {"replicas": 2}}, MERGE)
    assert (scaled.code, len(scaled.warnings)) == (200, 1)


async def test_without_a_label_everything_is_allowed_silently(api: Api) -> None:
    made = await api("POST", "/api/v1/namespaces/default/pods", pod(hostNetwork=True))
    assert (made.code, made.warnings) == (201, ())


async def test_a_label_names_a_level_and_a_version(api: Api) -> None:
    bad = {"metadata": {"name": "a", "labels": {f"{LABEL}enforce": "strict"}}}
    reply = await api("POST", "/api/v1/namespaces", bad)
    assert reply.code == 422
    assert f"must be one of {', '.join(LEVELS)}" in reply["message"]
    path = await named(api, enforce="baseline")
    change = {"metadata": {"labels": {f"{LABEL}enforce-version": "newest"}}}
    assert (await api("PATCH", path, change, MERGE)).code == 422
