"""What is asked about a write from outside the server: webhooks, and policies in CEL.

The implementation is ``control/server/admission``. A write that nothing is asked about pays for
one look at the configurations, which are in the watch cache.
"""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from control.api.kind import Kind
from control.server.wire.request import ApiRequest

if TYPE_CHECKING:
    from control.server.state.server import ServerState

Wire = dict[str, Any]
CREATE, UPDATE, DELETE, CONNECT = "CREATE", "UPDATE", "DELETE", "CONNECT"


class Change(Struct, frozen=True):
    """An object before and after a write, with the managers of its fields; None for none.

    ``kind`` is what the objects are: of a subresource it may be another one than the resource's.
    """

    kind: Kind
    new: Wire | None = None
    old: Mapping[str, Any] | None = None


class Review(Protocol):
    """What is asked about one write."""

    @property
    def mutates(self) -> bool:
        """True if the object may be changed."""

    async def mutate(self, change: Change) -> Wire | None:
        """Return the object as it should become; raises StatusError if it is refused."""

    async def validate(self, change: Change) -> None:
        """Raise StatusError if the final object is refused."""


class Gate(Protocol):
    """Says what is asked about a write."""

    def review(self, state: "ServerState", request: ApiRequest, operation: str) -> Review | None:
        """Return what is asked about a write on a resource; None for nothing."""


class OpenGate:
    """Asks nothing."""

    def review(self, state: "ServerState", request: ApiRequest, operation: str) -> Review | None:
        """Return None."""
        del state, request, operation
        return None


async def admitted(
    state: "ServerState", request: ApiRequest, operation: str, change: Change
) -> Wire | None:
    """Ask all there is about a write that needs nothing in between; raises StatusError."""
    review = state.gate.review(state, request, operation)
    if review is None:
        return change.new
    new = await review.mutate(change) if review.mutates else change.new
    await review.validate(Change(change.kind, new, change.old))
    return new
