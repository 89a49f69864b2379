"""Reads the metrics of a proxy over HTTP."""

import asyncio
import os

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=30)


class UnansweredError(Exception):
    """No answer came; the message says why, in the system's words if there are any."""


def read_twice(url: str, seconds: float) -> tuple[str, str]:
    """Return a page as it is now, and some seconds later. Raises UnansweredError."""
    try:
        return asyncio.run(_read_twice(url, seconds))
    except (aiohttp.ClientError, TimeoutError, OSError) as err:
        raise UnansweredError(_reason(err)) from err


async def _read_twice(url: str, seconds: float) -> tuple[str, str]:
    async with aiohttp.ClientSession(timeout=_TIMEOUT, raise_for_status=True) as session:
        first = await _page(session, url)
        await asyncio.sleep(seconds)
        return first, await _page(session, url)


async def _page(session: aiohttp.ClientSession, url: str) -> str:
    async with session.get(url) as answer:
        return await answer.text()


def _reason(err: Exception) -> str:
    """Return the system's words for an error, or its own."""
    number = err.errno if isinstance(err, OSError) else None
    return os.strerror(number) if number else str(err) or type(err).__name__
