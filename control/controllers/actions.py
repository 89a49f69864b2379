"""The actions that controllers decide on; ``execute`` carries them out. Values only.

Actions are carried out in order. The first failure ends the round, and the next round decides anew.
Neighboring Creates, and neighboring Deletes, are sent together.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from control.api.autoscaling import HorizontalPodAutoscaler, ScaleTarget
from control.api.certificates import CertificateSigningRequest
from control.api.cluster import Namespace
from control.api.kinds import Kind
from control.api.meta import Object, OwnerReference
from control.api.pod import Pod
from control.api.quota.model import ResourceQuota
from control.controllers.autoscaler.rates import Memory
from control.controllers.autoscaler.settings import DEFAULT, AutoscalerSettings


@dataclass(frozen=True, slots=True)
class Create:
    """Create an object; ``announce`` is the owner for which an Event is recorded.

    A name for ``generateName`` is chosen once, so that a repeated request cannot make two objects.
    """

    kind: Kind
    object: Object
    announce: Object | None = None


@dataclass(frozen=True, slots=True)
class Update:
    """Replace an object; refused if it was written since (by resourceVersion)."""

    kind: Kind
    object: Object


@dataclass(frozen=True, slots=True)
class UpdateStatus:
    """Replace an object's status; refused if the object was written since."""

    kind: Kind
    object: Object


@dataclass(frozen=True, slots=True)
class Patch:
    """Change parts of an object; refused if another object has its name by now (by uid)."""

    kind: Kind
    object: Object
    patch: dict[str, Any]
    type: Literal["merge", "strategic"] = "merge"
    subresource: str = ""


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete exactly this object (by uid)."""

    kind: Kind
    object: Object
    propagation: Literal["Background", "Foreground", "Orphan"] | None = None
    grace_period_seconds: int | None = None
    announce: Object | None = None


@dataclass(frozen=True, slots=True)
class Empty:
    """Delete the contents of a namespace, report what is left, and finalize it when it is empty.

    ``now`` is the time of changed conditions; ``finalizers`` are those that then remain.
    """

    namespace: Namespace
    finalizers: tuple[str, ...]
    now: float


@dataclass(frozen=True, slots=True)
class Collect:
    """Write or delete an object, once the server has confirmed that its owners are absent.

    ``then`` is the write, or the propagation of the deletion. An owner that our informers do not
    know may still exist.
    """

    kind: Kind
    object: Object
    absent: tuple[tuple[Kind, str | None, OwnerReference], ...]
    then: Patch | UpdateStatus | Literal["Background", "Foreground", "Orphan"]


@dataclass(frozen=True, slots=True)
class Approve:
    """Write a signing request's approval, if its author may have it.

    Each choice is the spec of a SubjectAccessReview, and the request as approved; the first that
    is allowed is written.
    """

    choices: tuple[tuple[dict[str, Any], CertificateSigningRequest], ...]


@dataclass(frozen=True, slots=True)
class Recount:
    """Count what a namespace's objects of some kinds use of a quota at ``now``, and write it."""

    quota: ResourceQuota
    kinds: tuple[Kind, ...]
    now: float


@dataclass(frozen=True, slots=True)
class Autoscale:
    """Look at an autoscaler: ask for scale and metrics, scale, and write the status.

    ``kind_of`` returns the kind that a reference names, None if it is not served; ``pods`` are
    those of its namespace; ``memory`` is kept from look to look.
    """

    autoscaler: HorizontalPodAutoscaler
    kind_of: Callable[[ScaleTarget], Kind | None]
    pods: tuple[Pod, ...]
    memory: Memory
    now: float
    settings: AutoscalerSettings = DEFAULT
    others: Mapping[str, Memory] = field(default_factory=dict)  # by NAMESPACE/NAME


@dataclass(frozen=True, slots=True)
class Report:
    """Record an Event about an object."""

    about: Object
    type: Literal["Normal", "Warning"]
    reason: str
    message: str


@dataclass(frozen=True, slots=True)
class Again:
    """Reconcile this key again after some seconds, even if nothing changes."""

    after: float


Action = (
    Create
    | Update
    | UpdateStatus
    | Patch
    | Delete
    | Collect
    | Empty
    | Approve
    | Recount
    | Autoscale
    | Report
    | Again
)
