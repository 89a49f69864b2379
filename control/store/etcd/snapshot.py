"""A snapshot of etcd as a store that is read: the keys as they were at its moment.

The file is what ``podwire store snapshot`` and ``etcdctl snapshot save`` write: etcd's database,
and after it the SHA-256 of all that comes before.
"""

import hashlib
import hmac
import struct
from bisect import bisect_right
from pathlib import Path

from google.protobuf.message import DecodeError

from control.store.base import KeyValue, StorePage
from control.store.etcd.bolt import Bolt, DamagedFileError
from control.store.etcd.v3 import rpc_pb2 as pb

DIGEST = 32  # bytes
_BLOCK = 512  # all that etcd writes before the hash is a multiple of this
_REVISION = struct.Struct(">Qc")
_KEY, _GONE = 17, b"t"  # a revision is that long; one of a removal has a letter more
_PROTOBUF = b"k8s\0"  # begins the values of upstream's kube-apiserver


class EtcdSnapshot:
    """The part of ``control.store.base.Store`` that a copy reads."""

    def __init__(self, file: Path, prefix: str = "") -> None:
        """Read a file's keys that begin with a prefix; raises DamagedFileError, OSError."""
        data = file.read_bytes()
        if len(data) % _BLOCK != DIGEST:
            raise DamagedFileError(
                "it is no snapshot of etcd, or it was cut: no hash is at its end"
            )
        body, digest = data[:-DIGEST], data[-DIGEST:]
        if not hmac.compare_digest(hashlib.sha256(body).digest(), digest):
            raise DamagedFileError("its hash is another one: it was changed or cut")
        self._revision, found = _present(Bolt(body), prefix.encode())
        self._records = [found[key] for key in sorted(found)]

    async def newest(self) -> int:
        """Return the revision of the snapshot."""
        return self._revision

    async def list(
        self, prefix: str, *, limit: int = 0, after: str = "", revision: int = 0
    ) -> StorePage:
        """Return a page of keys, as ``Store.list`` does; there is only one revision."""
        del prefix, revision  # a copy asks for all
        start = bisect_right(self._records, after, key=lambda record: record.key)
        end = start + limit if limit else len(self._records)
        records = tuple(self._records[start:end])
        return StorePage(records, self._revision, more=end < len(self._records))

    async def get(self, key: str) -> KeyValue | None:
        """Return a key's value; None if it is absent."""
        return next((record for record in self._records if record.key == key), None)


def _present(bolt: Bolt, prefix: bytes) -> tuple[int, dict[str, KeyValue]]:
    """Return the last revision, and the keys that are there then."""
    last = 0
    found: dict[str, KeyValue] = {}
    for name, value in bolt.bucket(b"key"):  # in the order of revisions
        if len(name) not in (_KEY, _KEY + 1):
            raise DamagedFileError("a revision has another length")
        last = _REVISION.unpack_from(name)[0]
        try:
            kept = pb.KeyValue.FromString(value)
        except DecodeError as err:
            raise DamagedFileError(f"revision {last} is no key and value") from err
        if not kept.key.startswith(prefix):
            continue
        if kept.value.startswith(_PROTOBUF):
            raise DamagedFileError(
                "its values are upstream's protobuf, which podwire does not keep"
            )
        key = kept.key[len(prefix) :].decode(errors="surrogateescape")
        if name[_KEY:] == _GONE:
            found.pop(key, None)
        else:
            found[key] = KeyValue(key, kept.value, last)
    return last, found
