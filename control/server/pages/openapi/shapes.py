"""What the server takes and gives beside its kinds: for subresources, deletions and reviews."""

from typing import Any

from pydantic import Field

from control.api.base import Model
from control.api.meta import Object
from control.api.service import ObjectReference


class ScaleSpec(Model):
    """How many there should be."""

    replicas: int | None = None


class ScaleStatus(Model):
    """How many there are."""

    replicas: int = 0
    selector: str | None = None


class Scale(Object):
    """autoscaling/v1 Scale: the size of a workload, without knowing what it is made of."""

    spec: ScaleSpec = Field(default_factory=ScaleSpec)
    status: ScaleStatus = Field(default_factory=ScaleStatus)


class Binding(Object):
    """core/v1 Binding: a scheduler's word on which node a Pod runs."""

    target: ObjectReference


class Preconditions(Model):
    """What must hold for a deletion to be done."""

    uid: str | None = None
    resource_version: str | None = None


class DeleteOptions(Model):
    """How to delete."""

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
    """Who somebody is."""

    username: str | None = None
    groups: list[str] = []
    uid: str | None = None
    extra: dict[str, list[str]] = {}


class SelfSubjectReviewStatus(Model):
    """The answer: who asked."""

    user_info: UserInfo | None = None


class SelfSubjectReview(Object):
    """authentication/v1 SelfSubjectReview: who am I?"""

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
    """authentication/v1 TokenReview: whose token is this?"""

    spec: TokenReviewSpec
    status: TokenReviewStatus = Field(default_factory=TokenReviewStatus)


class ResourceAttributes(Model):
    """Something that somebody wants to do with objects."""

    verb: str | None = None
    group: str | None = None
    version: str | None = None
    resource: str | None = None
    subresource: str | None = None
    namespace: str | None = None
    name: str | None = None


class NonResourceAttributes(Model):
    """Something that somebody wants to do with a path that is no object's."""

    verb: str | None = None
    path: str | None = None


class SelfSubjectAccessReviewSpec(Model):
    """The question: exactly one of the two."""

    resource_attributes: ResourceAttributes | None = None
    non_resource_attributes: NonResourceAttributes | None = None


class SubjectAccessReviewSpec(SelfSubjectAccessReviewSpec):
    """The question: who wants to do what."""

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
    """authorization/v1 SelfSubjectAccessReview: may I do this?"""

    spec: SelfSubjectAccessReviewSpec
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)


class SubjectAccessReview(Object):
    """authorization/v1 SubjectAccessReview: may they do this?"""

    spec: SubjectAccessReviewSpec
    status: SubjectAccessReviewStatus = Field(default_factory=SubjectAccessReviewStatus)


class SelfSubjectRulesReviewSpec(Model):
    """The question: in which namespace?"""

    namespace: str | None = None


class SubjectRulesReviewStatus(Model):
    """The answer; incomplete if there may be more."""

    resource_rules: list[dict[str, Any]] = []
    non_resource_rules: list[dict[str, Any]] = []
    incomplete: bool = False
    evaluation_error: str | None = None


class SelfSubjectRulesReview(Object):
    """authorization/v1 SelfSubjectRulesReview: what may I do?"""

    spec: SelfSubjectRulesReviewSpec
    status: SubjectRulesReviewStatus = Field(default_factory=SubjectRulesReviewStatus)


# (group, version) of each that names its own.
SHAPES: dict[type[Object], tuple[str, str]] = {
    Scale: ("autoscaling", "v1"),
    Binding: ("", "v1"),
    Eviction: ("policy", "v1"),
    SelfSubjectReview: ("authentication.k8s.io", "v1"),
    TokenReview: ("authentication.k8s.io", "v1"),
    SelfSubjectAccessReview: ("authorization.k8s.io", "v1"),
    SubjectAccessReview: ("authorization.k8s.io", "v1"),
    SelfSubjectRulesReview: ("authorization.k8s.io", "v1"),
}
