"""Writes and reads in etcd's messages; pure.

Source: https://etcd.io/docs/v3.5/learning/api/
"""

from collections.abc import Iterable, Sequence

from control.store.base import (
    ANY,
    Commit,
    Create,
    Delete,
    KeyValue,
    StoreEvent,
    StoreUnavailableError,
    Write,
    check,
)
from control.store.etcd.leases import EXPIRING
from control.store.etcd.v3 import rpc_pb2 as pb

_EVERY_KEY = b"\0"  # as key and as end of a range
_PAGE = 1000  # keys of one answer: to parse it must not keep others waiting


def expires(change: Write) -> bool:
    """True if a write gives a key a value that etcd shall remove by itself."""
    return not isinstance(change, Delete) and change.key.encode().startswith(EXPIRING)


def transaction(prefix: bytes, changes: Iterable[Write], lease: int = 0) -> pb.TxnRequest:
    """Return a transaction that does all changes; if one does not fit, it reads all their keys.

    ``lease`` is for the keys that expire.
    """
    request = pb.TxnRequest()
    for change in changes:
        key = prefix + change.key.encode()
        request.compare.append(_condition(key, change))
        if isinstance(change, Delete):
            step = pb.RequestOp(request_delete_range=pb.DeleteRangeRequest(key=key))
        else:
            held = lease if expires(change) else 0
            put = pb.PutRequest(key=key, value=change.value, lease=held)
            step = pb.RequestOp(request_put=put)
        request.success.append(step)
        present = pb.RangeRequest(key=key, keys_only=True)
        request.failure.append(pb.RequestOp(request_range=present))
    return request


def _condition(key: bytes, change: Write) -> pb.Compare:
    if isinstance(change, Create):
        return pb.Compare(target=pb.Compare.CREATE, key=key, create_revision=0)
    if change.expected == ANY:
        present = pb.Compare.GREATER
        return pb.Compare(result=present, target=pb.Compare.CREATE, key=key, create_revision=0)
    return pb.Compare(target=pb.Compare.MOD, key=key, mod_revision=change.expected)


def refuse(changes: Sequence[Write], answer: pb.TxnResponse) -> None:
    """Raise what a refused transaction's keys say: exists, not found, or another revision."""
    for change, read in zip(changes, answer.responses, strict=True):
        found = read.response_range.kvs
        check(change, found[0].mod_revision if found else None)
    raise StoreUnavailableError("etcd refused a transaction whose conditions hold")


def page(
    prefix: bytes, under: str, *, after: str, revision: int, limit: int, last: str = ""
) -> pb.RangeRequest:
    """Ask for keys below ``under``, later than ``after`` and ``last``; ``limit`` 0 is no limit."""
    start = max(prefix + under.encode(), *(prefix + one.encode() + b"\0" for one in (after, last)))
    count = min(limit, _PAGE) if limit else _PAGE
    end = end_of(prefix + under.encode())
    return pb.RangeRequest(key=start, range_end=end, limit=count, revision=revision)


def newest(prefix: bytes) -> pb.RangeRequest:
    """Ask for the store's revision: that of a linearizable read, which no value comes with."""
    return pb.RangeRequest(key=prefix + b"/", count_only=True)


def end_of(prefix: bytes) -> bytes:
    """Return the end of the range of keys that start with ``prefix``."""
    kept = prefix.rstrip(b"\xff")
    return kept[:-1] + bytes([kept[-1] + 1]) if kept else _EVERY_KEY


def record(prefix: bytes, found: pb.KeyValue) -> KeyValue:
    """Return a key's value as the store's callers have it."""
    return KeyValue(_key(prefix, found.key), found.value, found.mod_revision)


def watch(since: int) -> pb.WatchRequest:
    """Ask for all events after a revision.

    Of every key of etcd: each revision then has an event, and a gap can be told from silence.
    """
    create = pb.WatchCreateRequest(
        key=_EVERY_KEY, range_end=_EVERY_KEY, start_revision=since + 1, fragment=True
    )
    return pb.WatchRequest(create_request=create)


def commits(prefix: bytes, events: Iterable[pb.Event]) -> list[tuple[int, Commit]]:
    """Return events by revision, in order; of other keys than ours the revision is all."""
    found: dict[int, list[StoreEvent]] = {}
    for event in events:
        revision = event.kv.mod_revision
        group = found.setdefault(revision, [])
        if event.kv.key.startswith(prefix):
            value = None if event.type == pb.Event.DELETE else event.kv.value
            group.append(StoreEvent(_key(prefix, event.kv.key), revision, value))
    return [(revision, tuple(group)) for revision, group in found.items()]


def _key(prefix: bytes, key: bytes) -> str:
    return key[len(prefix) :].decode(errors="surrogateescape")
