"""Messages between the server and its workers: a length of 8 bytes, then a pickle.

Both ends are the same program and no one else holds the pipe, so pickle is safe here.
"""

import copyreg
import pickle
import struct
from typing import Any

from control.api.kinds import KINDS, Kind

LENGTH = struct.Struct("!Q")
_BY_NAME = {(kind.group, kind.version, kind.plural): kind for kind in KINDS}


def _kind(*name: str) -> Kind:
    return _BY_NAME[name]  # type: ignore[index]


# A kind stays the same object: code asks ``kind is POD``.
copyreg.pickle(Kind, lambda kind: (_kind, (kind.group, kind.version, kind.plural)))


def packed(message: Any) -> bytes:
    """Return a message with its length in front."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def unpacked(body: bytes) -> Any:
    """Return the message in a frame's body."""
    return pickle.loads(body)  # noqa: S301
