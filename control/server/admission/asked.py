"""A write about which somebody is asked, in every version that its resource has."""

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from msgspec.structs import replace

from control.api.kind import Kind
from control.server.admission.rules import Target
from control.server.state.gate import CONNECT, CREATE, DELETE, UPDATE, Change
from control.server.wire.request import ApiRequest, User

Wire = dict[str, Any]
_OPTIONS = {CREATE: "CreateOptions", UPDATE: "UpdateOptions", DELETE: "DeleteOptions"}
_QUERY = ("fieldManager", "fieldValidation")


@dataclass(frozen=True, slots=True)
class Asked:
    """A write: what it does, both objects, and who does it.

    ``labels`` are those of the namespace, None if no namespace selects. ``resource`` is the kind of
    the resource in the URL; ``versions`` are all kinds that show the same objects.
    """

    target: Target
    change: Change
    user: User
    resource: Kind
    labels: Mapping[str, str] | None = None
    dry_run: bool = False
    options: Wire | None = None
    versions: tuple[Kind, ...] = field(default=())

    def targets(self) -> Iterator[Target]:
        """Yield the request on every other version of its resource."""
        for kind in self.versions:
            if kind is not self.resource:
                yield self.target.as_of(kind.group, kind.version, kind.plural)

    @property
    def kind(self) -> Kind:
        """The kind of the objects as the client sent them."""
        own = self.change.kind
        return self.resource if own in self.versions else own

    def kind_at(self, target: Target) -> Kind:
        """Return the kind of the objects in the version that a target names."""
        if self.change.kind is not self.resource:
            return self.change.kind  # of a subresource: it has one version
        wanted = target.group, target.version
        return next((it for it in self.versions if (it.group, it.version) == wanted), self.resource)

    def with_new(self, new: Wire | None) -> "Asked":
        """Return the same write of another object."""
        return dataclasses.replace(self, change=replace(self.change, new=new))


def target_of(request: ApiRequest, operation: str) -> Target:
    """Return what a request does."""
    info = request.info
    kind = info.kind
    namespace = info.namespace
    if (kind.group, kind.plural) == ("", "namespaces"):
        namespace = info.name  # as upstream's attributes
    return Target(
        operation, kind.group, kind.version, kind.plural, info.subresource, namespace, info.name
    )


def options_of(request: ApiRequest, operation: str) -> Wire | None:
    """Return the options of a request, such as CreateOptions."""
    if operation == CONNECT:
        return None
    name = "PatchOptions" if request.info.verb == "patch" else _OPTIONS[operation]
    made: Wire = {"kind": name, "apiVersion": "meta.k8s.io/v1"}
    made |= {key: request.query[key] for key in _QUERY if request.query.get(key)}
    if request.dry_run:
        made["dryRun"] = ["All"]
    if operation == DELETE and isinstance(given := request.body.value, dict):
        made |= {key: value for key, value in given.items() if key not in made}
    return made
