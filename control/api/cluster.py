"""The small kinds: Namespace, ConfigMap, Secret, ServiceAccount, Event, Lease, PriorityClass."""

from typing import Any

from pydantic import Field

from control.api.base import Int32, Model
from control.api.meta import Condition, Object
from control.api.service import ObjectReference


class NamespaceSpec(Model):
    """The finalizers that delay a namespace's removal."""

    finalizers: list[str] = []


class NamespaceStatus(Model):
    """``phase`` is Active or Terminating."""

    phase: str | None = None
    conditions: list[Condition] = []


class Namespace(Object):
    """core/v1 Namespace."""

    spec: NamespaceSpec = Field(default_factory=NamespaceSpec)
    status: NamespaceStatus = Field(default_factory=NamespaceStatus)


class ConfigMap(Object):
    """core/v1 ConfigMap; ``binary_data`` is base64."""

    data: dict[str, str] = {}
    binary_data: dict[str, str] = {}
    immutable: bool | None = None


class Secret(Object):
    """core/v1 Secret; ``data`` is base64, ``string_data`` is write-only plain text."""

    data: dict[str, str] = {}
    string_data: dict[str, str] = {}
    type: str | None = None
    immutable: bool | None = None


class ServiceAccount(Object):
    """core/v1 ServiceAccount."""

    secrets: list[ObjectReference] = []
    image_pull_secrets: list[dict[str, str]] = []
    automount_service_account_token: bool | None = None


class EventSource(Model):
    """The component and host that reported an event."""

    component: str | None = None
    host: str | None = None


class Event(Object):
    """core/v1 Event: a report about ``involved_object``, repeated ``count`` times."""

    involved_object: ObjectReference = Field(default_factory=ObjectReference)
    reason: str | None = None
    message: str | None = None
    type: str | None = None
    source: EventSource | None = None
    first_timestamp: str | None = None
    last_timestamp: str | None = None
    event_time: str | None = None
    count: int | None = None
    action: str | None = None
    related: ObjectReference | None = None
    series: dict[str, Any] | None = None
    reporting_component: str | None = None
    reporting_instance: str | None = None


class LeaseSpec(Model):
    """The holder of a lease and its times, which are RFC 3339 with microseconds."""

    holder_identity: str | None = None
    lease_duration_seconds: int | None = None
    acquire_time: str | None = None
    renew_time: str | None = None
    lease_transitions: int | None = None
    strategy: str | None = None
    preferred_holder: str | None = None


class Lease(Object):
    """coordination.k8s.io/v1 Lease."""

    spec: LeaseSpec = Field(default_factory=LeaseSpec)


class PriorityClass(Object):
    """scheduling.k8s.io/v1 PriorityClass: the priority of the Pods that name it."""

    value: Int32 = 0
    global_default: bool | None = None
    description: str | None = None
    preemption_policy: str | None = None


class CustomResourceDefinition(Object):
    """The definition of a custom resource; ``control.api.custom`` reads what it says."""

    spec: dict[str, Any] = {}
    status: dict[str, Any] = {}
