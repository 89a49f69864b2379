"""An HTTP client of an API server that sends each call once."""

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp


@asynccontextmanager
async def admin_session(
    folder: Path, url: str | None = None, **options: Any
) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a session of the user whose admin.crt and admin.key are in a folder, with its ca.crt.

    aiohttp would send a PUT or a DELETE a second time if the server ends a connection that was
    kept; then nobody knows how often a call was done. ``options`` are those of its connector.
    """
    tls = ssl.create_default_context(cafile=str(folder / "ca.crt"))
    tls.load_cert_chain(folder / "admin.crt", folder / "admin.key")
    connector = aiohttp.TCPConnector(ssl=tls, **options)
    async with aiohttp.ClientSession(url, connector=connector) as session:
        session._retry_connection = False
        yield session
