"""All Nodes of the cluster, as far as this node may know them."""

import asyncio
import logging
from collections.abc import Callable

from control.api import kinds
from control.api.node import Node
from control.client import Client, ClientError, Informer

logger = logging.getLogger(__name__)

_RIGHTS_SECONDS = 60.0


class AllNodes:
    """The Nodes that the node network needs; ``own`` knows this node's."""

    def __init__(self, client: Client, own: Informer[Node]) -> None:
        self._client, self._own = client, own
        self._all = Informer(client, kinds.NODE)
        self._sees_itself_alone = False  # the right to list all Nodes is missing

    def subscribe(self, changed: Callable[[Node | None, Node | None], None]) -> None:
        """Call ``changed`` after each change of a Node."""
        self._all.subscribe(changed)

    def known(self) -> list[Node]:
        """Return the Nodes, or none as long as this node's own may be all that is known.

        A new agent would take the routes to the others away until it has listed them: the kernel
        ends masqueraded connections that leave by another link meanwhile.
        """
        if not self._all.synced.is_set() and not self._sees_itself_alone:
            return []
        return list({**self._all.snapshot(), **self._own.snapshot()}.values())

    async def follow(self, alone: Callable[[], None]) -> None:
        """Follow all Nodes, if that is allowed: a node's own rights are not enough for it.

        As long as it is not, ``alone`` is called now and then.
        """
        said = False
        while not await self._may_list():
            if not said:
                logger.warning(
                    "no right to list all Nodes: Pods reach those of other nodes only if somebody "
                    "else makes the routes; --network-kubeconfig names credentials that may list"
                )
            said = True
            self._sees_itself_alone = True
            alone()
            await asyncio.sleep(_RIGHTS_SECONDS)
        await self._all.run()

    async def _may_list(self) -> bool:
        try:
            return await self._client.may({"verb": "list", "resource": "nodes"})
        except ClientError:
            return True  # the informer tries again, and says why it cannot
