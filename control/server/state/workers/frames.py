"""Messages between the server and its workers: a length of 8 bytes, then a pickle.

Both ends are the same program and no one else holds the pipe, so pickle is safe here.
"""

import copyreg
import pickle
import struct
from collections.abc import Callable
from functools import lru_cache
from typing import Any

import orjson

from control.api.kinds import SERVED, Kind

LENGTH = struct.Struct("!Q")
_BY_NAME = {(kind.group, kind.version, kind.plural): kind for kind in SERVED}


def _kind(*name: str) -> Kind:
    return _BY_NAME[name]  # type: ignore[index]


@lru_cache(maxsize=64)
def _custom_kind(source: bytes, version: str) -> Kind:
    """Return a custom kind by what its definition says; a worker keeps the last ones."""
    from control.api.custom.kind import kind_of

    spec, names = orjson.loads(source)
    return kind_of(spec, names, version)


def _reduced(kind: Kind) -> tuple[Callable[..., Kind], tuple[Any, ...]]:
    """Return how the other process finds a kind, which stays the same: code asks ``is POD``."""
    if kind.custom is not None:
        return _custom_kind, (kind.custom.source, kind.version)
    return _kind, (kind.group, kind.version, kind.plural)


copyreg.pickle(Kind, _reduced)


def packed(message: Any) -> bytes:
    """Return a message with its length in front."""
    body = pickle.dumps(message, protocol=pickle.HIGHEST_PROTOCOL)
    return LENGTH.pack(len(body)) + body


def unpacked(body: bytes) -> Any:
    """Return the message in a frame's body."""
    return pickle.loads(body)  # noqa: S301
