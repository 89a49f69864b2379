"""Compress large answers by gzip, if the client takes it.

Source: k8s.io/apiserver/pkg/endpoints/handlers/responsewriters/writers.go.
"""

import asyncio
import zlib
from collections.abc import Iterable, Iterator
from itertools import chain

# Upstream's: an answer of more bytes is compressed, at the fastest level.
THRESHOLD = 128 * 1024
_LEVEL, _GZIP = 1, 31
_STEP = 32 * 1024  # bytes that are compressed at once: less than a millisecond


def accepts_gzip(header: str) -> bool:
    """Return True if an Accept-Encoding header names gzip; upstream looks at no quality."""
    return any(part.partition(";")[0].strip() == "gzip" for part in header.split(","))


async def is_large(pieces: Iterator[bytes]) -> tuple[bool, Iterator[bytes]]:
    """Return whether pieces have more bytes than the threshold, and the same pieces.

    Others run after each piece, which is encoded when it is asked for.
    """
    first, size = [], 0
    for piece in pieces:
        first.append(piece)
        size += len(piece)
        if size > THRESHOLD:
            break
        await asyncio.sleep(0)
    return size > THRESHOLD, chain(first, pieces)


def gzipped(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what each step of the pieces becomes, which may be nothing yet."""
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP)
    for piece in pieces:
        for start in range(0, len(piece), _STEP):
            yield packer.compress(memoryview(piece)[start : start + _STEP])
    yield packer.flush()
