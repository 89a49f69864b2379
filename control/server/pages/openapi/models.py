"""Models of objects that are never stored: subresources, DeleteOptions and reviews."""

from typing import Any

from pydantic import Field

from control.api.base import Model
from control.api.meta import Object
from control.api.service import ObjectReference


class ScaleSpec(Model):
    """The number of replicas wanted."""

    replicas: int | None = None


class ScaleStatus(Model):
    """The number of replicas that exist."""

    replicas: int = 0
    selector: str | None = None


class Scale(Object):
    """autoscaling/v1 Scale: the number of replicas of any kind of workload."""

    spec: ScaleSpec = Field(default_factory=ScaleSpec)
    status: ScaleStatus = Field(default_factory=ScaleStatus)


class Binding(Object):
    """core/v1 Binding: the assignment of a Pod to a node."""

    target: ObjectReference


class Preconditions(Model):
    """Conditions that a deletion requires."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(Model):
    """Options of a deletion."""

    api_version: str = ""
    kind: str = ""
    grace_period_seconds: int | None = None
    preconditions: Preconditions | None = None
    orphan_dependents: bool | None = None
    propagation_policy: str | None = None
    dry_run: list[str] = []


class Eviction(Object):
    """policy/v1 Eviction: a deletion of a Pod that may be refused."""

    delete_options: DeleteOptions | None = None


class UserInfo(Model):
    """A user with groups and UID."""

    username: str | None = None
    groups: list[str] = []
    uid: str | None = None
    extra: dict[str, list[str]] = {}


class SelfSubjectReviewStatus(Model):
    """The answer: the user that asks."""

    user_info: UserInfo | None = None


class SelfSubjectReview(Object):
    """authentication/v1 SelfSubjectReview asks: who am I?"""

    status: SelfSubjectReviewStatus = Field(default_factory=SelfSubjectReviewStatus)


class TokenReviewSpec(Model):
    """The question."""

    token: str | None = None
    audiences: list[str] = []


class TokenReviewStatus(Model):
    """The answer."""

    authenticated: bool | None = None
    user: UserInfo | None = None
    audiences: list[str] = []
    error: str | None = None


class TokenReview(Object):
    """authentication/v1 TokenReview asks: whose token is this?"""

    spec: TokenReviewSpec
    status: TokenReviewStatus = Field(default_factory=TokenReviewStatus)


class BoundObjectReference(Model):
    """The object with which a token ends."""

    kind: str | None = None
    api_version: str | None = None
    name: str | None = None
    uid: str | None = None


class TokenRequestSpec(Model):
    """The token that is asked for."""

    audiences: list[str] = []
    expiration_seconds: int | None = None
    bound_object_ref: BoundObjectReference | None = None


class TokenRequestStatus(Model):
    """The token."""

    token: str = ""
    expiration_timestamp: str | None = None


class TokenRequest(Object):
    """authentication/v1 TokenRequest asks for a token of a ServiceAccount."""

    spec: TokenRequestSpec
    status: TokenRequestStatus = Field(default_factory=TokenRequestStatus)


class ResourceAttributes(Model):
    """An action on objects."""

    verb: str | None = None
    group: str | None = None
    version: str | None = None
    resource: str | None = None
    subresource: str | None = None
    namespace: str | None = None
    name: str | None = None


class NonResourceAttributes(Model):
    """An action on a path that is not a resource."""

    verb: str | None = None
    path: str | None = None


class SelfSubjectAccessReviewSpec(Model):
    """The question; exactly one of the two is set."""

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


class SubjectAccessReviewSpec(SelfSubjectAccessReviewSpec):
    """The question about a user and an action."""

    user: str | None = None
    groups: list[str] = []
    uid: str | None = None
    extra: dict[str, list[str]] = {}


class SubjectAccessReviewStatus(Model):
    """The answer."""

    allowed: bool = False
    denied: bool | None = None
    reason: str | None = None
    evaluation_error: str | None = None


class SelfSubjectAccessReview(Object):
    """authorization/v1 SelfSubjectAccessReview asks: may I do this?"""

    spec: SelfSubjectAccessReviewSpec
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)


class SubjectAccessReview(Object):
    """authorization/v1 SubjectAccessReview asks: may this user do this?"""

    spec: SubjectAccessReviewSpec
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)


class LocalSubjectAccessReview(Object):
    """authorization/v1 LocalSubjectAccessReview asks: may this user do this in a namespace?"""

    spec: SubjectAccessReviewSpec
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)


class SelfSubjectRulesReviewSpec(Model):
    """The question about the rules in a namespace."""

    namespace: str | None = None


class SubjectRulesReviewStatus(Model):
    """The answer; ``incomplete`` if more rules may exist."""

    resource_rules: list[dict[str, Any]] = []
    non_resource_rules: list[dict[str, Any]] = []
    incomplete: bool = False
    evaluation_error: str | None = None


class SelfSubjectRulesReview(Object):
    """authorization/v1 SelfSubjectRulesReview asks: what may I do?"""

    spec: SelfSubjectRulesReviewSpec
    status: SubjectRulesReviewStatus = Field(default_factory=SubjectRulesReviewStatus)


# The (group, version) of each model that has one.
MODELS: dict[type[Object], tuple[str, str]] = {
    Scale: ("autoscaling", "v1"),
    Binding: ("", "v1"),
    Eviction: ("policy", "v1"),
    SelfSubjectReview: ("authentication.k8s.io", "v1"),
    TokenRequest: ("authentication.k8s.io", "v1"),
    TokenReview: ("authentication.k8s.io", "v1"),
    LocalSubjectAccessReview: ("authorization.k8s.io", "v1"),
    SelfSubjectAccessReview: ("authorization.k8s.io", "v1"),
    SubjectAccessReview: ("authorization.k8s.io", "v1"),
    SelfSubjectRulesReview: ("authorization.k8s.io", "v1"),
}
