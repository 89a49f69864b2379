"""What may refuse a write after it is computed, by its user and both versions of the object."""

from typing import Protocol

from control.server.wire.item import Item
from control.server.wire.request import ApiRequest


class WriteGuard(Protocol):
    """Refuses writes that admission allows but the user may not make."""

    def check(self, request: ApiRequest, old: Item | None, new: bytes | None) -> None:
        """Refuse a write; raises StatusError (403).

        ``old`` is None for a creation, ``new`` (the encoded object) is None for a deletion.
        """


class NoGuard:
    """Refuses nothing."""

    def check(self, request: ApiRequest, old: Item | None, new: bytes | None) -> None:
        """Return at once."""
