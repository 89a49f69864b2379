"""Track the use of tokens that Secrets hold (KEP-2799): when each was last used, and how often.

Source: pkg/serviceaccount/legacy.go and pkg/controlplane/controller/legacytokentracking of
k8s.io/kubernetes
"""

import asyncio
import logging
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from control.api.kinds import CONFIG_MAP, SECRET
from control.api.times import is_date
from control.server.state.changes import changes
from control.server.state.server import ServerState
from control.server.verbs.create import make
from control.server.verbs.modify import rewrite
from control.server.wire.errors import StatusError
from control.server.wire.info import RequestInfo, storage_key
from control.server.wire.item import Item, Wire
from control.server.wire.request import SELF, SERVER_AGENT, ApiRequest
from control.store.base import StoreError
from control.tokens import INVALID_SINCE, LAST_USED, TRACKING, TRACKING_NAMESPACE

logger = logging.getLogger(__name__)

WARNING = (
    "Use tokens from the TokenRequest API or manually created secret-based tokens instead of"
    " auto-generated secret-based tokens."
)
_AGAIN = timedelta(minutes=30)  # until a deleted ConfigMap is made again
_RETRY = 10.0


class LegacyTokens:
    """The uses of such tokens, and the ConfigMap that says since when they are tracked."""

    def __init__(self, state: ServerState) -> None:
        self._state = state
        self._noting: dict[str, asyncio.Task[None]] = {}  # by the Secret's key
        self._made: datetime | None = None
        count = state.metrics.counter
        self._total = count(
            "serviceaccount_legacy_tokens_total", "Cumulative legacy service account tokens used"
        )
        self._manual = count(
            "serviceaccount_legacy_manual_token_uses_total",
            "Cumulative manually created legacy tokens used",
        )
        self._generated = count(
            "serviceaccount_legacy_auto_token_uses_total",
            "Cumulative auto-generated legacy tokens used",
        )
        self._invalid = count(
            "serviceaccount_invalid_legacy_auto_token_uses_total",
            "Cumulative invalid auto-generated legacy tokens used",
        )

    def used(self, secret: Item, account: Mapping[str, Any]) -> str | None:
        """Note a use; return what to warn of, or None if the token has been marked invalid."""
        self._note(secret)
        meta = secret.wire["metadata"]
        if (meta.get("labels") or {}).get(INVALID_SINCE):
            self._invalid.add()
            return None
        self._total.add()
        if any(each.get("name") == meta["name"] for each in account.get("secrets") or ()):
            self._generated.add()
            return WARNING
        self._manual.add()
        return ""

    def _note(self, secret: Item) -> None:
        today = self._today()
        said = (secret.wire["metadata"].get("labels") or {}).get(LAST_USED)
        # Tomorrow: another API server's clock is ahead.
        if said in (str(today), str(today + timedelta(days=1))) or secret.key in self._noting:
            return
        task = asyncio.create_task(self._label(secret, str(today)))
        self._noting[secret.key] = task
        task.add_done_callback(lambda _: self._noting.pop(secret.key, None))

    def _today(self) -> date:
        return self._state.now().astimezone(UTC).date()

    async def _label(self, secret: Item, today: str) -> None:
        meta = secret.wire["metadata"]

        def labeled(item: Item) -> Wire:
            wire = item.fresh()
            if wire["metadata"]["uid"] == meta["uid"]:
                labels = wire["metadata"].get("labels") or {}
                wire["metadata"]["labels"] = labels | {LAST_USED: today}
            return wire

        info = RequestInfo("patch", SECRET, meta["namespace"], meta["name"])
        try:
            await rewrite(self._state, ApiRequest(info, SELF, agent=SERVER_AGENT), labeled)
        except (StatusError, StoreError) as err:
            logger.warning("Secret %s/%s: label: %s", meta["namespace"], meta["name"], err)

    async def run(self) -> None:
        """Keep the ConfigMap, for ever."""
        async for _ in changes(self._state.cache, CONFIG_MAP):
            wait = await self.keep()
            while wait:
                await asyncio.sleep(wait)
                wait = await self.keep()

    async def keep(self) -> float:
        """Make or correct the ConfigMap; return the seconds until it has to be tried again."""
        state = self._state
        item = state.cache.of(CONFIG_MAP).get(storage_key(CONFIG_MAP, TRACKING_NAMESPACE, TRACKING))
        if item is not None and is_date((item.wire.get("data") or {}).get("since")):
            return 0
        try:
            if item is not None:
                await self._corrected()
                return 0
            if self._made is not None and state.now() < self._made + _AGAIN:
                return (self._made + _AGAIN - state.now()).total_seconds()
            await self._create()
            self._made = state.now()
        except StatusError as err:
            if err.code not in (404, 409):  # else somebody was faster
                logger.warning("ConfigMap %s/%s: %s", TRACKING_NAMESPACE, TRACKING, err)
                return _RETRY
        except StoreError as err:
            logger.warning("ConfigMap %s/%s: %s", TRACKING_NAMESPACE, TRACKING, err)
            return _RETRY
        return 0

    async def _create(self) -> None:
        meta = {"name": TRACKING, "namespace": TRACKING_NAMESPACE}
        info = RequestInfo("create", CONFIG_MAP, TRACKING_NAMESPACE, "")
        wire = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta}
        request = ApiRequest(info, SELF, agent=SERVER_AGENT)
        await make(self._state, request, wire | {"data": {"since": str(self._today())}})

    async def _corrected(self) -> None:
        def dated(item: Item) -> Wire:
            wire = item.fresh()
            return wire | {"data": (wire.get("data") or {}) | {"since": str(self._today())}}

        info = RequestInfo("update", CONFIG_MAP, TRACKING_NAMESPACE, TRACKING)
        await rewrite(self._state, ApiRequest(info, SELF, agent=SERVER_AGENT), dated)
