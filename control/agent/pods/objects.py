"""The ConfigMaps and Secrets that Pods refer to, fetched one by one and kept for a minute.

There is no watch: a node may read only the objects that its own Pods name (Node authorization),
and no node should hold all Secrets of a cluster.
"""

import asyncio
import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.api import kinds
from control.api.cluster import ConfigMap, Secret
from control.client import ApiError, Client

_KEPT_SECONDS = 60.0

Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True, slots=True)
class _Entry:
    data: Mapping[str, bytes] | None
    until: float


class Objects:
    """A cache of the ConfigMaps and Secrets that Pods refer to."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._entries: dict[Key, _Entry] = {}
        self._locks: dict[Key, asyncio.Lock] = {}

    async def fetch(
        self, namespace: str, wanted: Iterable[tuple[str, str]]
    ) -> dict[tuple[str, str], Mapping[str, bytes]]:
        """Return the data of each (kind, name) that exists; raises ClientError."""
        names = sorted(set(wanted))
        found = await asyncio.gather(*(self._get((kind, namespace, name)) for kind, name in names))
        return {key: data for key, data in zip(names, found, strict=True) if data is not None}

    async def _get(self, key: Key) -> Mapping[str, bytes] | None:
        async with self._locks.setdefault(key, asyncio.Lock()):
            entry = self._entries.get(key)
            if entry is None or entry.until <= time.monotonic():
                data = await self._read(key)
                # An absent object is asked for again every time: a Pod is waiting for it.
                kept = _KEPT_SECONDS if data is not None else 0
                entry = self._entries[key] = _Entry(data, time.monotonic() + kept)
            return entry.data

    async def _read(self, key: Key) -> Mapping[str, bytes] | None:
        kind, namespace, name = key
        try:
            if kind == "Secret":
                return _secret(await self._client.get(kinds.SECRET, namespace, name))
            return _config_map(await self._client.get(kinds.CONFIG_MAP, namespace, name))
        except ApiError as err:
            if err.code == 404:
                return None
            raise

    def forget(self) -> None:
        """Drop expired entries."""
        now = time.monotonic()
        for key in [key for key, entry in self._entries.items() if entry.until <= now]:
            del self._entries[key]
            self._locks.pop(key, None)


def _config_map(item: ConfigMap) -> dict[str, bytes]:
    data = {key: text.encode() for key, text in item.data.items()}
    return data | {key: base64.b64decode(text) for key, text in item.binary_data.items()}


def _secret(item: Secret) -> dict[str, bytes]:
    return {key: base64.b64decode(text) for key, text in item.data.items()}
