"""What a conversion webhook has made of stored objects, and who asks it.

Whoever shows an object that has not been converted yet raises NotConvertedError; the request is
repeated once it is (``control/server/conversion``). Nothing of this costs kinds without a webhook.
"""

from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Protocol

from control.api.kind import Kind
from control.server.wire.item import Item, unstamped

_MOST_BYTES = 64 * 1024 * 1024
_PART = 4  # of a memo: what is stored of one piece; what is made of it may be as large thrice


class NotConvertedError(Exception):
    """Objects that a version of their kind cannot show before a webhook has converted them."""

    def __init__(self, kind: Kind, items: Sequence[Item]) -> None:
        super().__init__(f"{len(items)} {kind.plural} are not converted yet")
        self.kind = kind
        self.items = tuple(_piece(items))


def _piece(items: Sequence[Item]) -> Iterator[Item]:
    """Yield the first of these, as many as a memo has room for; the others' turn comes then."""
    left = _MOST_BYTES // _PART
    for at, item in enumerate(items):
        left -= item.size
        if at and left < 0:
            return
        yield item


class Memo:
    """The converted forms of stored objects, in one version, as long as there is room."""

    def __init__(self) -> None:
        self._known: OrderedDict[bytes, bytes] = OrderedDict()
        self._bytes = 0

    def get(self, item: Item) -> bytes | None:
        """Return an object as the version shows it; None if it is not known."""
        return self._known.get(unstamped(item))

    def put(self, stored: bytes, made: bytes) -> None:
        """Keep a form; both are without a resourceVersion."""
        if (before := self._known.pop(stored, None)) is not None:
            self._bytes -= len(stored) + len(before)
        self._known[stored] = made
        self._bytes += len(stored) + len(made)
        while self._bytes > _MOST_BYTES:
            old, new = self._known.popitem(last=False)
            self._bytes -= len(old) + len(new)


class Converter(Protocol):
    """Asks conversion webhooks."""

    async def show(self, kind: Kind, items: Sequence[Item]) -> None:
        """Convert stored objects to a version, whose memo has them then; raises StatusError."""

    async def keep(self, kind: Kind, value: bytes) -> bytes:
        """Return an object of a version as it is stored; raises StatusError (500)."""
