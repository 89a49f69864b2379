"""The ConfigMaps and Secrets that Pods refer to, fetched one by one and kept for a minute.

There is no watch: a node may read only the objects that its own Pods name (Node authorization),
and no node should hold all Secrets of a cluster.
"""

import asyncio
import base64
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from control.agent.images.keyring import PullSecret, SecretRef
from control.api import kinds
from control.api.cluster import ConfigMap, Secret
from control.client import ApiError, Client

_KEPT_SECONDS = 60.0

Key = tuple[str, str, str]  # kind, namespace, name


@dataclass(frozen=True, slots=True)
class _Found:
    """An object: its data, and what else an image pull needs of a Secret."""

    data: Mapping[str, bytes]
    uid: str = ""
    type: str = ""


@dataclass(frozen=True, slots=True)
class _Entry:
    found: _Found | None
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
        return {key: one.data for key, one in zip(names, found, strict=True) if one is not None}

    async def pull_secret(self, namespace: str, name: str) -> PullSecret | None:
        """Return a Secret with credentials of a registry; None if absent. Raises ClientError."""
        found = await self._get(("Secret", namespace, name))
        if found is None:
            return None
        return PullSecret(SecretRef(namespace, name, found.uid), found.type, found.data)

    async def _get(self, key: Key) -> _Found | None:
        async with self._locks.setdefault(key, asyncio.Lock()):
            entry = self._entries.get(key)
            if entry is None or entry.until <= time.monotonic():
                found = await self._read(key)
                # An absent object is asked for again every time: a Pod is waiting for it.
                kept = _KEPT_SECONDS if found is not None else 0
                entry = self._entries[key] = _Entry(found, time.monotonic() + kept)
            return entry.found

    async def _read(self, key: Key) -> _Found | None:
        kind, namespace, name = key
        try:
            if kind == "Secret":
                return _secret(await self._client.get(kinds.SECRET, namespace, name))
            return _Found(_config_map(await self._client.get(kinds.CONFIG_MAP, namespace, name)))
        except ApiError as err:
            if err.code == 404:
                return None
            raise

    def expire(self, namespace: str, wanted: Iterable[tuple[str, str]]) -> None:
        """Read each (kind, name) again when it is next asked for."""
        for kind, name in wanted:
            self._entries.pop((kind, namespace, name), None)

    def forget(self) -> None:
        """Drop expired entries."""
        now = time.monotonic()
        for key in [key for key, entry in self._entries.items() if entry.until <= now]:
            del self._entries[key]
            self._locks.pop(key, None)


def _config_map(item: ConfigMap) -> dict[str, bytes]:
    data = {key: text.encode() for key, text in item.data.items()}
    return data | {key: base64.b64decode(text) for key, text in item.binary_data.items()}


def _secret(item: Secret) -> _Found:
    data = {key: base64.b64decode(text) for key, text in item.data.items()}
    return _Found(data, item.metadata.uid, item.type or "")
