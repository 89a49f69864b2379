"""The protocol of the values that an informer caches."""

from typing import TYPE_CHECKING, Protocol

from typing_extensions import TypeVar

if TYPE_CHECKING:
    from control.api.meta import Object


class Cacheable(Protocol):
    """An API object, or the part of one that a reader needs."""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""

    @property
    def uid(self) -> str:
        """The object's UID; a later object of the same name has another one."""

    @property
    def resource_version(self) -> str:
        """The object's version, which grows with every change (KEP-5504)."""


CachedT = TypeVar("CachedT", bound=Cacheable, covariant=True, default="Object")
