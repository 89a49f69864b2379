"""Who may what: roles and bindings, the default ones, and what users may grant."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from control.api.kinds import CLUSTER_ROLE, KINDS
from control.api.rbac import ClusterRole
from control.controllers.aggregation import collected
from control.server.access.attributes import AccessAttributes
from control.server.access.authz import Authorizer
from control.server.access.default_roles import default_roles, ensure_roles
from control.server.wire.request import User
from tests.support.control.guarded import ALL, Guarded, guarded_server
from tests.support.control.kubectls import Kubectl
from tests.support.control.requests import CORE, MERGE
from tests.support.control.secured import secured_server

RBAC = "/apis/rbac.authorization.k8s.io/v1"
MINE = f"{RBAC}/namespaces/default"
READ = ("get", "list", "watch")
WRITE = ("create", "update", "patch", "delete", "deletecollection")
ALICE = {"kind": "User", "name": "alice"}
ROBOT = {"kind": "ServiceAccount", "name": "robot", "namespace": "default"}
PODS = {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}


@pytest.fixture
async def server() -> AsyncIterator[Guarded]:
    async with guarded_server("RBAC") as made:
        yield made


def role(*rules: dict[str, Any], name: str = "r", **more: Any) -> dict[str, Any]:
    return {"metadata": {"name": name}, "rules": list(rules)} | more


def binding(name: str, role: str, *subjects: dict[str, Any], kind: str = "Role") -> dict[str, Any]:
    return {
        "metadata": {"name": name},
        "roleRef": {"kind": kind, "name": role},
        "subjects": list(subjects),
    }


async def allowed(server: Guarded, user: str, verb: str, resource: str, **more: str) -> bool:
    spec = {"user": user, "resourceAttributes": {"verb": verb, "resource": resource} | more}
    path = "/apis/authorization.k8s.io/v1/subjectaccessreviews"
    return bool((await server.make(path, {"spec": spec}))["status"]["allowed"])


# Refusals


@pytest.mark.parametrize(
    ("method", "path", "message"),
    [
        (
            "GET",
            f"{CORE}/pods",
            'pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the'
            ' namespace "default"',
        ),
        (
            "GET",
            "/api/v1/nodes/n",
            'nodes "n" is forbidden: User "alice" cannot get resource "nodes" in API group "" at'
            " the cluster scope",
        ),
        (
            "GET",
            f"{CORE}/pods/p/log",
            'pods "p" is forbidden: User "alice" cannot get resource "pods/log" in API group "" in'
            ' the namespace "default"',
        ),
        (
            "POST",
            "/apis/apps/v1/namespaces/default/deployments",
            'deployments.apps is forbidden: User "alice" cannot create resource "deployments" in'
            ' API group "apps" in the namespace "default"',
        ),
        ("GET", "/readyz/ping", 'forbidden: User "alice" cannot get path "/readyz/ping"'),
        (
            "POST",
            "/apis/authentication.k8s.io/v1/tokenreviews",
            'tokenreviews.authentication.k8s.io is forbidden: User "alice" cannot create resource'
            ' "tokenreviews" in API group "authentication.k8s.io" at the cluster scope',
        ),
        (
            "GET",
            "/apis/nope.io/v1/foos",
            'foos.nope.io is forbidden: User "alice" cannot list resource "foos" in API group'
            ' "nope.io" at the cluster scope',
        ),
        (
            "GET",
            f"{CORE}/foos/f",
            'foos "f" is forbidden: User "alice" cannot get resource "foos" in API group "" in the'
            ' namespace "default"',
        ),
        (
            "PUT",
            f"{CORE}/pods",
            'pods is forbidden: User "alice" cannot update resource "pods" in API group "" in the'
            ' namespace "default"',
        ),
    ],
)
async def test_a_refusal_has_upstreams_words(
    server: Guarded, method: str, path: str, message: str
) -> None:
    reply = await server("alice", method, path, {} if method == "POST" else None)
    assert (reply.code, reply["reason"], reply["message"]) == (403, "Forbidden", message)


async def test_only_who_may_ask_hears_that_a_kind_is_absent(server: Guarded) -> None:
    rules = {"verbs": ["list"], "apiGroups": ["nope.io"], "resources": ["foos"]}
    await server.make(f"{MINE}/roles", role(rules))
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE))
    path = "/apis/nope.io/v1/namespaces/default"
    codes = [(await server("alice", "GET", f"{path}/{name}")).code for name in ("foos", "bars")]
    assert codes == [404, 403]


async def test_a_binding_to_an_absent_role_is_named_in_refusals(server: Guarded) -> None:
    await server.make(f"{MINE}/rolebindings", binding("b", "gone", ALICE))
    reply = await server("alice", "GET", f"{CORE}/pods")
    assert reply["message"].endswith(
        'in the namespace "default": RBAC: role.rbac.authorization.k8s.io "gone" not found'
    )


async def test_without_credentials_there_are_health_and_version(server: Guarded) -> None:
    codes = {
        path: (await server.api("GET", path)).code
        for path in ("/livez", "/readyz", "/healthz", "/version", "/api", "/metrics", CORE)
    }
    assert codes == {
        "/livez": 200,
        "/readyz": 200,
        "/healthz": 200,
        "/version": 200,
        "/api": 401,
        "/metrics": 401,
        CORE: 401,
    }


# Roles and bindings


async def test_an_account_without_a_namespace_is_of_its_bindings(server: Guarded) -> None:
    """Charts write it so."""
    robot = {"kind": "ServiceAccount", "name": "robot"}
    await server.make(f"{MINE}/roles", role(PODS))
    await server.make(f"{MINE}/rolebindings", binding("b", "r", robot))
    assert (await server("system:serviceaccount:default:robot", "GET", f"{CORE}/pods")).code == 200
    everywhere = binding("b", "view", robot, kind="ClusterRole")
    refused = await server("root", "POST", f"{RBAC}/clusterrolebindings", everywhere)
    assert refused.code == 422
    assert "subjects[0].namespace: Required value" in refused["message"]


async def test_a_role_counts_in_its_namespace_from_its_binding_to_its_end(server: Guarded) -> None:
    await server.make("/api/v1/namespaces", {"metadata": {"name": "other"}})
    await server.make(f"{MINE}/roles", role(PODS))
    assert (await server("alice", "GET", f"{CORE}/pods")).code == 403
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE, ROBOT))
    assert (await server("alice", "GET", f"{CORE}/pods")).code == 200
    robot = "system:serviceaccount:default:robot"
    assert (await server(robot, "GET", f"{CORE}/pods")).code == 200
    assert (await server("bob", "GET", f"{CORE}/pods")).code == 403
    assert (await server("alice", "GET", "/api/v1/namespaces/other/pods")).code == 403
    assert (await server("alice", "GET", "/api/v1/pods")).code == 403
    assert (await server("alice", "DELETE", f"{CORE}/pods/p")).code == 403
    assert (await server("root", "DELETE", f"{MINE}/rolebindings/b")).code == 200
    assert (await server("alice", "GET", f"{CORE}/pods")).code == 403


async def test_a_cluster_role_is_bound_everywhere_or_in_a_namespace(server: Guarded) -> None:
    await server.make("/api/v1/namespaces", {"metadata": {"name": "other"}})
    await server.make(f"{RBAC}/clusterroles", role(PODS))
    bound = binding("b", "r", ALICE, kind="ClusterRole")
    await server.make(f"{MINE}/rolebindings", bound)
    assert (await server("alice", "GET", f"{CORE}/pods")).code == 200
    assert (await server("alice", "GET", "/api/v1/namespaces/other/pods")).code == 403
    team = binding("b", "r", {"kind": "Group", "name": "team"}, kind="ClusterRole")
    await server.make(f"{RBAC}/clusterrolebindings", team)
    assert (await server("bob", "GET", "/api/v1/pods")).code == 200


NAMED = {"resources": ["pods"], "resourceNames": ["a"]}
RULES = [
    ({"resources": ["*"]}, "get", {"resource": "secrets", "name": "s"}, True),
    ({"resources": ["*"]}, "get", {"resource": "pods", "subresource": "log"}, True),
    ({"resources": ["pods"]}, "get", {"resource": "pods", "subresource": "log"}, False),
    ({"resources": ["pods/log"]}, "get", {"resource": "pods", "subresource": "log"}, True),
    ({"resources": ["pods/log"]}, "get", {"resource": "pods"}, False),
    ({"resources": ["*/scale"]}, "get", {"resource": "pods", "subresource": "scale"}, True),
    ({"resources": ["*/scale"]}, "get", {"resource": "pods"}, False),
    (NAMED, "get", {"resource": "pods"}, False),
    (
        NAMED,
        "get",
        {"resource": "pods", "name": "a"},
        True,
    ),
    (
        NAMED,
        "get",
        {"resource": "pods", "name": "b"},
        False,
    ),
    ({"resources": ["pods"], "apiGroups": ["*"]}, "get", {"resource": "pods", "group": "x"}, True),
    ({"resources": ["pods"]}, "get", {"resource": "pods", "group": "x"}, False),
    ({"resources": ["pods"], "verbs": ["*"]}, "dance", {"resource": "pods"}, True),
    ({"resources": ["pods"]}, "list", {"resource": "pods"}, False),
]


@pytest.mark.parametrize(("rule", "verb", "asked", "expected"), RULES)
async def test_what_a_rule_allows(
    server: Guarded, rule: dict[str, Any], verb: str, asked: dict[str, str], expected: bool
) -> None:
    whole = {"verbs": ["get"], "apiGroups": [""]} | rule
    await server.make(f"{RBAC}/clusterroles", role(whole))
    await server.make(f"{RBAC}/clusterrolebindings", binding("b", "r", ALICE, kind="ClusterRole"))
    assert await allowed(server, "alice", verb, **asked) is expected


async def test_a_list_of_one_name_needs_a_rule_for_that_name(server: Guarded) -> None:
    one = {"verbs": ["list", "watch"], "apiGroups": [""], "resources": ["configmaps"]}
    await server.make(f"{MINE}/roles", role(one | {"resourceNames": ["a"]}))
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE))
    named = f"{CORE}/configmaps?fieldSelector=metadata.name%3D"
    assert (await server("alice", "GET", f"{named}a")).code == 200
    assert (await server("alice", "GET", f"{named}b")).code == 403
    assert (await server("alice", "GET", f"{CORE}/configmaps")).code == 403


async def test_a_role_ref_never_changes(server: Guarded) -> None:
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE))
    path, patch = f"{MINE}/rolebindings/b", {"roleRef": {"name": "other"}}
    header = {"Authorization": "Bearer root"}
    reply = await server.api("PATCH", path, patch, MERGE, **header)
    assert reply.code == 422
    assert "cannot change roleRef" in reply["message"]


# The default roles

SCHEDULER, PROXY = "system:kube-scheduler", "system:kube-proxy"
MAY: dict[str, dict[str, tuple[str, ...]]] = {
    SCHEDULER: {
        "pods": ("delete", *READ),
        "pods/binding": ("create",),
        "pods/status": ("patch", "update"),
        "nodes": READ,
        "namespaces": READ,
        "services": READ,
        "events": ("create", "patch", "update"),
        "replicasets": READ,
        "leases": ("create",),
    },
    PROXY: {
        "services": ("list", "watch"),
        "endpoints": ("list", "watch"),
        "endpointslices": ("list", "watch"),
        "nodes": READ,
        "events": ("create", "patch", "update"),
        # podwire's own role, for NetworkPolicies
        "pods": ("list", "watch"),
        "namespaces": ("list", "watch"),
    },
    "system:serviceaccount:kube-system:replicaset-controller": {
        "pods": ("create", "delete", "list", "patch", "watch"),
        "replicasets": ("get", "list", "update", "watch"),
        "replicasets/status": ("update",),
        "events": ("create", "patch", "update"),
    },
    "alice": {},
}


# The kinds that the table is about.
CHECKED = (
    *("namespaces", "nodes", "pods", "services", "endpoints", "configmaps", "secrets"),
    *("serviceaccounts", "events", "endpointslices", "leases", "deployments", "replicasets"),
    *("daemonsets", "controllerrevisions", "roles", "clusterroles", "rolebindings"),
    "clusterrolebindings",
)


@pytest.mark.parametrize("user", MAY)
async def test_each_part_may_do_what_upstream_lets_it_do_with_each_kind(
    server: Guarded, user: str
) -> None:
    authorizer = Authorizer(server.state.cache, ("RBAC",))
    found: dict[str, tuple[str, ...]] = {}
    for kind in (kind for kind in KINDS if kind.plural in CHECKED):
        for resource in (kind.plural, *(f"{kind.plural}/{sub}" for sub in ("status", "binding"))):
            plural, _, sub = resource.partition("/")
            verbs = tuple(
                verb
                for verb in sorted((*READ, *WRITE))
                if authorizer.decide(
                    User(user, (ALL,)), AccessAttributes(verb, kind.group, plural, sub, "default")
                ).allowed
            )
            if verbs:
                found[resource] = verbs
    assert found == {resource: tuple(sorted(verbs)) for resource, verbs in MAY[user].items()}


async def test_default_roles_come_back_and_additions_stay(server: Guarded) -> None:
    path = f"{RBAC}/clusterroles/system:discovery"
    found = (await server("root", "GET", path)).body
    extra = {"verbs": ["get"], "nonResourceURLs": ["/extra"]}
    changed = found | {"rules": [extra]}
    assert (await server("root", "PUT", path, changed)).code == 200
    assert (await server("root", "DELETE", f"{RBAC}/clusterroles/view")).code == 200
    await ensure_roles(server.state)
    assert (await server("root", "GET", path))["rules"] == [extra, *found["rules"]]
    assert (await server("root", "GET", f"{RBAC}/clusterroles/view")).code == 200


async def test_a_large_default_role_comes_back(server: Guarded) -> None:
    path = f"{RBAC}/clusterroles/system:discovery"
    found = (await server("root", "GET", path)).body
    found["metadata"]["annotations"]["note"] = "x" * 200_000
    assert (await server("root", "PUT", path, found | {"rules": []})).code == 200
    await ensure_roles(server.state)
    assert (await server("root", "GET", path))["rules"] == found["rules"]


async def test_a_default_role_without_autoupdate_is_left_alone(server: Guarded) -> None:
    path = f"{RBAC}/clusterroles/system:discovery"
    found = (await server("root", "GET", path)).body
    found["metadata"]["annotations"]["rbac.authorization.kubernetes.io/autoupdate"] = "false"
    assert (await server("root", "PUT", path, found | {"rules": []})).code == 200
    await ensure_roles(server.state)
    assert (await server("root", "GET", path))["rules"] == []


def test_aggregated_roles_collect_upstreams_rules() -> None:
    roles = {
        wire["metadata"]["name"]: ClusterRole.parse(wire)
        for kind, wire in default_roles()
        if kind is CLUSTER_ROLE
    }
    for name in ("view", "edit", "admin"):  # each collects the one before
        rules = collected(roles[name], roles.values())
        roles[name] = roles[name].model_copy(update={"rules": rules})
    may = {
        name: any("secrets" in rule.resources and "get" in rule.verbs for rule in roles[name].rules)
        for name in ("view", "edit", "admin")
    }
    assert may == {"view": False, "edit": True, "admin": True}
    assert len(roles["admin"].rules) > len(roles["edit"].rules) > len(roles["view"].rules) > 8


# Escalation


async def test_nobody_grants_what_he_does_not_have(server: Guarded) -> None:
    roles = {"verbs": ["*"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"]}
    # "*" would be all verbs, also "escalate" and "bind"
    roles["verbs"] = ["create", "get", "update", "delete"]
    await server.make(f"{MINE}/roles", role(roles, PODS, name="author"))
    await server.make(f"{MINE}/rolebindings", binding("author", "author", ALICE))
    assert (await server("alice", "POST", f"{MINE}/roles", role(PODS))).code == 201
    more = {"verbs": ["get", "delete"], "apiGroups": [""], "resources": ["pods"]}
    reply = await server("alice", "POST", f"{MINE}/roles", role(more, name="more"))
    assert (reply.code, reply["message"]) == (
        403,
        'roles.rbac.authorization.k8s.io "more" is forbidden: user "alice"'
        ' (groups=["system:authenticated"]) is attempting to grant RBAC permissions not currently'
        ' held:\n{APIGroups:[""], Resources:["pods"], Verbs:["delete" "get"]}',
    )
    held = (await server("alice", "GET", f"{MINE}/roles/r")).body
    assert (await server("alice", "PUT", f"{MINE}/roles/r", held | {"rules": [more]})).code == 403
    admin = binding("b", "cluster-admin", ALICE, kind="ClusterRole")
    assert (await server("alice", "POST", f"{MINE}/rolebindings", admin)).code == 403
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE), "alice")
    gone = await server("alice", "POST", f"{MINE}/rolebindings", binding("c", "gone", ALICE))
    assert gone.code == 404


async def test_escalate_and_bind_are_permissions(server: Guarded) -> None:
    roles = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]}
    verbs = {"verbs": ["create", "escalate", "bind"]}
    await server.make(f"{MINE}/roles", role(roles | verbs, name="author"))
    await server.make(f"{MINE}/rolebindings", binding("author", "author", ALICE))
    every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    assert (await server("alice", "POST", f"{MINE}/roles", role(every))).code == 201
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE), "alice")
    assert (await server("alice", "GET", f"{CORE}/secrets")).code == 200


async def test_a_rule_of_very_many_permissions_is_refused_at_once(server: Guarded) -> None:
    author = {"verbs": ["create"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"]}
    await server.make(f"{MINE}/roles", role(author, name="author"))
    await server.make(f"{MINE}/rolebindings", binding("author", "author", ALICE))
    names = [f"n{number}" for number in range(100)]
    wide = {"verbs": names, "apiGroups": names, "resources": names}
    reply = await server("alice", "POST", f"{MINE}/roles", role(wide))
    assert (reply.code, "split them" in reply["message"]) == (403, True)


# Impersonation


async def test_a_user_acts_as_another_only_with_permission(server: Guarded) -> None:
    path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
    as_bob = {"Impersonate-User": "bob", "Impersonate-Group": "team"}
    refused = await server("alice", "POST", path, {}, **as_bob)
    assert (refused.code, refused["message"]) == (
        403,
        'users "bob" is forbidden: User "alice" cannot impersonate resource "users" in API group'
        ' "" at the cluster scope',
    )
    made = await server("root", "POST", path, {}, **as_bob, **{"Impersonate-Extra-scopes": "x"})
    assert made["status"]["userInfo"] == {
        "username": "bob",
        "groups": ["team", "system:authenticated"],
        "extra": {"scopes": ["x"]},
    }
    robot = await server(
        "root", "POST", path, {}, **{"Impersonate-User": "system:serviceaccount:default:robot"}
    )
    assert robot["status"]["userInfo"]["groups"] == [
        "system:serviceaccounts",
        "system:serviceaccounts:default",
        "system:authenticated",
    ]
    alone = await server("root", "POST", path, {}, **{"Impersonate-Group": "team"})
    assert alone.code == 400


async def test_an_impersonated_user_has_only_his_own_rights(server: Guarded) -> None:
    header = {"Impersonate-User": "alice"}
    assert (await server("root", "GET", f"{CORE}/secrets", **header)).code == 403


# Reviews and kubectl


AUTHORIZATION = "/apis/authorization.k8s.io/v1"
TOKENS = "/apis/authentication.k8s.io/v1/tokenreviews"


async def test_reviews_say_which_binding_allows(server: Guarded) -> None:
    await server.make(f"{MINE}/roles", role(PODS))
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE))
    spec = {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}
    path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
    status = (await server("alice", "POST", path, {"spec": spec}))["status"]
    reason = 'RBAC: allowed by RoleBinding "b/default" of Role "r" to User "alice"'
    assert status == {"allowed": True, "reason": reason}
    local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews"
    assert (await server.make(local, {"spec": spec | {"user": "alice"}}))["status"]["allowed"]
    other = {"resourceAttributes": spec["resourceAttributes"] | {"namespace": "x"}}
    paths = {"nonResourceAttributes": {"path": "/", "verb": "get"}}
    wrong = (
        (local, {"spec": other | {"user": "a"}}, 422, "must match metadata.namespace"),
        (local, {"spec": paths | {"user": "a"}}, 422, "disallowed on this kind of request"),
        (path, {"metadata": {"name": "x"}, "spec": spec}, 422, "must be empty"),
        (f"{AUTHORIZATION}/selfsubjectrulesreviews", {"spec": {}}, 400, "no namespace on request"),
        (TOKENS, {"spec": {}}, 400, "token is required for TokenReview in authentication"),
    )
    for where, body, code, said in wrong:
        refused = await server("root", "POST", where, body)
        assert (refused.code, said in refused["message"]) == (code, True), refused["message"]


async def test_kubectl_asks_and_manages_permissions(tmp_path: Path) -> None:
    async with secured_server(tmp_path, modes=("RBAC",)) as secured:
        kubectl = Kubectl(secured, "kubectl")
        assert await kubectl("auth", "can-i", "delete", "pods") == "yes\n"
        mine = ("--as", "alice", "--as-group", "system:authenticated")
        assert (await kubectl.try_("auth", "can-i", "list", "pods", *mine)).out == "no\n"
        await kubectl("create", "role", "reader", "--verb=get,list", "--resource=pods,configmaps")
        await kubectl("create", "rolebinding", "readers", "--role=reader", "--user=alice")
        assert await kubectl("auth", "can-i", "list", "pods", *mine) == "yes\n"
        assert await kubectl("get", "configmaps", "-o", "name", *mine) == ""
        refused = await kubectl.try_("get", "secrets", *mine)
        assert refused.err == (
            'Error from server (Forbidden): secrets is forbidden: User "alice" cannot list resource'
            ' "secrets" in API group "" in the namespace "default"\n'
        )
        assert "pods  " in await kubectl("auth", "can-i", "--list", *mine)
        assert "alice" in await kubectl("auth", "whoami", *mine)
        assert "Role/reader" in await kubectl("get", "rolebindings")
        assert "User  alice" in await kubectl("describe", "rolebinding", "readers")
        manifest = await kubectl("get", "role,rolebinding", "-o", "yaml")
        reconciled = await kubectl("auth", "reconcile", "-f", "-", stdin=manifest)
        assert "reconciled" in reconciled or "unchanged" in reconciled or reconciled == ""


# Speed


async def test_a_decision_among_500_roles_looks_at_few_rules(server: Guarded) -> None:
    for number in range(500):
        name = f"r{number}"
        rule = {"verbs": ["get"], "apiGroups": [""], "resources": [f"things{number}"]}
        await server.make(f"{MINE}/roles", role(rule, name=name))
        await server.make(f"{MINE}/rolebindings", binding(name, name, ALICE))
    authorizer = Authorizer(server.state.cache, ("RBAC",))
    user = User("alice", (ALL,))
    powers = authorizer.roles.powers(user, "default")
    asked = AccessAttributes("get", "", "things499", "", "default", "x")
    assert len(list(powers._naming(asked))) == 1
    assert authorizer.decide(user, asked).allowed
    assert authorizer.roles.powers(user, "default") is powers


async def test_an_apply_creates_only_for_users_who_may_create(server: Guarded) -> None:
    await server.make(
        f"{MINE}/roles", role({"apiGroups": [""], "resources": ["configmaps"], "verbs": ["patch"]})
    )
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE))
    wanted = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}
    path = f"{CORE}/configmaps/a?fieldManager=x"
    media = {"Authorization": "Bearer alice"}
    apply_patch = "application/apply-patch+yaml"
    await server.state.cache.fresh()
    refused = await server.api("PATCH", path, wanted, apply_patch, **media)
    assert (refused.code, refused["reason"]) == (403, "Forbidden")
    assert 'cannot create resource "configmaps"' in refused["message"]
    await server.make(f"{CORE}/configmaps", wanted)
    allowed = await server.api("PATCH", path, wanted, apply_patch, **media)
    assert allowed.code == 200


async def test_a_put_creates_only_for_users_who_may_create(server: Guarded) -> None:
    leases = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"], "verbs": ["update"]}
    await server.make(f"{MINE}/roles", role(leases))
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE))
    path = "/apis/coordination.k8s.io/v1/namespaces/default/leases"
    media = {"Authorization": "Bearer alice"}
    await server.state.cache.fresh()
    refused = await server.api("PUT", f"{path}/a", {"metadata": {"name": "a"}}, **media)
    assert (refused.code, refused["reason"]) == (403, "Forbidden")
    assert 'cannot create resource "leases"' in refused["message"]
    made = await server.make(path, {"metadata": {"name": "a"}})
    assert (await server.api("PUT", f"{path}/a", made, **media)).code == 200


async def test_a_put_creates_no_role_with_more_than_its_author_has(server: Guarded) -> None:
    roles = {"apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}
    await server.make(f"{MINE}/roles", role(roles | {"verbs": ["create", "update"]}))
    await server.make(f"{MINE}/rolebindings", binding("b", "r", ALICE))
    await server.state.cache.fresh()
    rule = {"apiGroups": [""], "resources": ["secrets"], "verbs": ["get"]}
    media = {"Authorization": "Bearer alice"}
    refused = await server.api("PUT", f"{MINE}/roles/x", role(rule, name="x"), **media)
    assert refused.code == 403 and "attempting to grant RBAC permissions" in refused["message"]
    assert (await server.api("PUT", f"{MINE}/roles/x", {}, **media)).code == 201
