"""Encode objects, lists and watch events in the representation that the client wants.

Whole objects are inserted as stored bytes; only Tables and bare metadata need decoding.
"""

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import accumulate
from typing import Any

import orjson

from control.api.columns.base import Columns
from control.api.columns.table import columns_of
from control.api.kinds import Kind
from control.server.verbs.read import ObjectListing
from control.server.verbs.watch import BookmarkNotice, ObjectNotice, WatchNotice
from control.server.wire.accept import Representation, RepresentationKind
from control.server.wire.item import Item
from control.server.wire.yaml import write

_GROUP = "meta.k8s.io"
_INITIAL_END = "k8s.io/initial-events-end"
# Bytes that small objects of a list are joined to, and those that are encoded for it.
_PIECE, _MADE_PIECE = 64 * 1024, 8 * 1024
# Bytes of an object whose event all its watchers share.
_SHARED = 16 * 1024


def item_bytes(
    form: Representation, kind: Kind, item: Item, now: datetime, include: str = ""
) -> bytes:
    """Encode one object."""
    if form.kind is RepresentationKind.OBJECT:
        return item.raw
    if form.kind is RepresentationKind.PARTIAL:
        return orjson.dumps(_partial(form, _metadata(item)))
    metadata = {"resourceVersion": str(item.revision)} if item.revision else {}
    return orjson.dumps(_table(form, kind, [item], metadata, now, include))


def made_bytes(
    form: Representation, columns: Columns, wire: Mapping[str, Any], now: datetime, include: str
) -> bytes:
    """Encode an object that is not stored, such as a Scale."""
    metadata = wire["metadata"]
    if form.kind is RepresentationKind.OBJECT:
        return orjson.dumps(wire)
    if form.kind is RepresentationKind.PARTIAL:
        return orjson.dumps(_partial(form, metadata))
    shown = {"Object": wire, "None": None}.get(include, _partial(form, metadata))
    row = {"cells": list(columns.cells(wire, now)), "object": shown}
    version = {"resourceVersion": metadata.get("resourceVersion", "")}
    return orjson.dumps(_table_of(form, columns, [row], version))


def list_pieces(
    form: Representation, listing: ObjectListing, now: datetime, include: str = ""
) -> Iterator[bytes]:
    """Yield the encoding of a list in pieces of some objects, when they are asked for."""
    metadata = _list_metadata(listing)
    made: Iterator[bytes]
    if form.kind is RepresentationKind.TABLE:
        columns = columns_of(listing.kind)
        table = orjson.dumps(_table(form, listing.kind, (), metadata, now, include))
        rows = (orjson.dumps(_row(form, columns, it, now, include)) for it in listing.items)
        if form.is_yaml:
            return write.listed(orjson.loads(table), "rows", rows)
        table = table.removesuffix(b',"rows":[]}') + b"}"
        return _spliced(table, b"rows", _groups(rows, _MADE_PIECE))
    if form.kind is RepresentationKind.PARTIAL:
        name, version = "PartialObjectMetadataList", f"{_GROUP}/{form.version}"
        made = (orjson.dumps(_partial(form, _metadata(item))) for item in listing.items)
        groups = _groups(made, _MADE_PIECE)
        head = {"kind": name, "apiVersion": version, "metadata": metadata}
    else:
        made, groups, head = _plain(listing), _stored(listing), _list_head(listing)
    if form.is_yaml:
        return write.listed(head, "items", made)
    return _spliced(orjson.dumps(head), b"items", groups)


def list_size(form: Representation, listing: ObjectListing) -> int | None:
    """Return the bytes of ``list_pieces``; None where that is known only when they are made."""
    if form.kind is not RepresentationKind.OBJECT or form.is_yaml:
        return None
    left_out = _head_in_list(listing.kind)
    items = sum(
        len(item.body) + 1 if item.head == left_out else item.size for item in listing.items
    )
    around = _spliced(orjson.dumps(_list_head(listing)), b"items", ())
    return sum(map(len, around)) + items + max(0, len(listing.items) - 1)


def _list_head(listing: ObjectListing) -> dict[str, Any]:
    kind = listing.kind
    metadata = _list_metadata(listing)
    return {"kind": kind.list_name, "apiVersion": kind.api_version, "metadata": metadata}


def _spliced(head: bytes, name: bytes, groups: Iterable[bytes]) -> Iterator[bytes]:
    yield head[:-1] + b',"%b":[' % name
    yield from groups
    yield b"]}"


def _plain(listing: ObjectListing) -> Iterator[bytes]:
    """Yield the stored objects as they stand in a list.

    As upstream's, those of its own kinds do not say their kind: that of the list does.
    """
    head = _head_in_list(listing.kind)
    return (b"{" + item.body if item.head == head else item.raw for item in listing.items)


