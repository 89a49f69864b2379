"""The kinds of role-based access control: roles, and bindings that give them to users."""

from pydantic import Field

from control.api.base import Model
from control.api.meta import LabelSelector, Object

GROUP = "rbac.authorization.k8s.io"


class PolicyRule(Model):
    """Verbs that are allowed on resources, or on paths; ``*`` stands for all."""

    verbs: list[str] = []
    api_groups: list[str] = []
    resources: list[str] = []
    resource_names: list[str] = []
    paths: list[str] = Field(default=[], alias="nonResourceURLs")


class AggregationRule(Model):
    """The ClusterRoles whose rules a ClusterRole collects."""

    cluster_role_selectors: list[LabelSelector] = []


class Role(Object):
    """rbac.authorization.k8s.io/v1 Role: rules within its namespace."""

    rules: list[PolicyRule] = []


class ClusterRole(Object):
    """rbac.authorization.k8s.io/v1 ClusterRole: rules for the cluster, or for bound namespaces."""

    rules: list[PolicyRule] = []
    aggregation_rule: AggregationRule | None = None


class Subject(Model):
    """A user, a group or a ServiceAccount; only the last has a namespace."""

    kind: str = ""
    api_group: str | None = None
    name: str = ""
    namespace: str | None = None


class RoleRef(Model):
    """The Role or ClusterRole that a binding gives."""

    api_group: str = ""
    kind: str = ""
    name: str = ""


class RoleBinding(Object):
    """rbac.authorization.k8s.io/v1 RoleBinding: gives a role within its namespace."""

    subjects: list[Subject] = []
    role_ref: RoleRef = Field(default_factory=RoleRef)


class ClusterRoleBinding(Object):
    """rbac.authorization.k8s.io/v1 ClusterRoleBinding: gives a ClusterRole everywhere."""

    subjects: list[Subject] = []
    role_ref: RoleRef = Field(default_factory=RoleRef)
