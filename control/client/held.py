"""What an informer can keep: anything that says which object it stands for."""

from typing import Protocol

from typing_extensions import TypeVar

from control.api.meta import Object


class Held(Protocol):
    """An API object, or what its reader needs of one."""

    @property
    def key(self) -> tuple[str, str]:
        """(namespace, name)."""

    @property
    def uid(self) -> str:
        """No two objects ever have the same, though one may follow another under its name."""

    @property
    def resource_version(self) -> str:
        """Grows with every change (KEP-5504)."""


Kept = TypeVar("Kept", bound=Held, covariant=True, default=Object)