def _stored(listing: ObjectListing) -> Iterator[bytes]:
    """Yield the stored objects in groups of some bytes, and each larger one alone.

    Each byte is copied once: a slice of each object would cost a list a sixth of its time.
    """
    head = _head_in_list(listing.kind)
    if any(item.head != head for item in listing.items):
        yield from _groups(_plain(listing), _PIECE)
        return
    bodies = [item.body for item in listing.items]
    ends = list(accumulate(len(body) + 2 for body in bodies))  # with what is between two
    start = done = 0
    while start < len(bodies):
        end = max(start + 1, bisect_right(ends, done + _PIECE, start))
        if not start:
            yield b"{"
            yield b",{".join(bodies[start:end])
        elif end == start + 1:
            yield b",{"
            yield bodies[start]  # a large one is not copied
        else:
            yield b",{".join((b"", *bodies[start:end]))
        start, done = end, ends[end - 1]


def _head_in_list(kind: Kind) -> bytes | None:
    """Return the beginning of a stored object that a list leaves out; None for custom kinds."""
    if kind.custom is not None:
        return None
    return b'{"kind":"%b","apiVersion":"%b",' % (kind.name.encode(), kind.api_version.encode())


def _groups(items: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Yield small items together, with commas between all, and each larger one as it is."""
    group: list[bytes] = []
    size = 0
    for item in items:
        if group and size + len(item) > most:
            yield b",".join(group)
            yield b","
            group, size = [], 0
        group.append(item)
        size += len(item) + 1
    if group:
        yield b",".join(group)


def _list_metadata(listing: ObjectListing) -> dict[str, Any]:
    metadata: dict[str, Any] = {}
    if listing.revision:  # none: what is not stored has no version
        metadata["resourceVersion"] = str(listing.revision)
    if listing.continue_:
        metadata["continue"] = listing.continue_
    if listing.remaining is not None:
        metadata["remainingItemCount"] = listing.remaining
    return metadata


def frame(
    form: Representation,
    kind: Kind,
    signal: WatchNotice,
    now: datetime,
    include: str = "",
) -> Iterator[bytes]:
    """Yield the encoding of one watch event with its line end; a large object is not copied."""
    if isinstance(signal, ObjectNotice):
        item, event = signal.item, signal.type
        if form.kind is RepresentationKind.OBJECT and item.size <= _SHARED:
            yield _line(event, item.head, item.body)
            return
        body = item_bytes(form, kind, item, now, include)
    elif isinstance(signal, BookmarkNotice):
        event, body = "BOOKMARK", orjson.dumps(_bookmark(form, kind, signal))
    else:
        event, body = "ERROR", signal.refused.body()
    yield b'{"type":"%b","object":' % event.encode()
    yield body
    yield b"}\n"


@lru_cache(maxsize=64)
def _line(event: str, head: bytes, body: bytes) -> bytes:
    """Return an event that many watchers get, one after the other."""
    return b'{"type":"%b","object":%b%b}\n' % (event.encode(), head, body)


def _bookmark(form: Representation, kind: Kind, signal: BookmarkNotice) -> dict[str, Any]:
    """Return an object that has only a resourceVersion."""
    metadata: dict[str, Any] = {"resourceVersion": str(signal.revision)}
    if signal.initial_end:
        metadata["annotations"] = {_INITIAL_END: "true"}
    if form.kind is RepresentationKind.OBJECT:
        return {"kind": kind.name, "apiVersion": kind.api_version, "metadata": metadata}
    head = {"kind": form.kind.value, "apiVersion": f"{_GROUP}/{form.version}"}
    return (
        head
        | {"metadata": metadata}
        | ({"rows": []} if form.kind is RepresentationKind.TABLE else {})
    )


def _partial(form: Representation, metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "kind": RepresentationKind.PARTIAL.value,
        "apiVersion": f"{_GROUP}/{form.version}",
        "metadata": metadata,
    }


def _metadata(item: Item) -> dict[str, Any]:
    """Return an object's metadata with the managers of its fields, as orjson encodes them."""
    managed = item.managed
    metadata: dict[str, Any] = item.wire["metadata"]
    return metadata | {"managedFields": orjson.Fragment(managed)} if managed else metadata


def _row(
    form: Representation, columns: Columns, item: Item, now: datetime, include: str
) -> dict[str, Any]:
    """Return one row; its metadata has no managers, which would make a Table twice as large."""
    wire = item.wire
    row: dict[str, Any] = {"cells": list(columns.cells(wire, now))}
    if include == "Object":
        row["object"] = dict(wire) | {"metadata": _metadata(item)}
    elif include == "None":
        row["object"] = None
    else:
        row["object"] = _partial(form, wire["metadata"])
    return row


def _table(
    form: Representation,
    kind: Kind,
    items: Iterable[Item],
    metadata: Mapping[str, Any],
    now: datetime,
    include: str,
) -> dict[str, Any]:
    columns = columns_of(kind)
    rows = [_row(form, columns, item, now, include) for item in items]
    return _table_of(form, columns, rows, metadata)


def _table_of(
    form: Representation,
    columns: Columns,
    rows: Sequence[Mapping[str, Any]],
    metadata: Mapping[str, Any],
) -> dict[str, Any]:
    return {
        "kind": RepresentationKind.TABLE.value,
        "apiVersion": f"{_GROUP}/{form.version}",
        "metadata": metadata,
        "columnDefinitions": [column.wire() for column in columns.columns],
        "rows": rows,
    }
