"""A resource type."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Generic, Protocol, Self

from typing_extensions import TypeVar

from control.api.wire import ListPage

if TYPE_CHECKING:
    from control.api.custom.kind import CustomType
    from control.api.meta import Object


class Readable(Protocol):
    """What a kind's objects are read into: a model, or the fields that one program needs."""

    @classmethod
    def read(cls, wire: dict[str, Any]) -> Self:
        """Read a decoded JSON object without nulls; raises UnreadableError."""

    @classmethod
    def read_page(cls, body: bytes) -> ListPage[Self] | None:
        """Read a list as it came, at once; None if its objects have to be read one by one."""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""

    @property
    def uid(self) -> str:
        """The object's UID."""

    @property
    def resource_version(self) -> str:
        """The object's version."""


# ``Kind`` is any kind; ``Kind[Pod]`` is the kind whose objects are Pods.
M = TypeVar("M", bound=Readable, covariant=True, default="Object")


@dataclass(frozen=True, slots=True)
class Form:
    """How a kind shows the stored objects of another: see ``control/api/forms``."""

    stored: "Kind"
    show: Callable[[Mapping[str, Any]], dict[str, Any]]
    keep: Callable[[Mapping[str, Any]], dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Kind(Generic[M]):
    """A resource type: its names on the wire, its scope, and its model."""

    group: str  # empty for core
    version: str
    name: str  # the kind, such as "ConfigMap"
    plural: str  # the resource, such as "configmaps"
    model: type[M]
    namespaced: bool = True
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    subresources: tuple[str, ...] = ()  # those of "status" and "scale" that the kind has
    # What a CustomResourceDefinition says of the kind; None for upstream's own kinds.
    custom: "CustomType | None" = field(default=None, compare=False, repr=False)
    form: Form | None = field(default=None, compare=False, repr=False)

    @property
    def stored(self) -> "Kind":
        """The kind of the stored objects: this one, unless it is a form of another."""
        if self.form is not None:
            return self.form.stored
        return self  # type: ignore[return-value]

    def __hash__(self) -> int:
        """Hash the names that identify a kind: each request looks kinds up many times."""
        return hash((self.group, self.version, self.plural))

    @property
    def api_version(self) -> str:
        """The apiVersion: ``v1`` or ``apps/v1``."""
        return f"{self.group}/{self.version}" if self.group else self.version

    @property
    def singular(self) -> str:
        """The singular name, which kubectl also accepts."""
        return self.custom.singular if self.custom else self.name.lower()

    @property
    def list_name(self) -> str:
        """The kind of a list of such objects."""
        return self.custom.list_name if self.custom else f"{self.name}List"

    def path(self, namespace: str | None = None, name: str | None = None, sub: str = "") -> str:
        """Return the URL path of the collection, of one object, or of a subresource."""
        prefix = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        scope = f"/namespaces/{namespace}" if self.namespaced and namespace else ""
        return "/".join(part for part in (f"{prefix}{scope}/{self.plural}", name, sub) if part)
