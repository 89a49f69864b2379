"""Ask conversion webhooks, and repeat what waits for their answers."""

from collections import Counter
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeVar
from uuid import uuid4

import orjson

from control.api.custom.cost import TooCostlyError
from control.api.kind import Kind
from control.api.types.scalars import WrongTypeError
from control.server.conversion.measured import (
    CALL,
    INVALID,
    MALFORMED,
    PARTIAL,
    Call,
    ConversionMetrics,
)
from control.server.conversion.review import (
    question,
    read_answer,
    restored,
    version_of,
)
from control.server.remote.reviews import AnswerError
from control.server.remote.services import RemoteError
from control.server.remote.webhook import post, read_address
from control.server.state.conversion import Memo, NotConvertedError
from control.server.state.server import ServerState
from control.server.wire import errors
from control.server.wire.body import check_size
from control.server.wire.item import Item, Wire, encode_object, unstamped

_T = TypeVar("_T")
_TRIES = 16  # how often one object may have changed meanwhile
_EVICTIONS = 3  # how often it may be converted without a change
_SECONDS = 30  # upstream's client has no limit of its own: a request has 60
_MOST, _MOST_BYTES = 500, 1024 * 1024  # objects and bytes of one question


async def converting(state: ServerState, call: Callable[[], Awaitable[_T]]) -> _T:
    """Return what a call returns; what it has to show is converted first. Raises StatusError.

    Many objects are converted in pieces, one for each repeated call. No call has stored anything
    when it raises NotConvertedError.
    """
    keys, asked = Counter[str](), Counter[bytes]()
    while max(keys.values(), default=0) < _TRIES:
        try:
            return await call()
        except NotConvertedError as err:
            first = err.items[0]
            keys[first.key] += 1
            asked[sha256(unstamped(first)).digest()] += 1
            if max(asked.values()) > _EVICTIONS:  # the memo has no room for all of it at once
                why = f"{err.kind.plural} that a webhook converts: list them in pages, by limit=500"
                raise errors.too_large(why) from err
            await state.cache.converter.show(err.kind, err.items)
    raise errors.internal("objects change faster than their conversion webhook answers")


class ConversionWebhooks:
    """Asks the conversion webhook of a kind's definition."""

    def __init__(self, state: ServerState) -> None:
        self._state, self._metrics = state, ConversionMetrics(state.metrics)

    async def show(self, kind: Kind, items: Sequence[Item]) -> None:
        """Convert stored objects to a version, whose memo has them then."""
        custom = kind.custom
        if custom is None:
            return
        if custom.memo is None:
            custom.memo = Memo()
        for group in _groups(items):
            wires = [Item.of("", 0, unstamped(item)).whole() for item in group]
            made = await self._converted(kind, kind.api_version, wires)
            for item, wire in zip(group, made, strict=True):
                custom.memo.put(unstamped(item), _encoded(_fitted(kind, wire)))

    async def keep(self, kind: Kind, value: bytes) -> bytes:
        """Return an object of a version as it is stored; the memo has both forms then."""
        custom = kind.custom
        if custom is None or custom.api_version == custom.stored_version:
            return value
        wire = Item.of("", 0, value).whole()
        (made,) = await self._converted(kind, custom.stored_version, [wire])
        stored = _encoded(made)
        if custom.memo is None:
            custom.memo = Memo()
        custom.memo.put(stored, value)
        return stored

    async def _converted(self, kind: Kind, wanted: str, wires: Sequence[Wire]) -> list[Wire]:
        """Return objects with another apiVersion; raises StatusError (500)."""
        old = str(wires[0].get("apiVersion", ""))
        versions = old.rpartition("/")[2], wanted.rpartition("/")[2]
        with self._metrics.call(f"{kind.plural}.{kind.group}", *versions) as call:
            return await self._called(kind, wanted, wires, call)

    async def _called(
        self, kind: Kind, wanted: str, wires: Sequence[Wire], call: Call
    ) -> list[Wire]:
        of = f"{wires[0].get('apiVersion', '')}, Kind={kind.name}"
        webhook = (kind.custom.spec["conversion"].get("webhook") or {}) if kind.custom else {}
        try:
            made = await self._asked(webhook, wanted, wires)
        except (AnswerError, RemoteError) as err:
            call.wrong = CALL if isinstance(err, RemoteError) else MALFORMED
            raise errors.internal(f"conversion webhook for {of} failed: {err}") from err
        if len(made) != len(wires):
            call.wrong = PARTIAL
            count = f"{len(made)} objects, expected {len(wires)}"
            raise errors.internal(f"conversion webhook for {of} returned {count}")
        call.wrong = INVALID  # if one is refused from here on
        found = []
        for at, (wire, each) in enumerate(zip(wires, made, strict=True)):
            try:
                found.append(restored(wire, each, wanted))
            except AnswerError as err:
                where = f"invalid converted object at index {at}: {err}"
                raise errors.internal(f"conversion webhook for {of} returned {where}") from err
            check_size(found[-1])
        return found

    async def _asked(
        self, webhook: Mapping[str, Any], wanted: str, wires: Sequence[Wire]
    ) -> list[Any]:
        uid = str(uuid4())
        version = version_of(webhook.get("conversionReviewVersions") or ())
        body = question(uid, version, wanted, wires)
        address = read_address(webhook.get("clientConfig") or {})
        return read_answer(await post(self._state, address, body, _SECONDS), uid, version)


def _groups(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Yield objects in groups of a size that one question may have."""
    group: list[Item] = []
    size = 0
    for item in items:
        if group and (len(group) == _MOST or size + item.size > _MOST_BYTES):
            yield group
            group, size = [], 0
        group.append(item)
        size += item.size
    if group:
        yield group


def _fitted(kind: Kind, wire: Wire) -> Wire:
    """Return a converted object with the fields and the defaults of its version's schema."""
    if kind.custom is None:
        return wire
    try:
        return kind.custom.refreshed(wire)
    except (TooCostlyError, WrongTypeError):
        return wire


def _encoded(wire: Wire) -> bytes:
    managed = wire["metadata"].get("managedFields")
    return encode_object(wire, orjson.dumps(managed) if managed else b"")
