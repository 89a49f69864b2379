"""The kinds that are served now and that neither podwire nor a definition knows, by discovery.

Extension servers serve them. As upstream's garbage collector, a kind stays while its server does
not answer: nobody knows then whether its objects exist.
"""

import asyncio
import logging
from collections.abc import Callable

from control.api.kinds import SERVED, Kind
from control.api.meta import Object
from control.client import Client, ClientError, UnreachableError
from control.client.discovery import Discovery, discover

logger = logging.getLogger(__name__)

PERIOD = 30.0  # seconds between two looks, as upstream
_NEEDED = {"delete", "list", "watch"}
_BUILT_IN = {(kind.group, kind.plural) for kind in SERVED}
Place = tuple[str, str]  # group, resource
Change = Callable[[Kind], None]


class ExtensionKinds:
    """Tells of each such kind that comes and goes; ``custom`` are the kinds of definitions."""

    def __init__(self, came: Change, went: Change, custom: Callable[[], set[Place]]) -> None:
        self._came, self._went, self._custom = came, went, custom
        self._kinds: dict[Place, Kind] = {}
        self._changed = asyncio.Event()

    def look(self, *_: Object | None) -> None:
        """Look at once; this is an informer's callback for APIServices."""
        self._changed.set()

    async def run(self, client: Client) -> None:
        """Look at the discovery of ``client``'s server now and then, for ever."""
        while True:
            self._changed.clear()
            try:
                self.apply(await discover(client))
            except UnreachableError:
                pass  # the client reports it
            except ClientError as err:
                logger.warning("kinds of extension servers: %s; trying again", err)
            try:
                async with asyncio.timeout(PERIOD):
                    await self._changed.wait()
            except TimeoutError:
                continue

    def leave(self, kind: Kind) -> None:
        """Tell no more of a kind: its definition came."""
        if known := self._kinds.pop((kind.group, kind.plural), None):
            self._went(known)

    def apply(self, discovery: Discovery) -> None:
        """Take what is served now."""
        known = _BUILT_IN | self._custom()
        found = {
            place: served.kind
            for place, served in discovery.served.items()
            if place not in known and served.verbs >= _NEEDED
        }
        for place, kind in list(self._kinds.items()):
            stale = kind.api_version in discovery.stale
            if found.get(place) != kind and not (stale and place not in found):
                self._went(self._kinds.pop(place))
        for place, kind in found.items():
            if place not in self._kinds:
                self._kinds[place] = kind
                self._came(kind)
