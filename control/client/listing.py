"""Collections: pages as the server answers them, read and joined."""

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Generic

from control.api.kind import Kind, M
from control.api.wire import ListPage, UnreadableError
from control.client.cacheable import CachedT
from control.client.errors import ClientError
from control.client.sender import ClientRequest
from control.client.stream import identify, read_object


@dataclass(frozen=True, slots=True)
class Listing(Generic[CachedT]):
    """A collection at ``resource_version``.

    ``unreadable`` names the objects that are left out because they do not fit the models.
    """

    items: tuple[CachedT, ...]
    resource_version: str
    unreadable: tuple[str, ...] = ()


def joined(pages: Iterable[Listing[CachedT]]) -> Listing[CachedT]:
    """Join the pages of a collection."""
    items: list[CachedT] = []
    unreadable: list[str] = []
    version = ""
    for page in pages:
        items += page.items
        unreadable += page.unreadable
        version = page.resource_version
    return Listing(tuple(items), version, tuple(unreadable))


def from_whole(page: ListPage[CachedT]) -> Listing[CachedT]:
    """Return a page whose model has read its items already."""
    return Listing(tuple(page.items), page.version)


def raw_page(request: ClientRequest, raw: dict[str, Any]) -> ListPage[Any]:
    """Return a page of JSON objects; raises ClientError if the answer is no list."""
    meta, items = raw.get("metadata") or {}, raw.pop("items", None) or []
    if not isinstance(meta, dict) or not isinstance(items, list):
        raise ClientError(f"{request.operation}: the answer is no list")
    version, token = meta.get("resourceVersion", ""), meta.get("continue") or ""
    if not isinstance(version, str) or not isinstance(token, str):
        raise ClientError(f"{request.operation}: the list has no version")
    return ListPage(items, version, token)


async def read_page(kind: Kind[M], page: ListPage[Any]) -> Listing[M]:
    """Read the objects of a page, with pauses for other tasks."""
    items: list[M] = []
    unreadable = []
    for index, wire in enumerate(page.items):
        if index % 200 == 199:
            await asyncio.sleep(0)  # let other tasks, such as heartbeats, run during a long list
        try:
            items.append(read_object(kind, wire))
        except UnreadableError as err:
            unreadable.append(f"{identify(wire)}: {err}")
    return Listing(tuple(items), page.version, tuple(unreadable))
