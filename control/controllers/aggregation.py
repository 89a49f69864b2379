"""ClusterRoleAggregation: collects the rules of the ClusterRoles that an aggregationRule selects.

Source: k8s.io/kubernetes/pkg/controller/clusterroleaggregation
"""

from collections.abc import Iterable, Iterator

from control.api import kinds
from control.api.meta import Object
from control.api.rbac import ClusterRole, PolicyRule
from control.api.selectors import selects
from control.client.cache import Key
from control.controllers.actions import Action, Update
from control.controllers.loop import Source
from control.controllers.state import ClusterState


def _every(cluster: ClusterState, _: Object) -> Iterator[Key]:
    """Yield every role that collects: a changed role may have left or joined any of them."""
    for role in cluster[kinds.CLUSTER_ROLE]:
        if role.aggregation_rule is not None:
            yield role.key


class AggregationController:
    """Writes the rules of aggregated ClusterRoles."""

    component = "clusterrole-aggregation-controller"
    sources = (Source(kinds.CLUSTER_ROLE, _every),)

    def reconcile(self, cluster: ClusterState, key: Key, now: float) -> Iterator[Action]:
        """Update the role ``key`` if the roles that it collects have other rules."""
        del now
        role = cluster[kinds.CLUSTER_ROLE].get(*key)
        if role is None or role.aggregation_rule is None:
            return
        rules = collected(role, cluster[kinds.CLUSTER_ROLE])
        if rules != role.rules:
            yield Update(kinds.CLUSTER_ROLE, role.model_copy(update={"rules": rules}))


def collected(role: ClusterRole, known: Iterable[ClusterRole]) -> list[PolicyRule]:
    """Return the rules of the selected roles, in the order of their names, each once."""
    selectors = role.aggregation_rule.cluster_role_selectors if role.aggregation_rule else []
    found: dict[str, PolicyRule] = {}
    for other in sorted(known, key=lambda other: other.metadata.name):
        if other.key != role.key and any(selects(s, other.metadata.labels) for s in selectors):
            found |= {rule.model_dump_json(): rule for rule in other.rules}
    return list(found.values())
