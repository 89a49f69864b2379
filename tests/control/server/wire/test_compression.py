"""Large answers are compressed for clients that take gzip."""

import gzip
import json
import zlib

import pytest
from multidict import CIMultiDictProxy

from control.server.wire.compression import THRESHOLD, accepts_gzip, gzipped, is_large
from tests.support.control.requests import CORE, Api, config_map

MAPS = f"{CORE}/configmaps"
# aiohttp unpacks answers; this client looks at their bytes.
RAW = {"Accept-Encoding": "deflate, gzip;q=0.5"}


@pytest.mark.parametrize(
    ("header", "known"),
    [("gzip", True), ("deflate, gzip", True), ("gzip;q=0", True), ("", False), ("gzipped", False)],
)
def test_gzip_is_named(header: str, known: bool):
    assert accepts_gzip(header) is known


@pytest.mark.parametrize("size", [0, 1, THRESHOLD, THRESHOLD + 1, 1_000_000])
async def test_pieces_are_whole(size: int):
    pieces = [b"ab" * (size // 2), b"c" * (size % 2)]
    large, same = await is_large(iter(pieces))
    assert large is (size > THRESHOLD)
    packed = list(gzipped(same))
    assert gzip.decompress(b"".join(packed)) == b"".join(pieces)


async def get(api: Api, path: str, **headers: str) -> tuple[CIMultiDictProxy[str], bytes]:
    async with api.session.get(path, headers=headers, auto_decompress=False) as answer:
        assert answer.status == 200
        return answer.headers, await answer.read()


async def test_large_objects_and_lists_are_compressed(api: Api):
    await api.make(MAPS, config_map("large", x="y" * 150_000))
    await api.make(MAPS, config_map("small", x="y" * 1000))
    for path in (f"{MAPS}/large", MAPS):
        headers, body = await get(api, path, **RAW)
        assert (headers["Content-Encoding"], headers["Vary"]) == ("gzip", "Accept-Encoding")
        _, plain = await get(api, path, **{"Accept-Encoding": "identity"})
        assert json.loads(zlib.decompress(body, wbits=31)) == json.loads(plain)
        assert len(body) < len(plain) / 10
    for path, given in ((f"{MAPS}/small", RAW), (f"{MAPS}/large", {"Accept-Encoding": "br"})):
        headers, body = await get(api, path, **given)
        assert "Content-Encoding" not in headers and json.loads(body)["metadata"]["name"]
