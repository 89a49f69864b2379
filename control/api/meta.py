"""meta.k8s.io/v1: the metadata of every object, and the Status of a response."""

from typing import Any

from pydantic import Field

from control.api.base import Model


class OwnerReference(Model):
    """The owner of an object; the garbage collector deletes the object after its owner."""

    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool | None = None
    block_owner_deletion: bool | None = None


class ObjectMeta(Model):
    """Identity, owners and times of one object. Times are RFC 3339, UTC, in seconds."""

    name: str = ""
    generate_name: str | None = None
    namespace: str | None = None
    uid: str = ""
    resource_version: str = ""
    generation: int | None = None
    creation_timestamp: str | None = None
    deletion_timestamp: str | None = None
    deletion_grace_period_seconds: int | None = None
    labels: dict[str, str] = {}
    annotations: dict[str, str] = {}
    owner_references: list[OwnerReference] = []
    finalizers: list[str] = []
    managed_fields: list[dict[str, Any]] | None = None
    self_link: str | None = None


class LabelSelectorRequirement(Model):
    """One expression: ``operator`` is In, NotIn, Exists or DoesNotExist."""

    key: str
    operator: str
    values: list[str] = []


class LabelSelector(Model):
    """A selector that matches if all its conditions hold; an empty one matches everything."""

    match_labels: dict[str, str] = {}
    match_expressions: list[LabelSelectorRequirement] = []


class Condition(Model):
    """One observed condition of an object: ``status`` is True, False or Unknown."""

    type: str
    status: str
    reason: str | None = None
    message: str | None = None
    last_transition_time: str | None = None
    last_update_time: str | None = None
    last_heartbeat_time: str | None = None
    last_probe_time: str | None = None
    observed_generation: int | None = None


class StatusCause(Model):
    """One cause of an error, at one field."""

    reason: str | None = None
    message: str | None = None
    field: str | None = None


class StatusDetails(Model):
    """The object that a Status is about."""

    name: str | None = None
    group: str | None = None
    kind: str | None = None
    uid: str | None = None
    causes: list[StatusCause] = []
    retry_after_seconds: int | None = None


class Status(Model):
    """The response to a request that returns no object; every error is a Status."""

    api_version: str = "v1"
    kind: str = "Status"
    metadata: dict[str, Any] = {}
    status: str | None = None
    message: str | None = None
    reason: str | None = None
    details: StatusDetails | None = None
    code: int | None = None


class Object(Model):
    """The fields of every kind; a kind adds spec, status or data."""

    api_version: str = ""
    kind: str = ""
    metadata: ObjectMeta = Field(default_factory=ObjectMeta)

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name); the namespace of a cluster-scoped object is empty."""
        return self.metadata.namespace or "", self.metadata.name

    @property
    def uid(self) -> str:
        """The UID, which no other object ever has."""
        return self.metadata.uid

    @property
    def resource_version(self) -> str:
        """The store's version at the object's last change."""
        return self.metadata.resource_version
