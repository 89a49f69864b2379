"""Which flow requests belong to, by the schemas of every cluster. Pure."""

import pytest

from control.api import flows
from control.server.access.attributes import AccessAttributes
from control.server.fairness.schemas import in_order, schema_of
from control.server.wire.request import User

SCHEMAS = in_order(
    schema_of({"metadata": {"name": name, "uid": name}, "spec": spec})
    for name, spec in flows.schemas().items()
)
ALL = "system:authenticated"
NODE = User("system:node:n", ("system:nodes", ALL))
MANAGER = User("system:kube-controller-manager", (ALL,))
OURS = User("system:serviceaccount:kube-system:x", ("system:serviceaccounts", ALL))
THEIRS = User("system:serviceaccount:default:x", ("system:serviceaccounts", ALL))
ALICE = User("alice", (ALL,))
LEASE = AccessAttributes("update", "coordination.k8s.io", "leases", namespace="kube-node-lease")


@pytest.mark.parametrize(
    ("user", "asked", "flow"),
    [
        (User("root", ("system:masters", ALL)), LEASE, ("exempt", "exempt", "")),
        (ALICE, AccessAttributes("get", path="/healthz"), ("probes", "exempt", "")),
        (NODE, LEASE, ("system-node-high", "node-high", NODE.name)),
        (
            NODE,
            AccessAttributes("patch", "", "nodes", "status", name="n"),
            ("system-node-high", "node-high", NODE.name),
        ),
        (
            NODE,
            AccessAttributes("patch", "", "pods", "status", "default"),
            ("system-nodes", "system", NODE.name),
        ),
        (MANAGER, LEASE, ("system-leader-election", "leader-election", MANAGER.name)),
        (
            MANAGER,
            LEASE._replace(verb="list"),
            ("kube-controller-manager", "workload-high", "kube-node-lease"),
        ),
        (OURS, LEASE, ("system-leader-election", "leader-election", OURS.name)),
        (
            OURS,
            AccessAttributes("list", "", "pods", namespace="default"),
            ("kube-system-service-accounts", "workload-high", "default"),
        ),
        (
            THEIRS,
            AccessAttributes("list", "", "pods", namespace="default"),
            ("service-accounts", "workload-low", THEIRS.name),
        ),
        (
            ALICE,
            AccessAttributes("list", "", "nodes"),
            ("global-default", "global-default", "alice"),
        ),
        (
            ALICE,
            AccessAttributes("get", path="/version"),
            ("global-default", "global-default", "alice"),
        ),
    ],
)
def test_each_request_has_its_flow(user, asked, flow) -> None:
    found = next(it for each in SCHEMAS if (it := each.flow(user, asked)))
    assert (found.schema, found.level, found.distinguisher) == flow


def test_the_first_by_precedence_then_by_name_decides() -> None:
    specs = {"b": 5, "a": 5, "c": 1, "d": 99999}
    made = in_order(
        schema_of({"metadata": {"name": name}, "spec": {"matchingPrecedence": value}})
        for name, value in specs.items()
    )
    assert [each.name for each in made] == ["c", "a", "b", "d"]


@pytest.mark.parametrize("spec", [{}, {"rules": None}, {"rules": [{"subjects": [{}]}]}])
def test_a_schema_of_nothing_fits_nothing(spec) -> None:
    assert schema_of({"metadata": {"name": "x"}, "spec": spec}).flow(ALICE, LEASE) is None


def test_every_schema_names_a_level_that_is_there() -> None:
    assert {each.level for each in SCHEMAS} == {*flows.levels()}
